/// Collects one answer within bounds, from the pieces that libcurl hands over.
struct ResponseCollector {
    static let errorBytesMax = 64 << 10
    static let headerBytesMax = 64 << 10

    let answerBytesMax: Int
    private(set) var status = 0
    private(set) var headers: [String: String] = [:]
    private(set) var body: [UInt8] = []
    private(set) var isTooLarge = false
    private var headerBytes = 0

    init(answerBytesMax: Int) { self.answerBytesMax = answerBytesMax }

    var response: HTTPResponse { HTTPResponse(status: status, headers: headers, body: body) }
    private var isSuccess: Bool { (200...299).contains(status) }

    /// One header line with its line end; false stops the transfer.
    mutating func addHeader(line bytes: UnsafeRawBufferPointer) -> Bool {
        headerBytes += bytes.count
        guard headerBytes <= Self.headerBytesMax else { return false }
        if bytes.starts(with: "HTTP/".utf8) {
            // A new head: what came before was an interim answer (100 Continue).
            headers.removeAll()
            let word = bytes.split(separator: UInt8(ascii: " "), maxSplits: 2).dropFirst().first
            status = word.flatMap { Int(Self.text($0)) } ?? 0
        } else if let colon = bytes.firstIndex(of: UInt8(ascii: ":")) {
            let name = bytes[..<colon].map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }
            headers[String(decoding: name, as: UTF8.self)] = Self.text(bytes[(colon + 1)...])
        }
        return true
    }

    /// A piece of the body; false stops the transfer. Of an error the beginning is kept and the rest given up.
    mutating func addBody(_ bytes: UnsafeRawBufferPointer) -> Bool {
        // A status that comes after a part of the body, in a trailer, may leave no room at all.
        let room = max((isSuccess ? answerBytesMax : Self.errorBytesMax) - body.count, 0)
        if body.isEmpty, isSuccess { reserve() }
        body.append(contentsOf: bytes.prefix(room))
        guard bytes.count > room else { return true }
        isTooLarge = true
        return false
    }

    /// Without blanks and line ends around it.
    private static func text(_ bytes: Slice<UnsafeRawBufferPointer>) -> String {
        let fromFirst = bytes.drop { $0 <= 0x20 }
        guard let last = fromFirst.lastIndex(where: { $0 > 0x20 }) else { return "" }
        return String(decoding: fromFirst[...last], as: UTF8.self)
    }

    private mutating func reserve() {
        guard let length = response.contentLength, length <= UInt64(answerBytesMax) else { return }
        body.reserveCapacity(Int(length))
    }
}

extension StringProtocol {
    /// Without spaces, tabs and line ends at both ends.
    func trimmed() -> String {
        let isBlank = { (character: Character) in character.isWhitespace || character.isNewline }
        guard let first = firstIndex(where: { !isBlank($0) }), let last = lastIndex(where: { !isBlank($0) }) else {
            return ""
        }
        return String(self[first...last])
    }
}
