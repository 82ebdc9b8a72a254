import StoreCore

/// Writes replies in the frames that the handshake agreed on. Each function returns the bytes that it wrote.
struct ReplyEncoder {
    let mode: ReplyMode

    /// Bytes before the data of a read reply of one chunk.
    var dataHeaderBytes: Int {
        switch mode {
        case .simple: 16
        case .structured: 20 + 8
        case .extended: 32 + 8
        }
    }
    /// A whole chunk that stands for zeroes.
    var holeBytes: Int { chunkHeaderBytes + 12 }
    /// The longest reply that `success` writes.
    static let successBytesMax = 32
    /// The longest reply that `error` writes.
    static let errorBytesMax = 32 + 6 + errorTextBytesMax
    static let errorTextBytesMax = 512

    private var chunkHeaderBytes: Int { mode == .extended ? 32 : 20 }

    /// A reply without payload. With structured replies a simple one is allowed here, and is the shortest.
    @inline(__always)
    func success(_ request: Request, at place: UnsafeMutableRawPointer) -> Int {
        if mode == .extended { return chunk(request, .none, payloadBytes: 0, isLast: true, at: place) }
        return simple(request, error: 0, at: place)
    }

    /// A successful read of no bytes.
    func emptyRead(_ request: Request, at place: UnsafeMutableRawPointer) -> Int {
        if mode == .simple { return simple(request, error: 0, at: place) }
        return chunk(request, .none, payloadBytes: 0, isLast: true, at: place)
    }

    /// What stands before `count` bytes of data from `offset` of the export.
    @inline(__always)
    func dataHeader(
        _ request: Request, offset: UInt64, count: Int, isLast: Bool, at place: UnsafeMutableRawPointer
    ) -> Int {
        if mode == .simple { return simple(request, error: 0, at: place) }
        let header = chunk(request, .offsetData, payloadBytes: 8 + count, isLast: isLast, at: place)
        place.storeBigEndian(offset, at: header)
        return header + 8
    }

    func hole(
        _ request: Request, offset: UInt64, count: Int, isLast: Bool, at place: UnsafeMutableRawPointer
    ) -> Int {
        let header = chunk(request, .offsetHole, payloadBytes: 12, isLast: isLast, at: place)
        place.storeBigEndian(offset, at: header)
        place.storeBigEndian(UInt32(count), at: header + 8)
        return header + 12
    }

    func error(_ request: Request, _ refusal: Refusal, at place: UnsafeMutableRawPointer) -> Int {
        if mode == .simple { return simple(request, error: refusal.code.rawValue, at: place) }
        let text = ErrorText.cut(refusal.message, Self.errorTextBytesMax)
        let header = chunk(request, .error, payloadBytes: 6 + text.count, isLast: true, at: place)
        place.storeBigEndian(refusal.code.rawValue, at: header)
        place.storeBigEndian(UInt16(text.count), at: header + 4)
        (place + header + 6).copyMemory(from: text, byteCount: text.count)
        return header + 6 + text.count
    }

    /// Extents of the context base:allocation. Compact lengths have 32 bits: a longer extent is reported in part.
    func status(_ request: Request, _ extents: [DeviceExtent]) -> [UInt8] {
        let isExtended = mode == .extended
        let payload = isExtended ? 8 + 16 * extents.count : 4 + 8 * extents.count
        let type = isExtended ? ChunkType.blockStatusExtended : .blockStatus
        return bytes(capacity: chunkHeaderBytes + payload) { place in
            var end = chunk(request, type, payloadBytes: payload, isLast: true, at: place)
            place.storeBigEndian(MetaContext.allocationID, at: end)
            if isExtended { place.storeBigEndian(UInt32(extents.count), at: end + 4) }
            end += isExtended ? 8 : 4
            for extent in extents {
                let flags = extent.isHole ? AllocationState.hole | AllocationState.zero : 0
                if isExtended {
                    place.storeBigEndian(extent.byteCount, at: end)
                    place.storeBigEndian(UInt64(flags), at: end + 8)
                } else {
                    place.storeBigEndian(UInt32(extent.byteCount), at: end)
                    place.storeBigEndian(flags, at: end + 4)
                }
                end += isExtended ? 16 : 8
            }
            return end
        }
    }

    /// An array of what `write` puts at its place.
    func bytes(capacity: Int, _ write: (UnsafeMutableRawPointer) -> Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
            guard let base = buffer.baseAddress else { return }
            count = write(UnsafeMutableRawPointer(base))
        }
    }

    @inline(__always)
    private func simple(_ request: Request, error: UInt32, at place: UnsafeMutableRawPointer) -> Int {
        place.storeBigEndian(Magic.simpleReply, at: 0)
        place.storeBigEndian(error, at: 4)
        place.storeBigEndian(request.cookie, at: 8)
        return 16
    }

    @inline(__always)
    private func chunk(
        _ request: Request, _ type: ChunkType, payloadBytes: Int, isLast: Bool, at place: UnsafeMutableRawPointer
    ) -> Int {
        let isExtended = mode == .extended
        place.storeBigEndian(isExtended ? Magic.extendedReply : Magic.structuredReply, at: 0)
        place.storeBigEndian(isLast ? ChunkFlag.done : 0, at: 4)
        place.storeBigEndian(type.rawValue, at: 6)
        place.storeBigEndian(request.cookie, at: 8)
        guard isExtended else {
            place.storeBigEndian(UInt32(payloadBytes), at: 16)
            return 20
        }
        place.storeBigEndian(request.offset, at: 16)
        place.storeBigEndian(UInt64(payloadBytes), at: 24)
        return 32
    }
}

enum ErrorText {
    /// At most `bytesMax` bytes of UTF-8 without NUL, cut between characters.
    static func cut(_ text: String, _ bytesMax: Int) -> [UInt8] {
        let bytes = text.utf8.filter { $0 != 0 }
        guard bytes.count > bytesMax else { return bytes }
        // A continuation byte at the cut belongs to a character that begins before it.
        var end = bytesMax
        while end > 0, bytes[end] & 0xc0 == 0x80 { end -= 1 }
        return Array(bytes[..<end])
    }
}
