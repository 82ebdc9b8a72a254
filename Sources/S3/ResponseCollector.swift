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
        let line = String(decoding: bytes, as: UTF8.self)
        if line.hasPrefix("HTTP/") {
            // A new head: what came before was an interim answer (100 Continue).
            headers.removeAll()
            status = line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        } else if let colon = line.firstIndex(of: ":") {
            headers[line[..<colon].lowercased()] = line[line.index(after: colon)...].trimmed()
        }
        return true
    }

    /// A piece of the body; false stops the transfer. Of an error the beginning is kept and the rest given up.
    mutating func addBody(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let room = (isSuccess ? answerBytesMax : Self.errorBytesMax) - body.count
        if body.isEmpty, isSuccess { reserve() }
        body.append(contentsOf: bytes.prefix(room))
        guard bytes.count > room else { return true }
        isTooLarge = true
        return false
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
