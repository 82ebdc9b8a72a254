/// What the handshake settled for an export, as far as requests are judged by it.
struct ExportTerms {
    var mode: ReplyMode
    var isReadOnly: Bool
    var hasAllocationContext: Bool
}

/// Judges requests by the specification, before a device sees them.
enum RequestCheck {
    /// Nil when the request may be served, else the error that answers it. Not for DISC, which has no answer.
    /// - Parameter size: of the device, in bytes, now.
    static func refusal(_ request: Request, _ terms: ExportTerms, size: UInt64) -> Refusal? {
        guard let command = request.command, command != .disconnect else {
            return Refusal(.invalid, "unknown command \(request.commandNumber)")
        }
        guard request.flags.isSubset(of: flagsAllowed(command, terms)) else {
            return Refusal(.invalid, "a flag does not belong to this command")
        }
        switch command {
        case .read:
            return readLength(request) ?? bounds(request, size, .invalid)
        case .write:
            return readOnly(terms) ?? writePayload(request, terms) ?? bounds(request, size, .noSpace)
        case .writeZeroes:
            return readOnly(terms) ?? bounds(request, size, .noSpace)
        case .trim:
            return readOnly(terms) ?? bounds(request, size, .invalid)
        case .cache:
            return bounds(request, size, .invalid)
        case .blockStatus:
            return statusContext(request, terms) ?? statusBounds(request, size)
        case .flush:
            return request.offset == 0 && request.length == 0
                ? nil : Refusal(.invalid, "offset and length of a flush must be zero")
        case .disconnect:
            return nil
        }
    }

    /// FUA is valid with every command, and means nothing to those that do not write.
    private static func flagsAllowed(_ command: Command, _ terms: ExportTerms) -> CommandFlags {
        switch command {
        case .read: terms.mode == .simple ? .fua : [.fua, .dontFragment]
        case .write: terms.mode == .extended ? [.fua, .payloadLength] : .fua
        case .writeZeroes: [.fua, .noHole, .fastZero]
        case .blockStatus: terms.mode == .extended ? [.fua, .requestOne, .payloadLength] : [.fua, .requestOne]
        case .flush, .trim, .cache, .disconnect: .fua
        }
    }

    private static func readOnly(_ terms: ExportTerms) -> Refusal? {
        terms.isReadOnly ? Refusal(.notPermitted, "the export is read-only") : nil
    }

    private static func readLength(_ request: Request) -> Refusal? {
        guard request.length > UInt64(NBDLimits.payloadBytesMax) else { return nil }
        return Refusal(
            request.flags.contains(.dontFragment) ? .overflow : .invalid, "the read is longer than the maximum")
    }

    private static func writePayload(_ request: Request, _ terms: ExportTerms) -> Refusal? {
        if terms.mode == .extended, !request.flags.contains(.payloadLength), request.length > 0 {
            return Refusal(.invalid, "a write needs NBD_CMD_FLAG_PAYLOAD_LEN")
        }
        return request.length > UInt64(NBDLimits.payloadBytesMax)
            ? Refusal(.invalid, "the write is longer than the maximum") : nil
    }

    private static func bounds(_ request: Request, _ size: UInt64, _ code: NBDErrorCode) -> Refusal? {
        request.offset <= size && request.length <= size - request.offset
            ? nil : Refusal(code, "the request reaches beyond the end of the export")
    }

    private static func statusContext(_ request: Request, _ terms: ExportTerms) -> Refusal? {
        terms.hasAllocationContext ? nil : Refusal(.invalid, "no metadata context was selected")
    }

    /// With a payload, `length` is the payload's: the effect length stands in it and is checked when it was read.
    private static func statusBounds(_ request: Request, _ size: UInt64) -> Refusal? {
        if request.flags.contains(.payloadLength) { return nil }
        return request.length == 0
            ? Refusal(.invalid, "the length is zero") : bounds(request, size, .invalid)
    }
}

/// The payload of BLOCK_STATUS: an effect length, and the ids of the contexts that are wanted.
struct StatusPayload: Equatable {
    var effectLength: UInt64
    var wantsAllocation: Bool

    /// Nil when malformed, or when an id is unknown or repeated.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress, bytes.count >= 8, bytes.count % 4 == 0 else { return nil }
        effectLength = base.bigEndian(at: 0)
        let ids = stride(from: 8, to: bytes.count, by: 4).map { base.bigEndian(at: $0, as: UInt32.self) }
        guard ids.isEmpty || ids == [MetaContext.allocationID] else { return nil }
        wantsAllocation = !ids.isEmpty
    }
}
