/// A request's header as it came, checked for nothing but its magic number.
struct Request: Equatable {
    var flags: CommandFlags
    /// A `Command`, or a number that is none.
    var commandNumber: UInt16
    /// The client's mark for the request; it comes back with the reply.
    var cookie: UInt64
    /// In bytes.
    var offset: UInt64
    /// Bytes of the export that it concerns, or of the payload that follows.
    var length: UInt64

    @inline(__always)
    var command: Command? { Command(rawValue: commandNumber) }
}

enum RequestParser {
    /// Reads a header of `mode.requestHeaderBytes` bytes; nil when its magic number is wrong, after which nothing that
    /// follows can be framed.
    @inline(__always)
    static func parse(_ header: UnsafeRawPointer, _ mode: ReplyMode) -> Request? {
        let isExtended = mode == .extended
        guard header.bigEndian(at: 0, as: UInt32.self) == (isExtended ? Magic.extendedRequest : Magic.request) else {
            return nil
        }
        return Request(
            flags: CommandFlags(rawValue: header.bigEndian(at: 4)),
            commandNumber: header.bigEndian(at: 6),
            cookie: header.bigEndian(at: 8),
            offset: header.bigEndian(at: 16),
            length: isExtended ? header.bigEndian(at: 24) : UInt64(header.bigEndian(at: 24, as: UInt32.self)))
    }

    /// Bytes that follow the header. With extended headers the flag tells; before, only writes had a payload.
    @inline(__always)
    static func payloadBytes(_ request: Request, _ mode: ReplyMode) -> UInt64 {
        if mode == .extended { return request.flags.contains(.payloadLength) ? request.length : 0 }
        return request.commandNumber == Command.write.rawValue ? request.length : 0
    }

    /// Whether a payload is so long that the specification wants the connection closed instead of the bytes consumed.
    /// Compact headers cannot announce that much.
    static func isAbusive(payloadBytes: UInt64, _ mode: ReplyMode) -> Bool {
        mode == .extended && payloadBytes > UInt64(NBDLimits.payloadBytesMax)
    }
}
