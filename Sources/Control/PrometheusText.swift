import StoreCore

/// Writes Prometheus's text format, version 0.0.4: families with HELP and TYPE, each family in one piece.
struct PrometheusText {
    private(set) var text = ""

    typealias Labels = KeyValuePairs<String, String>
    private static let none: Labels = [:]

    /// Bounds of every histogram: powers of two nanoseconds from 16 µs to 17 s, where the counts are exact.
    private static let boundExponents: ClosedRange<UInt64> = 14...34

    mutating func counter(_ name: String, _ help: String, _ samples: [(Labels, Double)]) {
        family(name, "counter", help, samples)
    }
    mutating func gauge(_ name: String, _ help: String, _ samples: [(Labels, Double)]) {
        family(name, "gauge", help, samples)
    }
    mutating func gauge(_ name: String, _ help: String, _ value: Double) { gauge(name, help, [(Self.none, value)]) }
    mutating func counter(_ name: String, _ help: String, _ value: Double) { counter(name, help, [(Self.none, value)]) }

    /// Durations, in seconds.
    mutating func histogram(_ name: String, _ help: String, _ samples: [(Labels, LatencyHistogram)]) {
        guard !samples.isEmpty else { return }
        header(name, "histogram", help)
        for (labels, histogram) in samples {
            for exponent in Self.boundExponents {
                let bound = UInt64(1) << exponent
                let labels = Self.render(labels, and: ("le", "\(Double(bound) / 1e9)"))
                line("\(name)_bucket", labels, Double(histogram.count(upTo: bound - 1)))
            }
            line("\(name)_bucket", Self.render(labels, and: ("le", "+Inf")), Double(histogram.count))
            line("\(name)_sum", Self.render(labels), Double(histogram.sum) / 1e9)
            line("\(name)_count", Self.render(labels), Double(histogram.count))
        }
    }

    private mutating func family(_ name: String, _ type: String, _ help: String, _ samples: [(Labels, Double)]) {
        guard !samples.isEmpty else { return }
        header(name, type, help)
        for (labels, value) in samples { line(name, Self.render(labels), value) }
    }
    private mutating func header(_ name: String, _ type: String, _ help: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
    }
    private mutating func line(_ name: String, _ labels: String, _ value: Double) {
        let isWhole = value.rounded() == value && abs(value) < 9e15
        text += "\(name)\(labels) \(isWhole ? "\(Int64(value))" : "\(value)")\n"
    }
    private static func render(_ labels: Labels, and last: (String, String)? = nil) -> String {
        let all = labels.map { ($0.key, $0.value) } + (last.map { [$0] } ?? [])
        guard !all.isEmpty else { return "" }
        return "{" + all.map { "\($0)=\"\(escape($1))\"" }.joined(separator: ",") + "}"
    }
    private static func escape(_ value: String) -> String {
        value.reduce(into: "") { text, character in
            switch character {
            case "\\": text += "\\\\"
            case "\"": text += "\\\""
            case "\n": text += "\\n"
            default: text.append(character)
            }
        }
    }
}
