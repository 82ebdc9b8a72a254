public import Codec
public import StoreCore
import Synchronization

/// Opens records for the read path, and remembers the keys of the segments read last: deriving one costs as much as
/// opening a small record. Any thread may use it.
public final class RecordOpener: Sendable {
    /// The lock guards the two generations, never an opening.
    private let known: Mutex<Generations>
    private let keys: KeyRing

    /// - Parameter keysMax: keys remembered; each takes some hundred bytes.
    public init(keys: KeyRing, keysMax: Int = 1024) {
        self.keys = keys
        known = Mutex(Generations(countMax: max(1, keysMax / 2)))
    }

    /// The record's blocks, decrypted and decompressed. Throws as `SegmentReader.openRecord`.
    public func open(
        _ frame: ArraySlice<UInt8>, _ record: RecordLocation, of segment: SegmentReference
    ) throws(StorageError) -> [UInt8] {
        try SegmentReader.openRecord(frame, record, key(of: segment))
    }

    /// The record's payload as it was stored, still compressed.
    public func openStoredPayload(
        _ frame: ArraySlice<UInt8>, _ record: RecordLocation, of segment: SegmentReference
    ) throws(StorageError) -> [UInt8] {
        try SegmentReader.openStoredPayload(frame, record, key(of: segment))
    }

    private func key(of segment: SegmentReference) throws(StorageError) -> SegmentKey {
        if let key = known.withLock({ $0.find(segment) }) { return key }
        let key = try SegmentKey(of: segment, keys)
        known.withLock { $0.insert(key, for: segment) }
        return key
    }

    /// Least recently used, nearly: when the young generation is full it becomes the old one, whose rest is forgotten.
    /// What is found among the old grows young again.
    private struct Generations {
        let countMax: Int
        var young: [SegmentReference: SegmentKey] = [:]
        var old: [SegmentReference: SegmentKey] = [:]

        init(countMax: Int) { self.countMax = countMax }

        mutating func find(_ segment: SegmentReference) -> SegmentKey? {
            if let key = young[segment] { return key }
            guard let key = old[segment] else { return nil }
            insert(key, for: segment)
            return key
        }
        mutating func insert(_ key: SegmentKey, for segment: SegmentReference) {
            if young.count >= countMax {
                old = young
                young = [:]
            }
            young[segment] = key
        }
    }
}
