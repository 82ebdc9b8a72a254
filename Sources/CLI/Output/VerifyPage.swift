import Volumes

enum VerifyPage {
    static func lines(_ report: VerifyReport) -> [String] { report.damaged.map { "\($0)" } }
}
