import ObjectStorage
import StoreCore
import Synchronization
import Testing

@Suite struct TheProbeRefusesStoresThatLoseData {
    @Test func aGoodStorePassesAndStaysEmpty() async throws {
        let memory = MemoryStore()
        try await StoreProbe.check(memory)
        #expect(memory.objectCount == 0)
        try await withTemporaryDirectory { path in
            let store = try await DirectoryStore(path: path)
            try await StoreProbe.check(store)
            #expect(try await store.list(prefix: "", after: nil, limit: 1).objects.isEmpty)
        }
    }

    @Test(arguments: BrokenStore.Defect.allCases)
    func aBrokenOneIsUnsupported(defect: BrokenStore.Defect) async throws {
        let store = BrokenStore(defect)
        do {
            try await StoreProbe.check(store)
            Issue.record("it passed")
        } catch let error as StorageError {
            #expect(error.code == .unsupported)
            #expect(
                error.message.hasPrefix("memory ") && error.message.contains(defect.words)
                    && !error.message.contains("\n"))
        }
        #expect(defect == .ignoresDeletion || store.memory.objectCount == 0)
    }

    /// It was given up and tried again, and happened after the deletion.
    @Test func aCreationThatHappensLateIsNoReason() async throws {
        let memory = MemoryStore()
        let faults = FaultStore(memory)
        faults.arm { request in
            // Asked for after the deletion alone.
            if request.kind == .head { await faults.releaseLate() }
            return request.number == 0 ? .failThenHappen() : nil
        }
        try await StoreProbe.check(RetryingStore(faults, time: TestTime(), seed: 1))
        #expect(memory.objectCount == 0)
    }

    @Test func anErrorOfTheStoreIsPassedOn() async throws {
        let store = FaultStore(MemoryStore()) { _ in .failBefore(StorageError(.denied, "wrong key")) }
        #expect(await code { try await StoreProbe.check(store) } == .denied)
    }
}

/// Stores as they are found in the field.
struct BrokenStore: ObjectStore {
    enum Defect: CaseIterable {
        case replaces, replacesAndSaysExists, ignoresRanges, listsLate, ignoresDeletion
        var words: String {
            switch self {
            case .replaces, .replacesAndSaysExists: "conditional writes"
            case .ignoresRanges: "ranges"
            case .listsLate: "list"
            case .ignoresDeletion: "delete"
            }
        }
    }
    let memory = MemoryStore()
    let defect: Defect
    init(_ defect: Defect) { self.defect = defect }

    var location: String { memory.location }
    func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        try await memory.get(key, range: defect == .ignoresRanges ? nil : range)
    }
    func head(_ key: ObjectKey) async throws -> ObjectInfo? { try await memory.head(key) }
    func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        guard defect == .replaces || defect == .replacesAndSaysExists else {
            return try await memory.create(key, bytes)
        }
        let isNew = try await memory.head(key) == nil
        memory.replace(key, bytes)
        return isNew || defect == .replaces ? .created : .exists
    }
    func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        if defect == .listsLate { return ObjectPage(objects: [], isTruncated: false) }
        return try await memory.list(prefix: prefix, after: after, limit: limit)
    }
    func delete(_ keys: [ObjectKey]) async throws {
        if defect != .ignoresDeletion { try await memory.delete(keys) }
    }
}
