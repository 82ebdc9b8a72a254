import StoreCore

extension Handshake {
    mutating func perform(_ option: UInt32, _ data: [UInt8]) {
        let known = OptionCode(rawValue: option)
        if refusesPlaintext(option, known) { return }
        guard let code = known else { return reply(option, .errorUnsupported, "unknown option \(option)") }
        if isShuttingDown, code != .abort {
            return code == .exportName ? close() : reply(option, .errorShutdown, "the server is shutting down")
        }
        switch code {
        case .exportName: chooseExport(data)
        case .abort: abort()
        case .startTLS, .list, .structuredReply, .extendedHeaders:
            guard data.isEmpty else { return reply(code, .errorInvalid, "this option takes no data") }
            performBare(code)
        case .info, .go: inquire(Inquiry(code, infoData: data), code)
        case .listMetaContext, .setMetaContext: queryMetaContexts(code, data)
        }
    }

    private mutating func performBare(_ code: OptionCode) {
        switch code {
        case .startTLS:
            startTLS()
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

    /// Before a required upgrade nothing is answered but STARTTLS and ABORT; EXPORT_NAME, which knows no error reply,
    /// ends the session. True where that was done.
    mutating func refusesPlaintext(_ option: UInt32, _ code: OptionCode?) -> Bool {
        guard security == .required, code != .startTLS, code != .abort else { return false }
        if code == .exportName {
            close()
        } else {
            reply(option, .errorTLSRequired, "this server wants TLS first")
        }
        return true
    }

    private mutating func startTLS() {
        switch security {
        case .unavailable: return reply(.startTLS, .errorUnsupported, "TLS is not available")
        case .secured: return reply(.startTLS, .errorInvalid, "TLS is in use already")
        case .offered, .required: break
        }
        // A client waits for the answer. Bytes that came along were sent by somebody who wants them to be taken for
        // the client's protected ones.
        guard !hasInput else {
            steps.append(.noteInjection)
            return close()
        }
        reply(.startTLS, .ack)
        steps.append(.startTLS)
        state = .startingTLS
    }

    /// The stream is secured. Whatever was agreed before could have been said by anyone, and is forgotten.
    mutating func secured() {
        guard case .startingTLS = state else { preconditionFailure("nothing was to be secured") }
        security = .secured
        mode = .simple
        contextExport = nil
        state = .optionHeader
    }

    mutating func abort() {
        reply(.abort, .ack)
        steps.append(.close)
        state = .ended
    }

    mutating func close() {
        steps.append(.close)
        state = .ended
    }

    mutating func reply(_ option: OptionCode, _ type: OptionReply, _ message: String = "") {
        reply(option.rawValue, type, message)
    }
    mutating func reply(_ option: UInt32, _ type: OptionReply, _ message: String = "") {
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
