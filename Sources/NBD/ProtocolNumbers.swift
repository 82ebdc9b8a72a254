// The numbers of the NBD protocol (github.com/NetworkBlockDevice/nbd, doc/proto.md), under the names used there.
// Everything on the wire is big-endian.

enum Magic {
    static let server: UInt64 = 0x4e42_444d_4147_4943
    static let option: UInt64 = 0x4948_4156_454f_5054
    static let optionReply: UInt64 = 0x0003_e889_0455_65a9
    static let request: UInt32 = 0x2560_9513
    static let extendedRequest: UInt32 = 0x21e4_1c71
    static let simpleReply: UInt32 = 0x6744_6698
    static let structuredReply: UInt32 = 0x668e_33ef
    static let extendedReply: UInt32 = 0x6e8a_278c
}

struct HandshakeFlags: OptionSet {
    let rawValue: UInt16
    static let fixedNewstyle = Self(rawValue: 1 << 0)
    static let noZeroes = Self(rawValue: 1 << 1)
}

enum OptionCode: UInt32 {
    case exportName = 1
    case abort = 2
    case list = 3
    case startTLS = 5
    case info = 6
    case go = 7
    case structuredReply = 8
    case listMetaContext = 9
    case setMetaContext = 10
    case extendedHeaders = 11
}

enum OptionReply: UInt32 {
    case ack = 1
    case server = 2
    case info = 3
    case metaContext = 4
    case errorUnsupported = 0x8000_0001
    case errorPolicy = 0x8000_0002
    case errorInvalid = 0x8000_0003
    case errorPlatform = 0x8000_0004
    case errorTLSRequired = 0x8000_0005
    case errorUnknown = 0x8000_0006
    case errorShutdown = 0x8000_0007
    case errorTooBig = 0x8000_0009
    case errorExtendedHeadersRequired = 0x8000_000a
}

enum InfoType: UInt16 {
    case export = 0
    case name = 1
    case description = 2
    case blockSize = 3
}

struct TransmissionFlags: OptionSet {
    let rawValue: UInt16
    static let hasFlags = Self(rawValue: 1 << 0)
    static let readOnly = Self(rawValue: 1 << 1)
    static let sendFlush = Self(rawValue: 1 << 2)
    static let sendFUA = Self(rawValue: 1 << 3)
    static let sendTrim = Self(rawValue: 1 << 5)
    static let sendWriteZeroes = Self(rawValue: 1 << 6)
    static let sendDF = Self(rawValue: 1 << 7)
    static let canMultiConn = Self(rawValue: 1 << 8)
    static let sendCache = Self(rawValue: 1 << 10)
    static let sendFastZero = Self(rawValue: 1 << 11)
    static let blockStatusPayload = Self(rawValue: 1 << 12)
}

enum Command: UInt16 {
    case read = 0
    case write = 1
    case disconnect = 2
    case flush = 3
    case trim = 4
    case cache = 5
    case writeZeroes = 6
    case blockStatus = 7
}

struct CommandFlags: OptionSet {
    let rawValue: UInt16
    static let fua = Self(rawValue: 1 << 0)
    static let noHole = Self(rawValue: 1 << 1)
    static let dontFragment = Self(rawValue: 1 << 2)
    static let requestOne = Self(rawValue: 1 << 3)
    static let fastZero = Self(rawValue: 1 << 4)
    static let payloadLength = Self(rawValue: 1 << 5)
}

enum ChunkType: UInt16 {
    case none = 0
    case offsetData = 1
    case offsetHole = 2
    case blockStatus = 5
    case blockStatusExtended = 6
    case error = 0x8001
}

enum ChunkFlag {
    static let done: UInt16 = 1
}

/// Flags of an extent in the context `base:allocation`.
enum AllocationState {
    static let hole: UInt32 = 1
    static let zero: UInt32 = 2
}

/// Error values of replies; the specification fixes them, whatever the machine's errno are.
enum NBDErrorCode: UInt32 {
    case notPermitted = 1
    case inputOutput = 5
    case invalid = 22
    case noSpace = 28
    case overflow = 75
    case shutdown = 108
}

/// How replies are framed, as the handshake agreed.
enum ReplyMode {
    /// 28-byte requests, simple replies.
    case simple
    /// 28-byte requests, structured replies where there is a payload or an error.
    case structured
    /// 32-byte requests and reply headers, 64-bit lengths.
    case extended

    var requestHeaderBytes: Int { self == .extended ? 32 : 28 }
}
