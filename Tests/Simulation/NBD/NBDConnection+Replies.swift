/// Replies, each checked for what the specification demands of it.
extension NBDConnection {
    func receiveReply() async throws {
        switch (mode, try await read(UInt32.self)) {
        case (.simple, 0x6744_6698), (.structured, 0x6744_6698): try await receiveSimple()
        case (.structured, 0x668e_33ef), (.extended, 0x6e8a_278c): try await receiveChunk()
        case (_, let magic): throw breach("a reply begins with \(magic)")
        }
    }

    private func receiveSimple() async throws {
        let error = try await read(UInt32.self)
        let cookie = try await read(UInt64.self)
        guard var entry = waiting[cookie] else { throw breach("a reply to no request") }
        if error != 0 {
            entry.refusal = NBDRefusal(number: error, text: "")
        } else if entry.request.command == .read {
            guard mode == .simple else { throw breach("a simple reply to a read") }
            entry.data = Array(try await read(entry.data.count))
            entry.isFilled = [0..<entry.data.count]
        }
        try finish(cookie, entry)
    }

    private func receiveChunk() async throws {
        let flags = try await read(UInt16.self)
        let type = try await read(UInt16.self)
        let cookie = try await read(UInt64.self)
        let offset = mode == .extended ? try await read(UInt64.self) : nil
        let count = mode == .extended ? Int(try await read(UInt64.self)) : Int(try await read(UInt32.self))
        guard count <= 64 << 20 else { throw breach("a chunk of \(count) bytes") }
        let payload = try await read(count)
        guard var entry = waiting[cookie] else { throw breach("a chunk for no request") }
        if let offset, offset != entry.request.offset { throw breach("a chunk repeats another offset") }
        try take(type, Array(payload), into: &entry)
        if flags & 1 != 0 { return try finish(cookie, entry) }
        waiting[cookie] = entry
    }

    private func take(_ type: UInt16, _ payload: [UInt8], into entry: inout Waiting) throws {
        switch (type, entry.request.command) {
        case (0, _):
            guard payload.isEmpty else { throw breach("a chunk of type none with a payload") }
        case (1, .read):
            guard payload.count > 8 else { throw breach("a data chunk without data") }
            let start = try place(payload, payload.count - 8, &entry)
            entry.data.replaceSubrange(start..<start + payload.count - 8, with: payload[8...])
        case (2, .read):
            guard payload.count == 12 else { throw breach("a malformed hole") }
            _ = try place(payload, BigEndian.number(payload[8...]), &entry)
        case (5, .blockStatus): try checkExtents(payload.dropFirst(4), entryBytes: 8, entry.request)
        case (6, .blockStatus): try checkExtents(payload.dropFirst(8), entryBytes: 16, entry.request)
        case (0x8001, _):
            let number: UInt32 = BigEndian.number(payload.prefix(4))
            entry.refusal = NBDRefusal(number: number, text: String(decoding: payload.dropFirst(6), as: UTF8.self))
        default: throw breach("a chunk of type \(type) for \(entry.request.command)")
        }
    }

    /// Where a chunk's bytes belong: within the request, and where none came before.
    private func place(_ payload: [UInt8], _ count: Int, _ entry: inout Waiting) throws -> Int {
        let offset: UInt64 = BigEndian.number(payload.prefix(8))
        guard offset >= entry.request.offset, offset - entry.request.offset <= entry.request.length else {
            throw breach("a chunk outside of its request")
        }
        let start = Int(offset - entry.request.offset)
        guard count > 0, count <= entry.data.count - start else { throw breach("a chunk beyond its request") }
        guard !entry.isFilled.contains(where: { $0.overlaps(start..<start + count) }) else {
            throw breach("two chunks for the same bytes")
        }
        entry.isFilled.append(start..<start + count)
        return start
    }

    private func checkExtents(_ payload: ArraySlice<UInt8>, entryBytes: Int, _ request: NBDRequest) throws {
        guard !payload.isEmpty, payload.count % entryBytes == 0 else { throw breach("malformed extents") }
        var rest = request.length
        var at = payload.startIndex
        while at < payload.endIndex {
            let count: UInt64 = BigEndian.number(payload[at..<at + entryBytes / 2])
            guard count > 0, count <= rest else { throw breach("an extent of \(count) bytes where \(rest) are left") }
            rest -= count
            at += entryBytes
        }
    }

    private func finish(_ cookie: UInt64, _ entry: Waiting) throws {
        waiting[cookie] = nil
        if let refusal = entry.refusal { return entry.continuation.resume(throwing: refusal) }
        let filled = entry.isFilled.reduce(0) { $0 + $1.count }
        guard filled == entry.data.count else {
            entry.continuation.resume(throwing: NBDConnectionLost())
            throw breach("a read of \(entry.data.count) bytes was answered with \(filled)")
        }
        entry.continuation.resume(returning: entry.data)
    }
}
