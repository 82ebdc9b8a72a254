/// The metadata contexts that are served: one.
enum MetaContext {
    static let allocation = "base:allocation"
    static let allocationID: UInt32 = 1
}

/// An option that needs the device directory, parsed, until its answer comes.
struct Inquiry {
    enum Purpose { case list, exportName, info, go, listContexts, setContexts }

    var purpose: Purpose
    var option: OptionCode
    /// As the client gave it; empty for the default export.
    var export: String
    /// The default export's name, once it is known.
    var resolved: String?
    /// NBD_INFO types that the client asked for.
    var infoTypes: [UInt16] = []
    /// Meta context queries.
    var queries: [String] = []

    init(purpose: Purpose, option: OptionCode, export: String) {
        self.purpose = purpose
        self.option = option
        self.export = export
    }

    /// Data of INFO and GO: name length, name, count, types. Nil when malformed.
    init?(_ option: OptionCode, infoData: [UInt8]) {
        var reader = BigEndianReader(infoData)
        guard let name = reader.lengthAndText(), let count = reader.number(UInt16.self),
            reader.remaining == Int(count) * 2
        else { return nil }
        self.init(purpose: option == .go ? .go : .info, option: option, export: name)
        for _ in 0..<count {
            guard let type = reader.number(UInt16.self) else { return nil }
            infoTypes.append(type)
        }
    }

    /// Data of LIST_META_CONTEXT and SET_META_CONTEXT: name, count, queries. Nil when malformed.
    init?(_ option: OptionCode, metaContextData: [UInt8]) {
        var reader = BigEndianReader(metaContextData)
        guard let name = reader.lengthAndText(), let count = reader.number(UInt32.self),
            Int(count) <= reader.remaining / 4
        else { return nil }
        self.init(purpose: option == .setMetaContext ? .setContexts : .listContexts, option: option, export: name)
        for _ in 0..<count {
            // A query must name a namespace; which ones exist is another question.
            guard let query = reader.lengthAndText(), query.utf8.contains(UInt8(ascii: ":")) else { return nil }
            queries.append(query)
        }
        guard reader.remaining == 0 else { return nil }
    }

    var question: Handshake.Question {
        if purpose == .list || (export.isEmpty && resolved == nil) { return .names }
        let name = resolved ?? export
        return purpose == .go || purpose == .exportName ? .attach(name) : .describe(name)
    }

    /// Listing: no query means all, `base:` is a wildcard.
    var matchesAllocationInList: Bool {
        queries.isEmpty || queries.contains("base:") || selectsAllocation
    }
    /// Selecting: by its full name only.
    var selectsAllocation: Bool { queries.contains(MetaContext.allocation) }
}
