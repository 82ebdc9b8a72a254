public import Codec
public import ObjectStorage
public import StoreCore

extension EpochLog {
    /// Ends this epoch: after it returns, the epoch's writer acknowledges nothing beyond the end, and every other
    /// closer gets the same end. May be repeated, by anyone, at any time.
    ///
    /// One LIST and one creation, if nobody interferes. Each segment that the writer still gets in costs two requests
    /// more.
    ///
    /// - Parameters:
    ///   - after: a position that a manifest covers, or 0; the segments up to it need not exist any more.
    ///   - claimer: the epoch that the closer has claimed already: greater than this one.
    ///   - isGivenUp: the volume is deleted: where a segment was lost, a fence takes its place.
    /// - Returns: the last segment before the fence.
    public func close(
        after: SegmentSequence, by claimer: Epoch, isGivenUp: Bool = false, time: any TimeSource
    ) async throws -> SegmentSequence {
        guard claimer > epoch else { throw StorageError(.invalid, "epoch \(claimer) cannot close epoch \(epoch)") }
        let tail = try await contiguousTail(after: after, isGivenUp: isGivenUp)
        guard !tail.isClosed else { return tail.end }
        var end = tail.end
        while true {
            let fence = Fence(
                volume: volume, closing: epoch, position: end.next, claimer: claimer, time: time.now())
            let object = try fence.sealed(keys: keys)
            switch try await store.create(fence.key, object, sha256: .sha256(object)) {
            case .created: return end
            case .exists:
                guard try await isSegment(at: end.next) else { return end }
                end = end.next
            }
        }
    }

    /// As the method, in one call.
    public static func close(
        _ epoch: Epoch, after: SegmentSequence, by claimer: Epoch, volume: VolumeID, isGivenUp: Bool = false,
        store: any ObjectStore, keys: KeyRing, time: any TimeSource
    ) async throws -> SegmentSequence {
        try await EpochLog(of: volume, epoch, store: store, keys: keys).close(
            after: after, by: claimer, isGivenUp: isGivenUp, time: time)
    }

    /// Whether a taken slot holds a segment; false for its fence. Throws `corrupt` for anything else.
    ///
    /// A segment is believed by its plain header here: who replays the log opens it whole.
    private func isSegment(at sequence: SegmentSequence) async throws -> Bool {
        let name = key(sequence)
        let beginning = try await beginning(of: name)
        guard beginning.count > Fence.objectBytesMax else {
            _ = try Fence(opening: beginning, volume: volume, epoch: epoch, position: sequence, keys: keys)
            return false
        }
        _ = try ObjectHeader(decoding: beginning[...], expecting: .segment, object: name.text)
        return true
    }

    /// All of a fence, or the first bytes of a segment.
    private func beginning(of key: ObjectKey) async throws -> [UInt8] {
        do {
            return try await store.get(key, range: 0..<UInt64(Fence.objectBytesMax) + 1)
        } catch let error as StorageError where error.code == .invalid {
            throw StorageError(.corrupt, "object \(key) is damaged: it is empty", cause: error)
        }
    }
}
