internal import CCurl
import Glibc
import StoreCore

/// UTC date and time in the forms that S3 uses. Proleptic Gregorian calendar, days counted from 1970
/// (Howard Hinnant, "chrono-compatible low-level date algorithms").
enum CivilTime {
    /// `20130524T000000Z`: `x-amz-date`.
    static func compact(_ time: Timestamp) -> String {
        let seconds = floorDivide(time.nanoseconds, 1_000_000_000)
        let days = floorDivide(seconds, 86_400)
        let ofDay = seconds - days * 86_400
        let (year, month, day) = date(daysSince1970: days)
        return padded(year, 4) + padded(month, 2) + padded(day, 2)
            + "T" + padded(ofDay / 3600, 2) + padded(ofDay / 60 % 60, 2) + padded(ofDay % 60, 2) + "Z"
    }

    /// Reads `2009-10-12T17:50:30.000Z`, with or without a fraction; nil for anything else.
    static func parseISO8601(_ text: String) -> Timestamp? {
        let bytes = Array(text.utf8)
        guard bytes.count >= 20, bytes.count <= 40, bytes.last == UInt8(ascii: "Z"),
            bytes[4] == UInt8(ascii: "-"), bytes[7] == UInt8(ascii: "-"), bytes[10] == UInt8(ascii: "T"),
            bytes[13] == UInt8(ascii: ":"), bytes[16] == UInt8(ascii: ":"),
            let year = number(bytes[0..<4]), let month = number(bytes[5..<7]), let day = number(bytes[8..<10]),
            let hour = number(bytes[11..<13]), let minute = number(bytes[14..<16]), let second = number(bytes[17..<19]),
            (1...12).contains(month), (1...31).contains(day), (1678...2261).contains(year), hour < 24, minute < 60,
            second < 61, let fraction = nanoseconds(bytes[19..<bytes.count - 1])
        else { return nil }
        let seconds = days(year: year, month: month, day: day) * 86_400 + hour * 3600 + minute * 60 + second
        return Timestamp(nanoseconds: seconds * 1_000_000_000 + fraction)
    }

    /// Reads `Wed, 12 Oct 2009 17:50:00 GMT`, the form of `Date` and `Last-Modified`.
    static func parseHTTPDate(_ text: String) -> Timestamp? {
        let seconds = Int64(curl_getdate(text, nil))
        // Years beyond 2261 do not fit; no clock shows them.
        return (0..<secondsMax).contains(seconds) ? Timestamp(nanoseconds: seconds * 1_000_000_000) : nil
    }

    /// 2262-01-01.
    private static let secondsMax: Int64 = 9_214_646_400

    private static func floorDivide(_ a: Int64, _ b: Int64) -> Int64 { a / b - (a % b < 0 ? 1 : 0) }

    private static func padded(_ value: Int64, _ width: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
    }

    private static func number(_ digits: ArraySlice<UInt8>) -> Int64? {
        digits.allSatisfy { (0x30...0x39).contains($0) } ? digits.reduce(0) { $0 * 10 + Int64($1 - 0x30) } : nil
    }

    /// `.5` is half a second; nothing is none.
    private static func nanoseconds(_ fraction: ArraySlice<UInt8>) -> Int64? {
        guard let dot = fraction.first else { return 0 }
        guard dot == UInt8(ascii: "."), fraction.count > 1,
            fraction.dropFirst().allSatisfy({ (0x30...0x39).contains($0) })
        else {
            return nil
        }
        // What is finer than a nanosecond does not count.
        return fraction.dropFirst().prefix(9).reduce((0, 100_000_000)) { sum, digit in
            (sum.0 + Int64(digit - 0x30) * sum.1, sum.1 / 10)
        }.0
    }

    private static func date(daysSince1970 days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let era = floorDivide(shifted, 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }

    private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = floorDivide(shiftedYear, 400)
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
}

extension Duration {
    var milliseconds: Int {
        let (seconds, attoseconds) = components
        return Int(seconds) * 1000 + Int(attoseconds / 1_000_000_000_000_000)
    }
}
