/// What a caller can do about a failure. Codes are apart only where they are handled apart.
public enum ErrorCode: String, Sendable, CaseIterable {
    /// What was asked for does not exist.
    case notFound = "not-found"
    case alreadyExists = "already-exists"
    /// Held, attached or locked by someone else: wait, release or take over.
    case busy
    /// A newer writer owns the volume; this one must never acknowledge again.
    case fenced
    /// Bytes that fail their hash, tag or format; the message names object and position.
    case corrupt
    /// A limit or a disk is full.
    case full
    /// The store or the disk does not answer; trying again may help.
    case unavailable
    /// The caller's mistake: a bad name, size, option or request.
    case invalid
    /// Refused: by keys, by credentials, or until an operator accepts what happened.
    case denied
    /// Written by a newer version, or a store that lacks what zerofs needs.
    case unsupported
    /// Stopped on request.
    case cancelled
}

/// The one error type of zerofs: a code that says what to do, one clear line, and the cause.
public struct StorageError: Error, Sendable, CustomStringConvertible {
    public var code: ErrorCode
    /// One line that says what happened and, where it can, what to do.
    public var message: String
    public var cause: (any Error)?

    public init(_ code: ErrorCode, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    public var description: String {
        guard let cause else { return message }
        return "\(message): \(cause)"
    }

    /// Damage, with its place: object key, byte position, what was expected and what was found.
    public static func corrupt(
        _ object: String, at position: UInt64? = nil, _ what: String, expected: String? = nil, actual: String? = nil
    ) -> StorageError {
        var text = "object \(object) is damaged"
        if let position { text += " at byte \(position)" }
        text += ": \(what)"
        if let expected { text += ", expected \(expected)" }
        if let actual { text += ", found \(actual)" }
        return StorageError(.corrupt, text)
    }
}

extension Error {
    /// The code of a `StorageError`; `cancelled` for cancellation; `unavailable` for anything foreign.
    public var storageCode: ErrorCode {
        if let error = self as? StorageError { return error.code }
        return self is CancellationError ? .cancelled : .unavailable
    }
}
