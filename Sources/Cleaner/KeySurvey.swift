public import Codec
public import ObjectStorage
import SegmentLog
public import StoreCore

/// What lies in a store under one data key.
public struct KeyUsage: Hashable, Sendable {
    public var objects: UInt64 = 0
    public var bytes: UInt64 = 0
    /// By kind, as `gc` names them, and `fence`.
    public var perKind: [String: UInt64] = [:]
    /// When the store says that the first and the last of them were written.
    public var first: Timestamp?
    public var last: Timestamp?
    /// One of each kind, for reports.
    public var examples: [String: String] = [:]
    /// Fences of epochs that are closed and covered: nobody reads them again, whatever becomes of the key.
    public var settledFences: UInt64 = 0

    /// Objects that could not be read without the key.
    public var needed: UInt64 { objects - settledFences }
    /// By kind.
    public var neededPerKind: [String: UInt64] {
        var kinds = perKind
        kinds["fence", default: 0] -= settledFences
        return kinds.filter { $0.value > 0 }
    }

    public init() {}
    mutating func add(_ kind: String, _ object: ObjectInfo, isSettledFence: Bool) {
        objects += 1
        bytes += object.byteCount
        perKind[kind, default: 0] += 1
        if isSettledFence { settledFences += 1 } else if examples[kind] == nil { examples[kind] = object.key.text }
        first = first.map { min($0, object.modified) } ?? object.modified
        last = last.map { max($0, object.modified) } ?? object.modified
    }
}

/// Reads the header of every object: one LIST of everything, and a GET of 32 bytes each. What headers say is not
/// authenticated: it can keep a key from being retired, and is not enough to retire one.
public struct KeySurvey: Sendable {
    private let store: any ObjectStore
    /// Of live volumes, the epochs of which the newest manifest speaks.
    private let namedEpochs: [VolumeID: Set<Epoch>]
    private static let readsInFlight = 16

    public init(store: any ObjectStore, namedEpochs: [VolumeID: Set<Epoch>] = [:]) {
        self.store = store
        self.namedEpochs = namedEpochs
    }

    /// - Returns: by data key; what has no header is left out (superblocks, probes, foreign objects).
    public func run(progress: @escaping CleanerProgress = { _, _, _ in }) async throws -> [DataKeyID: KeyUsage] {
        var usage: [DataKeyID: KeyUsage] = [:]
        var done: UInt64 = 0
        var after: ObjectKey?
        while true {
            let page = try await store.list(prefix: "", after: after, limit: 1000)
            let read = try await mapConcurrently(page.objects, atMost: Self.readsInFlight) { try await header(of: $0) }
            for (object, header) in zip(page.objects, read) {
                guard let header else { continue }
                let (kind, isSettled) = describe(object, header.kind)
                usage[header.keyID, default: KeyUsage()].add(kind, object, isSettledFence: isSettled)
            }
            done += UInt64(page.objects.count)
            progress("read headers", done, nil)
            guard page.isTruncated, let last = page.objects.last else { return usage }
            after = last.key
        }
    }

    private func header(of object: ObjectInfo) async throws -> (kind: ObjectKind, keyID: DataKeyID)? {
        switch ObjectName(object.key) {
        case .superblock, .probe, .unknown: return nil
        default: break
        }
        guard object.byteCount >= UInt64(ObjectHeader.byteCount) else { return nil }
        do {
            return ObjectHeader.peek(
                try await store.get(object.key, range: 0..<UInt64(ObjectHeader.byteCount)))
        } catch  where error.storageCode == .notFound {
            // Deleted since the LIST.
            return nil
        }
    }

    private func describe(_ object: ObjectInfo, _ kind: ObjectKind) -> (kind: String, isSettledFence: Bool) {
        let name = ObjectName(object.key)
        guard kind == .fence, case .segment(.log(let volume, let epoch, sequence: _)) = name else {
            return (name.kind, false)
        }
        return ("fence", namedEpochs[volume].map { !$0.contains(epoch) } ?? false)
    }
}
