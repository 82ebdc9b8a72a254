public import ObjectStorage
public import StoreCore

/// Names a segment object for ever.
public enum SegmentID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Written by a volume's log: `volumes/<volume>/log/<epoch>/<sequence>`.
    case log(volume: VolumeID, epoch: Epoch, sequence: SegmentSequence)
    /// Written by the cleaner from what was still needed of others: `packed/<generation>/<content hash>`.
    case packed(generation: UInt64, hash: Digest)

    public var key: ObjectKey {
        switch self {
        case .log(let volume, let epoch, let sequence):
            ObjectKey("volumes/\(volume)/log/\(epoch.value.hex)/\(sequence.value.hex)")
        case .packed(let generation, let hash): ObjectKey("packed/\(generation.hex)/\(hash)")
        }
    }

    /// What the object's key is derived from. A packed segment is named by its bytes, so its name cannot enter them:
    /// its identity is its folder, and its content hash does the rest.
    public var identity: String {
        switch self {
        case .log: key.text
        case .packed(let generation, _): "packed/\(generation.hex)"
        }
    }

    /// The order of their keys, so that sorted tables of segments merge with a LIST.
    public static func < (a: Self, b: Self) -> Bool {
        switch (a, b) {
        case (.log(let v, let e, let s), .log(let w, let f, let t)): (v, e, s) < (w, f, t)
        case (.packed(let g, let h), .packed(let i, let j)): (g, h) < (i, j)
        case (.packed, .log): true
        case (.log, .packed): false
        }
    }
    public var description: String { key.text }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .log(let volume, let epoch, let sequence):
            writer.byte(1)
            writer.identifier(volume.bits)
            writer.varint(epoch.value)
            writer.varint(sequence.value)
        case .packed(let generation, let hash):
            writer.byte(2)
            writer.varint(generation)
            writer.digest(hash)
        }
    }
    public init(decoding reader: inout ByteReader) throws(StorageError) {
        switch try reader.byte() {
        case 1:
            self = .log(
                volume: VolumeID(try reader.identifier()), epoch: Epoch(try reader.varint()),
                sequence: SegmentSequence(try reader.varint()))
        case 2: self = .packed(generation: try reader.varint(), hash: try reader.digest())
        default: throw reader.corrupt("a segment name of unknown kind")
        }
    }
}
