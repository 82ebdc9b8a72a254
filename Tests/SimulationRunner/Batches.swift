import Glibc

/// Many seeds, each batch of them in a process of its own: what a killed server left in memory goes with its process,
/// so that ten thousand seeds take no more of it than a hundred.
struct Batches {
    static let seedsInBatch: UInt64 = 100
    /// All words but which seeds.
    var words: [String]
    var size = Self.seedsInBatch
    var jobs: Int
    var goesOn: Bool
    /// No batch begins after this time.
    var end: time_t?

    private struct Child {
        var seeds: ClosedRange<UInt64>
        var output: UnsafeMutablePointer<FILE>
    }

    /// Batches from `first` on, up to `last` or the end.
    func run(from first: UInt64, to last: UInt64) throws -> Report {
        var report = Report()
        var next: UInt64? = first
        var children: [Child] = []
        while true {
            while children.count < jobs, let begin = next, mayBegin(report) {
                let end = min(last, begin + (size - 1))
                children.append(try start(begin...end))
                next = end < last ? end + 1 : nil
            }
            guard !children.isEmpty else { return report }
            finish(children.removeFirst(), &report)
        }
    }
    private func mayBegin(_ report: Report) -> Bool {
        if !goesOn, !report.failures.isEmpty { return false }
        return end.map { time(nil) < $0 } ?? true
    }

    private func start(_ seeds: ClosedRange<UInt64>) throws -> Child {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        let path = String(decoding: buffer.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // The words were understood before, and hold nothing that a shell would.
        let line = "exec '\(path)' \(words.joined(separator: " ")) --seeds \(seeds.lowerBound)..\(seeds.upperBound)"
        guard let output = popen(line + " --sums 2>&1", "r") else {
            throw Arguments.Wrong(description: "cannot start \(path)")
        }
        return Child(seeds: seeds, output: output)
    }

    /// Prints what a child says and adds its sums. One that ends otherwise fails with the seed that it was at.
    private func finish(_ child: Child, _ report: inout Report) {
        var seed = child.seeds.lowerBound
        let failures = report.failures.count
        while let line = Self.line(child.output) {
            guard line.hasPrefix(Report.mark) else {
                print(line)
                continue
            }
            let parts = line.split(separator: "\t").map(String.init)
            if parts[0] == "at" { seed = UInt64(parts[1]) ?? seed } else { report.add(sum: parts) }
        }
        let status = pclose(child.output)
        fflush(nil)
        let isExplained = status == 0 || status == 1 << 8 && report.failures.count > failures
        guard !isExplained else { return }
        print(
            "seed \(seed) ended the program: \(status & 0x7f == 0 ? "code \(status >> 8)" : "signal \(status & 0x7f)")")
        report.failures.append(seed)
    }

    private static func line(_ file: UnsafeMutablePointer<FILE>) -> String? {
        var text: UnsafeMutablePointer<CChar>?
        var capacity = 0
        defer { free(text) }
        let count = getline(&text, &capacity, file)
        guard count >= 0, let text else { return nil }
        let bytes = UnsafeBufferPointer(start: text, count: count).map { UInt8(bitPattern: $0) }
        return String(decoding: bytes.last == 10 ? bytes.dropLast() : bytes[...], as: UTF8.self)
    }
}

/// Sums on their way from a child: a line each, that begins with a mark.
extension Report {
    static let mark = "\t"

    func printSums() {
        var lines = ["runs\t\(runs)", "steps\t\(steps)", "virtual\t\(virtualSeconds)"]
        lines += counts.map { "count\t\($0.key)\t\($0.value)" } + faults.map { "fault\t\($0.key)\t\($0.value)" }
        lines += failures.map { "failure\t\($0)" }
        for line in lines { Swift.print(Self.mark + line) }
    }

    mutating func add(sum parts: [String]) {
        switch parts[0] {
        case "runs": runs += Int(parts[1]) ?? 0
        case "steps": steps += UInt64(parts[1]) ?? 0
        case "virtual": virtualSeconds += Double(parts[1]) ?? 0
        case "count": counts[parts[1], default: 0] += Int(parts[2]) ?? 0
        case "fault": faults[parts[1], default: 0] += Int(parts[2]) ?? 0
        case "failure": failures.append(UInt64(parts[1]) ?? 0)
        default: break
        }
    }
}
