import ArgumentParser
import StoreCore

/// What zerofs ends with (docs/cli.md).
enum ExitCodes {
    static let failed: Int32 = 1
    static let usage: Int32 = 2
    static let notFound: Int32 = 3
    static let alreadyExists: Int32 = 4
    static let busy: Int32 = 5
    static let fenced: Int32 = 6
    static let corrupt: Int32 = 7

    static func code(for error: ErrorCode) -> Int32 {
        switch error {
        case .invalid: usage
        case .notFound: notFound
        case .alreadyExists: alreadyExists
        case .busy: busy
        case .fenced: fenced
        case .corrupt: corrupt
        case .full, .unavailable, .denied, .unsupported, .cancelled: failed
        }
    }

    /// - Parameter usage: what the argument parser says: 0 for `--help`, 64 for a mistake.
    static func code(for error: any Error, usage parsed: Int32) -> Int32 {
        switch error {
        case let error as StorageError: code(for: error.code)
        case let error as ExitCode: error.rawValue
        case is CancellationError: failed
        default: parsed == ExitCode.validationFailure.rawValue ? usage : parsed
        }
    }
}
