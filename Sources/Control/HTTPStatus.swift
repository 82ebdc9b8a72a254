import FlyingFox
import StoreCore

extension ErrorCode {
    /// The HTTP status that says the same; the body's code is what counts.
    var httpStatus: HTTPStatusCode {
        switch self {
        case .notFound: .notFound
        case .alreadyExists: .conflict
        case .busy: HTTPStatusCode(423, phrase: "Locked")
        case .fenced: .gone
        case .corrupt: .internalServerError
        case .full: HTTPStatusCode(507, phrase: "Insufficient Storage")
        case .unavailable: .serviceUnavailable
        case .invalid: .badRequest
        case .denied: .forbidden
        case .unsupported: .notImplemented
        case .cancelled: .serviceUnavailable
        }
    }
}
