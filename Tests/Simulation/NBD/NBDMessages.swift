/// The client's side of the protocol's numbers, written from the specification and not from the server's.
enum NBDCommand: UInt16 {
    case read = 0
    case write = 1
    case disconnect = 2
    case flush = 3
    case trim = 4
    case cache = 5
    case writeZeroes = 6
    case blockStatus = 7
}

/// A request of a client, whatever connection carries it.
struct NBDRequest: Sendable {
    var command: NBDCommand
    var offset: UInt64 = 0
    var length: UInt64 = 0
    var payload: [UInt8] = []
    var fua = false
}

/// An error that the server gave as its answer.
struct NBDRefusal: Error {
    var number: UInt32
    var text: String
}

/// The connection ended before the answer came: the request was served or not.
struct NBDConnectionLost: Error {}

enum BigEndian {
    static func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }
    static func number<T: FixedWidthInteger>(_ bytes: some Sequence<UInt8>, as _: T.Type = T.self) -> T {
        bytes.reduce(0) { $0 << 8 | T(truncatingIfNeeded: $1) }
    }
    static func text(_ text: String) -> [UInt8] { bytes(UInt32(text.utf8.count)) + Array(text.utf8) }
}
