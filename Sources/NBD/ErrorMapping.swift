import StoreCore

extension NBDErrorCode {
    /// The one table from device errors to NBD errors.
    init(_ code: ErrorCode) {
        switch code {
        case .full: self = .noSpace
        case .invalid: self = .invalid
        case .denied: self = .notPermitted
        case .cancelled: self = .shutdown
        case .notFound, .alreadyExists, .busy, .fenced, .corrupt, .unavailable, .unsupported: self = .inputOutput
        }
    }
}

extension OptionReply {
    /// Why an export cannot be used, as an option's error.
    init(refusing code: ErrorCode) {
        switch code {
        case .busy, .denied, .fenced: self = .errorPolicy
        case .cancelled: self = .errorShutdown
        case .unsupported: self = .errorPlatform
        case .notFound, .alreadyExists, .corrupt, .full, .unavailable, .invalid: self = .errorUnknown
        }
    }
}

/// A request that is answered with an error; the text goes to clients that can show one.
struct Refusal: Error, Equatable {
    var code: NBDErrorCode
    var message: String

    init(_ code: NBDErrorCode, _ message: String) {
        self.code = code
        self.message = message
    }
    init(_ error: any Error) {
        self.init(NBDErrorCode(error.storageCode), (error as? StorageError)?.description ?? "\(error)")
    }
}
