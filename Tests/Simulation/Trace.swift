/// What happened in a run: always a hash of it, by which two runs are compared, and its lines where they are asked for.
public final class Trace: @unchecked Sendable {
    /// Of everything that was decided. Two runs of one seed have the same.
    public private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    /// The last lines; empty unless lines are kept.
    public private(set) var lines: [String] = []
    private let linesMax: Int
    private let printsLines: Bool

    /// - Parameters:
    ///   - linesMax: how many of the last lines are kept; 0 keeps none, and none is made then.
    ///   - printsLines: print each as it comes.
    public init(linesMax: Int = 0, printsLines: Bool = false) {
        self.linesMax = linesMax
        self.printsLines = printsLines
    }
    public var isOn: Bool { linesMax > 0 || printsLines }

    /// FNV-1a.
    public func fold(_ number: UInt64) { hash = (hash ^ number) &* 0x100_0000_01b3 }
    public func fold(_ text: String) { for byte in text.utf8 { fold(UInt64(byte)) } }

    func add(_ line: String) {
        if printsLines { print(line) }
        guard linesMax > 0 else { return }
        lines.append(line)
        if lines.count >= 2 * linesMax { lines.removeFirst(linesMax) }
    }
}

extension Scheduler {
    /// Notes a line: virtual milliseconds, process, what.
    public func note(_ what: @autoclosure () -> String) {
        guard trace.isOn else { return }
        let micro = now / 1000
        let fraction = String(micro % 1000 + 1000).dropFirst()
        trace.add("\(micro / 1000).\(fraction) \(current.name): \(what())")
    }
}
