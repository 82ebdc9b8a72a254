import Codec
import StoreCore

/// The bytes of a journal file.
///
///     offset size
///          0   32  object header: kind journal, a fresh salt for each file
///         32       entries, one after the other; zeroes to the file's end
///
/// An entry at position p:
///
///     offset size
///          0    4  length of what follows, little-endian; 0 where no entry was written
///          4   40  head     }
///         44       payload  } sealed as one frame; nonce: p; authenticated: tag of the entry before, then the length
///               16  tag     }
///
/// Why chained: after a crash of the host any page of what was not synced may be lost. Without the chain, the successor
/// of a lost entry could follow the entry that later took its place. Why a salt per file and files that are never used
/// again: no place is ever sealed twice under one key.
enum JournalFormat {
    static let headBytes = 40
    static let lengthBytes = 4
    static let tagBytes = ObjectCipher.tagBytes
    static let firstEntryPosition = ObjectHeader.byteCount
    static let firstChain = [UInt8](repeating: 0, count: tagBytes)
    /// Of each file: its header, and the link that it begins with.
    static let fileOverheadBytes = firstEntryPosition + entryBytes(payload: tagBytes)

    static func entryBytes(payload: Int) -> Int { lengthBytes + headBytes + payload + tagBytes }
    /// What a file's key is derived from: no entry of another volume, opening, generation or file ever opens in it.
    static func identity(_ volume: VolumeID, _ token: OwnerToken, generation: UInt64, file: UInt64) -> String {
        "journal/\(volume)/\(token)/\(generation.hex)/\(file.hex)"
    }
}

/// What precedes an entry's payload, sealed with it.
///
///     offset size
///          0    8  write sequence
///          8    8  wall-clock time, nanoseconds since 1970
///         16    8  first block
///         24    8  count of blocks; resize: the new size in bytes; link: the file's number
///         32    1  kind
///         33    7  zero
struct EntryHead: Hashable {
    /// The number is on storage: append, never renumber.
    enum Kind: UInt8 {
        /// The payload is the blocks' bytes.
        case write = 1
        case zero = 2
        case resize = 3
        /// The first entry of a file. Its chain starts anew, and its payload is the tag of the last entry of the file
        /// before, so that replay can begin at any file and still notice one that is missing between two.
        case link = 4
        /// The journal was closed in order; nothing follows.
        case end = 5
    }
    var sequence: WriteSequence
    var time: Timestamp
    var first: UInt64 = 0
    var count: UInt64 = 0
    var kind: Kind

    /// Of what a write or zeroes cover; only when `isWithinVolume`.
    var range: BlockRange { BlockRange(first: BlockIndex(first), count: count) }
    /// No volume has blocks beyond the largest one's.
    var isWithinVolume: Bool {
        let blocksMax = Limits.volumeBytesMax / UInt64(blockBytes)
        return first <= blocksMax && count <= blocksMax - first
    }

    func encode(into target: UnsafeMutableRawBufferPointer) {
        precondition(target.count == JournalFormat.headBytes)
        target.storeBytes(of: sequence.value.littleEndian, toByteOffset: 0, as: UInt64.self)
        target.storeBytes(of: time.nanoseconds.littleEndian, toByteOffset: 8, as: Int64.self)
        target.storeBytes(of: first.littleEndian, toByteOffset: 16, as: UInt64.self)
        target.storeBytes(of: count.littleEndian, toByteOffset: 24, as: UInt64.self)
        target.storeBytes(of: UInt64(kind.rawValue).littleEndian, toByteOffset: 32, as: UInt64.self)
    }
    init(sequence: WriteSequence, time: Timestamp, first: UInt64 = 0, count: UInt64 = 0, kind: Kind) {
        self.sequence = sequence
        self.time = time
        self.first = first
        self.count = count
        self.kind = kind
    }
    init(decoding reader: inout ByteReader) throws(StorageError) {
        sequence = WriteSequence(try reader.littleEndian())
        time = try reader.timestamp()
        first = try reader.littleEndian()
        count = try reader.littleEndian()
        let number = try reader.littleEndian(UInt64.self)
        guard let kind = UInt8(exactly: number).flatMap(Kind.init(rawValue:)) else {
            throw StorageError(.unsupported, "a journal entry has kind \(number): use the zerofs that wrote it")
        }
        self.kind = kind
    }
}
