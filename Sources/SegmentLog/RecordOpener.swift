public import Codec
public import StoreCore
import Synchronization

/// Opens records for the read path, and remembers the keys of the segments read last: deriving one costs as much as
/// opening a small record. Any thread may use it.
public final class RecordOpener: Sendable {
    /// The lock guards the two generations, never an opening.
    private let ciphers: Mutex<Generations>
    private let keys: KeyRing

    /// - Parameter ciphersMax: keys remembered; each takes some hundred bytes.
    public init(keys: KeyRing, ciphersMax: Int = 1024) {
        self.keys = keys
        ciphers = Mutex(Generations(countMax: max(1, ciphersMax / 2)))
    }

    /// The record's blocks, decrypted and decompressed. Throws as `SegmentReader.openRecord`.
    public func open(
        _ frame: ArraySlice<UInt8>, _ record: RecordLocation, of segment: SegmentReference
    ) throws(StorageError) -> [UInt8] {
        try SegmentReader.openRecord(frame, record, of: segment, cipher: cipher(of: segment))
    }

    /// The record's payload as it was stored, still compressed.
    public func openStoredPayload(
        _ frame: ArraySlice<UInt8>, _ record: RecordLocation, of segment: SegmentReference
    ) throws(StorageError) -> [UInt8] {
        try SegmentReader.openStoredPayload(frame, record, of: segment, cipher: cipher(of: segment))
    }

    private func cipher(of segment: SegmentReference) throws(StorageError) -> ObjectCipher {
        if let known = ciphers.withLock({ $0.find(segment) }) { return known }
        let cipher = try keys.opening(segment)
        ciphers.withLock { $0.insert(cipher, for: segment) }
        return cipher
    }

    /// Least recently used, nearly: when the young generation is full it becomes the old one, whose rest is forgotten.
    /// What is found among the old grows young again.
    private struct Generations {
        let countMax: Int
        var young: [SegmentReference: ObjectCipher] = [:]
        var old: [SegmentReference: ObjectCipher] = [:]

        init(countMax: Int) { self.countMax = countMax }

        mutating func find(_ segment: SegmentReference) -> ObjectCipher? {
            if let cipher = young[segment] { return cipher }
            guard let cipher = old[segment] else { return nil }
            insert(cipher, for: segment)
            return cipher
        }
        mutating func insert(_ cipher: ObjectCipher, for segment: SegmentReference) {
            if young.count >= countMax {
                old = young
                young = [:]
            }
            young[segment] = cipher
        }
    }
}
