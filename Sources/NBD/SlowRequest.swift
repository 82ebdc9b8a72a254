import StoreCore

/// A request that must wait for the device, as a task serves it.
struct SlowRequest: Sendable {
    var request: Request
    /// A write's payload.
    var payload: IOBuffer?
    /// Bytes counted against the bounds until the reply is sent.
    var heldBytes: Int
    /// Of a BLOCK_STATUS.
    var effectLength: UInt64 = 0
    /// On the monotonic clock; 0 when nobody records it.
    var arrivedAt: UInt64 = 0

    /// Whether abandoning it half way may be noticed by nobody but the client that is gone.
    var isReading: Bool {
        switch request.command {
        case .read, .cache, .blockStatus: true
        default: false
        }
    }

    /// The reply's parts.
    func perform(_ device: any BlockDevice, _ encoder: ReplyEncoder) async throws -> [ReplyPart] {
        let offset = request.offset
        let length = request.length
        let fua = request.flags.contains(.fua)
        switch request.command {
        case .read:
            return try await read(device, encoder)
        case .write:
            guard let payload else { preconditionFailure("a write has its payload") }
            try await device.write(at: offset, from: payload, fua: fua)
        case .flush:
            try await device.flush()
        case .trim:
            try await device.trim(at: offset, count: length, fua: fua)
        case .writeZeroes:
            // NO_HOLE asks for provisioned space: the store has none to set aside, and a later write to the range fails
            // no sooner for its being a hole. FAST_ZERO always holds: zeroes are an entry in the map.
            try await device.writeZeroes(at: offset, count: length, fua: fua)
        case .cache:
            try await device.prefetch(at: offset, count: length)
        case .blockStatus:
            return [ReplyPart(encoder.status(request, try await extents(device)))]
        case .disconnect, nil:
            preconditionFailure("such a request is not served by a task")
        }
        return [ReplyPart(encoder.bytes(capacity: ReplyEncoder.successBytesMax) { encoder.success(request, at: $0) })]
    }

    private func read(_ device: any BlockDevice, _ encoder: ReplyEncoder) async throws -> [ReplyPart] {
        let buffer = IOBuffer(count: Int(request.length))
        try await device.read(at: request.offset, into: buffer)
        return ReadReply.parts(request, buffer, encoder)
    }

    private func extents(_ device: any BlockDevice) async throws -> [DeviceExtent] {
        let extentsMax = request.flags.contains(.requestOne) ? 1 : NBDLimits.extentsMax
        let extents = try await device.status(at: request.offset, count: effectLength, extentsMax: extentsMax)
        var rest = effectLength
        for extent in extents {
            guard extent.byteCount > 0, extent.byteCount <= rest else {
                throw StorageError(
                    .corrupt, "the device gave an extent of \(extent.byteCount) bytes where \(rest) were left")
            }
            rest -= extent.byteCount
        }
        guard !extents.isEmpty, extents.count <= extentsMax else {
            throw StorageError(
                .corrupt, "the device gave \(extents.count) extents, where 1 to \(extentsMax) were asked for")
        }
        return extents
    }
}

/// The reply to a read whose data lies in a buffer of its own.
enum ReadReply {
    static func parts(_ request: Request, _ buffer: IOBuffer, _ encoder: ReplyEncoder) -> [ReplyPart] {
        let chunks = buffer.withBytes {
            mayHaveHoles(request, encoder.mode) ? ReadLayout.chunks($0, offset: request.offset) : []
        }
        guard !chunks.isEmpty else {
            return [
                ReplyPart(
                    encoder.bytes(capacity: encoder.dataHeaderBytes) {
                        encoder.dataHeader(request, offset: request.offset, count: buffer.count, isLast: true, at: $0)
                    }), ReplyPart(buffer, 0..<buffer.count),
            ]
        }
        var parts: [ReplyPart] = []
        for (index, chunk) in chunks.enumerated() {
            let offset = request.offset + UInt64(chunk.range.lowerBound)
            let isLast = index == chunks.count - 1
            parts.append(
                ReplyPart(
                    encoder.bytes(capacity: max(encoder.holeBytes, encoder.dataHeaderBytes)) {
                        chunk.isHole
                            ? encoder.hole(request, offset: offset, count: chunk.range.count, isLast: isLast, at: $0)
                            : encoder.dataHeader(
                                request, offset: offset, count: chunk.range.count, isLast: isLast, at: $0)
                    }))
            if !chunk.isHole { parts.append(ReplyPart(buffer, chunk.range)) }
        }
        return parts
    }

    static func mayHaveHoles(_ request: Request, _ mode: ReplyMode) -> Bool {
        mode != .simple && !request.flags.contains(.dontFragment)
            && request.length >= UInt64(NBDLimits.holeReadBytesMin)
    }
}
