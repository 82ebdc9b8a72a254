import Codec
import StoreCore

/// Walks the entries of one file as long as they are genuine and follow each other.
struct JournalFileReader {
    private let bytes: [UInt8]
    private let path: String
    private let number: UInt64
    /// nil where no entry can be opened: nothing stands behind the header, or the header is damaged.
    private let cipher: ObjectCipher?
    private var position = JournalFormat.firstEntryPosition
    /// Tag of the last good entry.
    private(set) var chain = JournalFormat.firstChain
    private(set) var isClosed = false

    init(_ bytes: [UInt8], generation: JournalGeneration, number: UInt64, keys: KeyRing) throws {
        self.bytes = bytes
        self.number = number
        path = "\(generation.path)/\(number.hex)"
        // A process that was killed while it stored the header has written nothing behind it, and half a header may
        // name a key that never was.
        guard bytes.dropFirst(ObjectHeader.byteCount).contains(where: { $0 != 0 }) else {
            cipher = nil
            return
        }
        cipher = try Self.cipher(bytes, generation, number, keys, path)
    }
    /// nil for a damaged header; no entry can be opened then.
    private static func cipher(
        _ bytes: [UInt8], _ generation: JournalGeneration, _ number: UInt64, _ keys: KeyRing, _ path: String
    ) throws -> ObjectCipher? {
        let identity = JournalFormat.identity(
            generation.volume, generation.token, generation: generation.number, file: number)
        do {
            let header = try ObjectHeader(decoding: bytes[...], expecting: .journal, object: path)
            return try keys.opening(header, identity: identity, object: path)
        } catch {
            guard error.code == .corrupt else { throw error }
            return nil
        }
    }

    /// Reads the link that a file begins with. nil where it is missing, or does not follow `before`, the last tag of
    /// the file before (any will do for the oldest file that is left).
    mutating func begin(after before: [UInt8]?) throws -> EntryHead? {
        guard let (head, payload) = try nextEntry(), head.kind == .link, head.count == number else { return nil }
        guard before == nil || payload.elementsEqual(before!) else { return nil }
        return head
    }

    mutating func next() throws -> JournalEntry? {
        guard !isClosed else { return nil }
        let start = (position, chain)
        guard let (head, payload) = try nextEntry() else { return nil }
        let operation: JournalOperation
        switch head.kind {
        case .write where head.isWithinVolume && payload.count == Int(head.range.byteCount):
            operation = .write(head.range, Array(payload))
        case .zero where head.isWithinVolume: operation = .zero(head.range)
        case .resize where head.count <= Limits.volumeBytesMax: operation = .resize(head.count)
        case .end:
            isClosed = true
            return nil
        case .write, .zero, .resize, .link:
            // Genuine, and yet nothing that a journal writes here.
            (position, chain) = start
            throw StorageError.corrupt(path, at: UInt64(position), "an entry contradicts itself")
        }
        return JournalEntry(sequence: head.sequence, time: head.time, operation: operation)
    }

    /// nil, and the position stays, where no genuine entry follows.
    private mutating func nextEntry() throws -> (EntryHead, ArraySlice<UInt8>)? {
        guard let cipher, let length = claimedLength, position + JournalFormat.lengthBytes + length <= bytes.count
        else {
            return nil
        }
        let start = position + JournalFormat.lengthBytes
        let sealed = bytes[start..<start + length]
        guard let plaintext = try open(sealed, with: cipher, authenticating: chain + bytes[position..<start]) else {
            return nil
        }
        var reader = ByteReader(plaintext, object: path)
        let head = try EntryHead(decoding: &reader)
        position = start + length
        chain = Array(sealed.suffix(JournalFormat.tagBytes))
        return (head, plaintext[JournalFormat.headBytes...])
    }

    private func open(
        _ sealed: ArraySlice<UInt8>, with cipher: ObjectCipher, authenticating data: [UInt8]
    ) throws -> [UInt8]? {
        do {
            return try cipher.open(sealed, at: UInt64(position), authenticating: data, object: path)
        } catch {
            guard error.code == .corrupt else { throw error }
            return nil
        }
    }

    /// The next entry's length as its first bytes say; nil where it cannot be one.
    private var claimedLength: Int? {
        guard position + JournalFormat.lengthBytes <= bytes.count else { return nil }
        let length = (0..<4).reduce(0) { $0 | Int(bytes[position + $1]) << (8 * $1) }
        return length >= JournalFormat.headBytes + JournalFormat.tagBytes ? length : nil
    }

    /// Bytes after the last good entry, up to the last one that is not zero.
    var tornBytes: Int {
        guard position < bytes.count, let end = bytes[position...].lastIndex(where: { $0 != 0 }) else { return 0 }
        return end + 1 - position
    }
    /// The header, and every genuine entry so far.
    var genuineBytes: ArraySlice<UInt8> { bytes.prefix(position) }
    var endsInZeroes: Bool { tornBytes == 0 }
    /// Bytes that one entry may have begun to fill here when the process was killed: its own, or while its length was
    /// being stored, those of the length.
    var unfinishedBytes: Int { JournalFormat.lengthBytes + (claimedLength ?? 0) }
}
