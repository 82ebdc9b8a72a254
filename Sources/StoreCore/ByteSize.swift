/// Sizes as people read and write them: `512M`, `10G`, `4T`, powers of 1024.
public enum ByteSize {
    private static let units: [(suffix: Character, shift: UInt64)] = [
        ("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50),
    ]

    /// Reads `4096`, `512M`, `1.5G`, `10GiB` or `4TB` (all powers of 1024); nil for anything else or too large.
    public static func parse(_ text: String) -> UInt64? {
        var digits = text.uppercased()[...]
        if digits.hasSuffix("IB") {
            digits = digits.dropLast(2)
        } else if digits.hasSuffix("B") {
            digits = digits.dropLast()
        }
        var shift: UInt64 = 0
        if let last = digits.last, let unit = units.first(where: { $0.suffix == last }) {
            shift = unit.shift
            digits = digits.dropLast()
        }
        guard let head = digits.first, head.isASCII, head.isNumber,
            digits.allSatisfy({ $0.isASCII && ($0.isNumber || $0 == ".") })
        else { return nil }
        if let whole = UInt64(digits) {
            let (bytes, overflow) = whole.multipliedReportingOverflow(by: 1 << shift)
            return overflow ? nil : bytes
        }
        guard shift > 0, let fraction = Double(digits) else { return nil }
        let bytes = fraction * Double(UInt64(1) << shift)
        return bytes < 9e18 ? UInt64(bytes) : nil
    }

    /// The shortest exact form where there is one (`10G`), else one decimal (`1.3G`).
    public static func format(_ bytes: UInt64) -> String {
        guard let unit = units.last(where: { bytes >= 1 << $0.shift }) else { return "\(bytes)" }
        let whole = bytes >> unit.shift
        if bytes == whole << unit.shift { return "\(whole)\(unit.suffix)" }
        let tenths = UInt64((Double(bytes) / Double(UInt64(1) << unit.shift) * 10).rounded())
        return tenths % 10 == 0 ? "\(tenths / 10)\(unit.suffix)" : "\(tenths / 10).\(tenths % 10)\(unit.suffix)"
    }
}
