import Codec
import StoreCore

/// A preallocated file of a generation, with the key that its entries are sealed under.
final class JournalFile: Sendable {
    let number: UInt64
    let path: String
    let file: any LocalFile
    let cipher: ObjectCipher

    init(number: UInt64, path: String, file: any LocalFile, cipher: ObjectCipher) {
        self.number = number
        self.path = path
        self.file = file
        self.cipher = cipher
    }

    /// Makes a file in which any entry can be stored without meeting a full disk; its name is durable.
    static func prepare(
        _ number: UInt64, cipher: ObjectCipher, in directory: String, bytes: Int, disk: any LocalDisk
    ) async throws -> JournalFile {
        let path = "\(directory)/\(number.hex)"
        let file = try await disk.create(path, zeroFilled: bytes)
        let header = cipher.header.bytes
        try file.store(at: 0, count: header.count) { $0.copyBytes(from: header) }
        try await disk.syncDirectory(directory)
        return JournalFile(number: number, path: path, file: file, cipher: cipher)
    }
}

/// Where the next entry goes. Owned by one appender at a time.
struct AppendPosition {
    private(set) var target: JournalFile
    private(set) var position = JournalFormat.firstEntryPosition
    private(set) var lastSequence: WriteSequence
    /// Tag of the entry before, then room for the length of the next: what the next one authenticates.
    private var chain: [UInt8]

    /// Begins a generation with its first file.
    init(_ first: JournalFile, time: Timestamp) throws {
        target = first
        lastSequence = WriteSequence(0)
        chain = Self.freshChain
        try link(to: JournalFormat.firstChain, time: time)
    }

    /// Whether an entry fits, and the closing entry after it.
    func hasRoom(for entryBytes: Int) -> Bool {
        position + entryBytes + JournalFormat.entryBytes(payload: 0) <= target.file.byteCount
    }

    /// Goes on in a new file.
    mutating func move(to next: JournalFile, time: Timestamp) throws {
        let lastTag = Array(chain.prefix(JournalFormat.tagBytes))
        target = next
        position = JournalFormat.firstEntryPosition
        chain = Self.freshChain
        try link(to: lastTag, time: time)
    }
    private mutating func link(to tag: [UInt8], time: Timestamp) throws {
        let head = EntryHead(sequence: lastSequence, time: time, count: target.number, kind: .link)
        try tag.withUnsafeBytes { try append(head, $0) }
    }

    /// Seals an entry into its place. Where this throws, the place is spoilt and the generation must end: sealing there
    /// again would use a nonce twice.
    mutating func append(_ head: EntryHead, _ payload: UnsafeRawBufferPointer) throws {
        let count = JournalFormat.entryBytes(payload: payload.count)
        let length = UInt32(count - JournalFormat.lengthBytes).littleEndian
        chain.withUnsafeMutableBytes {
            $0.storeBytes(of: length, toByteOffset: JournalFormat.tagBytes, as: UInt32.self)
        }
        let (cipher, chain, position) = (target.cipher, chain, position)
        var tag: UInt128 = 0
        try target.file.store(at: position, count: count) { place in
            // The length first: what an interrupted store leaves is then known to be one unfinished entry.
            place.storeBytes(of: length, as: UInt32.self)
            let sealed = UnsafeMutableRawBufferPointer(rebasing: place[JournalFormat.lengthBytes...])
            try withUnsafeTemporaryAllocation(byteCount: JournalFormat.headBytes, alignment: 8) { plain in
                head.encode(into: plain)
                try cipher.seal(
                    UnsafeRawBufferPointer(plain), payload, at: UInt64(position), authenticating: chain, into: sealed)
            }
            tag = place.loadUnaligned(fromByteOffset: count - JournalFormat.tagBytes, as: UInt128.self)
        }
        self.chain.withUnsafeMutableBytes { $0.storeBytes(of: tag, as: UInt128.self) }
        self.position += count
        lastSequence = head.sequence
    }

    private static var freshChain: [UInt8] {
        JournalFormat.firstChain + [UInt8](repeating: 0, count: JournalFormat.lengthBytes)
    }
}
