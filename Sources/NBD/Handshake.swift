import StoreCore

/// The fixed newstyle handshake as a pure state machine: bytes and answers in, steps out.
///
/// The owner calls `next()` and performs what it says: send bytes, fetch more bytes (`receive`), put a question to the
/// device directory (`answer`), go on to transmission, or close. A malformed option gets its error reply and the
/// haggling goes on; only what the specification demands, or what cannot be framed any more, closes.
struct Handshake {
    enum Step: Equatable {
        case needBytes
        case send([UInt8])
        case ask(Question)
        /// Tell of bytes that came before their time; the session ends.
        case noteInjection
        /// Run the TLS handshake; answered with `secured`.
        case startTLS
        case transmit(Agreement)
        case close
    }
    enum Question: Equatable {
        case names
        case describe(String)
        /// Open the export for this connection; answered with its description.
        case attach(String)
    }
    enum Answer {
        case names([String])
        case description(DeviceDescription)
        case refused(StorageError)
    }
    /// What transmission goes by.
    struct Agreement: Equatable {
        var export: String
        var mode: ReplyMode
        var hasAllocationContext: Bool
    }

    /// What TLS is to this session. It never goes back from `secured`.
    enum Security: Equatable {
        case unavailable
        case offered
        /// Whatever is asked before the upgrade is refused.
        case required
        case secured
    }
    var security = Security.unavailable

    /// From now on options other than ABORT are refused with NBD_REP_ERR_SHUTDOWN.
    var isShuttingDown = false

    enum State {
        case greeting
        case clientFlags
        case optionHeader
        case optionData(option: UInt32, byteCount: Int)
        case skipping(option: UInt32, byteCount: Int)
        case asking(Inquiry)
        case startingTLS
        case ended
    }
    var state = State.greeting
    private var input: [UInt8] = []
    var steps: [Step] = []
    private var optionsSeen = 0
    var omitsZeroes = false
    var mode = ReplyMode.simple
    /// The export that SET_META_CONTEXT last selected base:allocation for.
    var contextExport: String?

    /// Bytes beyond the message that was handled last.
    var hasInput: Bool { !input.isEmpty }

    mutating func receive(_ bytes: some Sequence<UInt8>) { input.append(contentsOf: bytes) }

    /// What the client sent beyond the handshake; it belongs to transmission.
    mutating func takeRemaining() -> [UInt8] {
        defer { input = [] }
        return input
    }

    mutating func next() -> Step {
        while true {
            if !steps.isEmpty { return steps.removeFirst() }
            guard advance() else { return .needBytes }
        }
    }

    /// One transition; false when it takes more bytes, or an answer.
    private mutating func advance() -> Bool {
        switch state {
        case .greeting:
            steps.append(.send(Self.greeting))
            state = .clientFlags
        case .clientFlags:
            guard let bytes = take(4) else { return false }
            readClientFlags(bytes)
        case .optionHeader:
            guard let bytes = take(16) else { return false }
            readOptionHeader(bytes)
        case .optionData(let option, let byteCount):
            guard let bytes = take(byteCount) else { return false }
            state = .optionHeader
            perform(option, bytes)
        case .skipping(let option, let byteCount):
            guard !input.isEmpty || byteCount == 0 else { return false }
            let skipped = min(input.count, byteCount)
            input.removeFirst(skipped)
            state = .skipping(option: option, byteCount: byteCount - skipped)
            if skipped == byteCount { refuseSkipped(option) }
        case .asking, .startingTLS:
            preconditionFailure("a handshake goes on only after its question was answered")
        case .ended:
            steps.append(.close)
        }
        return true
    }

    private mutating func take(_ count: Int) -> [UInt8]? {
        guard input.count >= count else { return nil }
        defer { input.removeFirst(count) }
        return Array(input.prefix(count))
    }

    private static var greeting: [UInt8] {
        var writer = BigEndianWriter()
        writer.number(Magic.server)
        writer.number(Magic.option)
        writer.number(([.fixedNewstyle, .noZeroes] as HandshakeFlags).rawValue)
        return writer.bytes
    }

    private mutating func readClientFlags(_ bytes: [UInt8]) {
        var reader = BigEndianReader(bytes)
        let known: HandshakeFlags = [.fixedNewstyle, .noZeroes]
        guard let flags = reader.number(UInt32.self), flags & ~UInt32(known.rawValue) == 0 else { return close() }
        omitsZeroes = flags & UInt32(HandshakeFlags.noZeroes.rawValue) != 0
        if flags & UInt32(HandshakeFlags.fixedNewstyle.rawValue) == 0 {
            // Such a client cannot be offered TLS, and where it is required there is nothing left to talk about.
            if security == .required { return close() }
            security = .unavailable
        }
        state = .optionHeader
    }

    private mutating func readOptionHeader(_ bytes: [UInt8]) {
        var reader = BigEndianReader(bytes)
        optionsSeen += 1
        guard reader.number() == Magic.option, let option = reader.number(UInt32.self),
            let length = reader.number(UInt32.self), optionsSeen <= NBDLimits.optionsMax
        else { return close() }
        if length > NBDLimits.optionBytesMax {
            state = .skipping(option: option, byteCount: Int(length))
        } else {
            state = .optionData(option: option, byteCount: Int(length))
        }
    }

    private mutating func refuseSkipped(_ option: UInt32) {
        state = .optionHeader
        let code = OptionCode(rawValue: option)
        if refusesPlaintext(option, code) { return }
        switch code {
        case nil: reply(option, .errorUnsupported, "unknown option")
        case .exportName: close()
        case .abort: abort()
        default: reply(option, .errorTooBig, "the option's data is longer than \(NBDLimits.optionBytesMax) bytes")
        }
    }
}
