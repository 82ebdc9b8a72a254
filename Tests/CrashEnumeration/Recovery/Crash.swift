/// A crash that a recording allows: where, what kind, what of what was under way happened, what the disk kept.
struct Crash: Hashable, Sendable {
    enum Disk: Hashable, Sendable {
        /// The page cache, with these operations that had begun; and the last store cut to so many bytes.
        case cache(finished: [Int], cut: Int?)
        /// The platter, with these changes of names and these sectors of what was not synced.
        case platter(names: [Int], sectors: [Int])
        case lost
    }
    /// The events before this one happened.
    var point: Int
    var kind: CrashKind
    /// Who recovers.
    var host: Int
    /// Requests under way that took effect.
    var mutations: [Int]
    var disk: Disk
}

/// `412.kill.0.s3-5,9.c` and the like: names a crash in a recording, and is read back.
extension Crash: CustomStringConvertible {
    var description: String {
        let start = "\(point).\(kind.rawValue).\(host).s\(Self.text(mutations))"
        switch disk {
        case .cache(let finished, let cut):
            return "\(start).c\(Self.text(finished))" + (cut.map { ".t\($0)" } ?? "")
        case .platter(let names, let sectors): return "\(start).n\(Self.text(names)).w\(Self.text(sectors))"
        case .lost: return start
        }
    }

    init?(parsing text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count >= 4, let point = Int(parts[0]), let kind = CrashKind(rawValue: String(parts[1])),
            let host = Int(parts[2])
        else { return nil }
        var fields: [Character: Substring] = [:]
        for part in parts[3...] {
            guard let letter = part.first else { return nil }
            fields[letter] = part.dropFirst()
        }
        guard let mutations = Self.numbers(fields["s"]) else { return nil }
        self.init(point: point, kind: kind, host: host, mutations: mutations, disk: .lost)
        if let finished = fields["c"] {
            guard let finished = Self.numbers(finished) else { return nil }
            disk = .cache(finished: finished, cut: fields["t"].flatMap { Int($0) })
        } else if let names = fields["n"] {
            guard let names = Self.numbers(names), let sectors = Self.numbers(fields["w"]) else { return nil }
            disk = .platter(names: names, sectors: sectors)
        }
    }

    /// Ascending numbers, with ranges.
    private static func text(_ numbers: [Int]) -> String {
        var parts: [String] = []
        var index = 0
        while index < numbers.count {
            var end = index
            while end + 1 < numbers.count, numbers[end + 1] == numbers[end] + 1 { end += 1 }
            parts.append(end > index ? "\(numbers[index])-\(numbers[end])" : "\(numbers[index])")
            index = end + 1
        }
        return parts.joined(separator: ",")
    }
    private static func numbers(_ text: Substring?) -> [Int]? {
        guard let text else { return nil }
        var numbers: [Int] = []
        for part in text.split(separator: ",") {
            let ends = part.split(separator: "-").compactMap { Int($0) }
            guard let first = ends.first, let last = ends.last, first <= last else { return nil }
            numbers += Array(first...last)
        }
        return numbers
    }
}
