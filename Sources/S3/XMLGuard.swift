/// A look at XML before a parser sees it: S3's messages are flat and plain, and what is not is not for the parser,
/// which would recurse as deep as the input says, goes on behind errors in its own way, and ends the process at a
/// processing instruction without data.
enum XMLGuard {
    static let depthMax = 16

    /// The name of the outermost element; nil for what is no element, nests deeper than `depthMax`, or declares or
    /// instructs anything: document types, entities, comments and CDATA sections all begin with `<!`, instructions with
    /// `<?`, and S3 sends none but the declaration at the beginning.
    static func rootName(_ bytes: [UInt8]) -> String? {
        var root: String?
        var depth = 0
        guard var rest = behindDeclaration(bytes) else { return nil }
        while let tag = nextTag(&rest) {
            guard let first = tag.first, first != UInt8(ascii: "!"), first != UInt8(ascii: "?") else { return nil }
            if first == UInt8(ascii: "/") {
                depth -= 1
                guard depth >= 0 else { return nil }
                continue
            }
            if root == nil { root = name(tag) }
            guard tag.last != UInt8(ascii: "/") else { continue }
            depth += 1
            guard depth <= depthMax else { return nil }
        }
        return root
    }

    /// What follows `<?xml ...?>`, if that is there; nil when it has no end of its own.
    private static func behindDeclaration(_ bytes: [UInt8]) -> ArraySlice<UInt8>? {
        let mark: [UInt8] = [0xef, 0xbb, 0xbf]
        let text = bytes.starts(with: mark) ? bytes.dropFirst(mark.count) : bytes[...]
        guard text.starts(with: "<?xml ".utf8) else { return text }
        guard let end = text.firstIndex(of: UInt8(ascii: ">")), text[end - 1] == UInt8(ascii: "?"),
            !text[..<end].dropFirst().contains(UInt8(ascii: "<"))
        else { return nil }
        return text[(end + 1)...]
    }

    /// What stands between the next `<` and its `>`, which in quotes is none; nothing where another `<` stands there,
    /// as it may not in quotes either.
    private static func nextTag(_ rest: inout ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        guard let open = rest.firstIndex(of: UInt8(ascii: "<")) else { return nil }
        let start = open + 1
        var quote: UInt8?
        for position in start..<rest.endIndex {
            let byte = rest[position]
            if byte == UInt8(ascii: "<") { return [] }
            if let open = quote {
                if byte == open { quote = nil }
            } else if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
                quote = byte
            } else if byte == UInt8(ascii: ">") {
                defer { rest = rest[(position + 1)...] }
                return rest[start..<position]
            }
        }
        // It does not end: nothing after it counts, and the parser will say so.
        rest = rest[rest.endIndex...]
        return nil
    }

    private static func name(_ tag: ArraySlice<UInt8>) -> String? {
        let name = tag.prefix { (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0) }
        return name.isEmpty || name.count > 64 ? nil : String(decoding: name, as: UTF8.self)
    }
}
