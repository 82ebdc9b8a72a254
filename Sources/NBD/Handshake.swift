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

    /// From now on options other than ABORT are refused with NBD_REP_ERR_SHUTDOWN.
    var isShuttingDown = false

    private enum State {
        case greeting
        case clientFlags
        case optionHeader
        case optionData(option: UInt32, byteCount: Int)
        case skipping(option: UInt32, byteCount: Int)
        case asking(Inquiry)
        case ended
    }
    private var state = State.greeting
    private var input: [UInt8] = []
    private var steps: [Step] = []
    private var optionsSeen = 0
    private var omitsZeroes = false
    private var mode = ReplyMode.simple
    /// The export that SET_META_CONTEXT last selected base:allocation for.
    private var contextExport: String?

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
        case .asking:
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
        switch OptionCode(rawValue: option) {
        case nil: reply(option, .errorUnsupported, "unknown option")
        case .exportName: close()
        case .abort: abort()
        default: reply(option, .errorTooBig, "the option's data is longer than \(NBDLimits.optionBytesMax) bytes")
        }
    }
}

// MARK: - Options

extension Handshake {
    private mutating func perform(_ option: UInt32, _ data: [UInt8]) {
        guard let code = OptionCode(rawValue: option) else {
            return reply(option, .errorUnsupported, "unknown option \(option)")
        }
        if isShuttingDown, code != .abort {
            return code == .exportName ? close() : reply(option, .errorShutdown, "the server is shutting down")
        }
        switch code {
        case .exportName: chooseExport(data)
        case .abort: abort()
        case .startTLS: reply(code, .errorUnsupported, "TLS is not available")
        case .list, .structuredReply, .extendedHeaders:
            guard data.isEmpty else { return reply(code, .errorInvalid, "this option takes no data") }
            performBare(code)
        case .info, .go: inquire(Inquiry(code, infoData: data), code)
        case .listMetaContext, .setMetaContext: queryMetaContexts(code, data)
        }
    }

    private mutating func performBare(_ code: OptionCode) {
        switch code {
        case .structuredReply where mode == .extended:
            reply(code, .errorExtendedHeadersRequired, "extended headers are in use")
        case .structuredReply:
            mode = .structured
            reply(code, .ack)
        case .extendedHeaders where mode == .extended:
            reply(code, .errorInvalid, "extended headers are in use already")
        case .extendedHeaders:
            mode = .extended
            reply(code, .ack)
        default:
            inquire(Inquiry(purpose: .list, option: code, export: ""), code)
        }
    }

    private mutating func chooseExport(_ data: [UInt8]) {
        var reader = BigEndianReader(data)
        // An extended header client must use GO; and EXPORT_NAME knows no error reply.
        guard mode != .extended, let name = reader.text(byteCount: data.count) else { return close() }
        inquire(Inquiry(purpose: .exportName, option: .exportName, export: name), .exportName)
    }

    private mutating func queryMetaContexts(_ code: OptionCode, _ data: [UInt8]) {
        if code == .setMetaContext {
            contextExport = nil
            guard mode != .simple else {
                return reply(code, .errorInvalid, "negotiate structured replies first")
            }
        }
        inquire(Inquiry(code, metaContextData: data), code)
    }

    private mutating func abort() {
        reply(.abort, .ack)
        steps.append(.close)
        state = .ended
    }

    private mutating func close() {
        steps.append(.close)
        state = .ended
    }

    private mutating func reply(_ option: OptionCode, _ type: OptionReply, _ message: String = "") {
        reply(option.rawValue, type, message)
    }
    private mutating func reply(_ option: UInt32, _ type: OptionReply, _ message: String = "") {
        steps.append(.send(OptionReplyMessage.encode(option, type, message)))
    }
}

// MARK: - Questions and answers

extension Handshake {
    /// Begins a question, or refuses what could not be parsed.
    private mutating func inquire(_ inquiry: Inquiry?, _ code: OptionCode) {
        guard let inquiry else { return reply(code, .errorInvalid, "the option's data is malformed") }
        state = .asking(inquiry)
        steps.append(.ask(inquiry.question))
    }

    mutating func answer(_ answer: Answer) {
        guard case .asking(var inquiry) = state else { preconditionFailure("an answer to no question") }
        state = .optionHeader
        switch answer {
        case .refused(let error):
            refuse(inquiry, OptionReply(refusing: error.code), error.description)
        case .names(let names) where inquiry.purpose == .list:
            let replies = names.flatMap { OptionReplyMessage.server(name: $0) }
            steps.append(.send(replies + OptionReplyMessage.encode(inquiry.option.rawValue, .ack)))
        case .names(let names):
            guard let only = names.first, names.count == 1 else {
                return refuse(inquiry, .errorUnknown, "there is no default export: name one")
            }
            inquiry.resolved = only
            state = .asking(inquiry)
            steps.append(.ask(inquiry.question))
        case .description(let description):
            conclude(inquiry, description)
        }
    }

    private mutating func refuse(_ inquiry: Inquiry, _ type: OptionReply, _ message: String) {
        if inquiry.purpose == .exportName { return close() }
        reply(inquiry.option, type, message)
    }

    private mutating func conclude(_ inquiry: Inquiry, _ description: DeviceDescription) {
        let agreement = Agreement(
            export: description.name, mode: mode, hasAllocationContext: contextExport == description.name)
        let flags = TransmissionFlags(description, agreement)
        switch inquiry.purpose {
        case .list:
            preconditionFailure("a list is answered with names")
        case .exportName:
            var writer = BigEndianWriter()
            writer.number(description.size)
            writer.number(flags.rawValue)
            if !omitsZeroes { writer.zeroes(124) }
            steps += [.send(writer.bytes), .transmit(agreement)]
            state = .ended
        case .info, .go:
            steps.append(.send(OptionReplyMessage.infos(inquiry, description, flags)))
            guard inquiry.purpose == .go else { return }
            steps.append(.transmit(agreement))
            state = .ended
        case .listContexts:
            let replies = inquiry.matchesAllocationInList ? OptionReplyMessage.metaContext(inquiry.option, id: 0) : []
            steps.append(.send(replies + OptionReplyMessage.encode(inquiry.option.rawValue, .ack)))
        case .setContexts:
            let selected = inquiry.selectsAllocation
            contextExport = selected ? description.name : nil
            let replies =
                selected ? OptionReplyMessage.metaContext(inquiry.option, id: MetaContext.allocationID) : []
            steps.append(.send(replies + OptionReplyMessage.encode(inquiry.option.rawValue, .ack)))
        }
    }
}

extension TransmissionFlags {
    init(_ description: DeviceDescription, _ agreement: Handshake.Agreement) {
        self = [.hasFlags, .sendFlush, .sendFUA, .canMultiConn, .sendCache]
        formUnion(description.isReadOnly ? .readOnly : [.sendTrim, .sendWriteZeroes, .sendFastZero])
        if agreement.mode != .simple { insert(.sendDF) }
        if agreement.mode == .extended, agreement.hasAllocationContext { insert(.blockStatusPayload) }
    }
}
