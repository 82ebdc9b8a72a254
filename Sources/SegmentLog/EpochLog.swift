public import Codec
public import ObjectStorage
public import StoreCore

/// The log of one epoch of one volume: segments `volumes/<volume>/log/<epoch>/<sequence>` from 1 without gaps, and at
/// last a fence.
///
/// What belongs to the log is the run of numbers without a gap from its beginning to the fence. What lies behind a gap
/// or a fence was never acknowledged, because segments are acknowledged in order; it belongs to nobody. A fence behind
/// a gap is another matter: it shows that a segment was lost.
///
/// Life of a slot: free → segment, or free → fence. Whoever creates it first decides, and no one ever replaces it. So
/// all who close an epoch agree on its end, and the writer's acknowledgements never pass it: an acknowledged segment
/// has all slots before it taken, and a closer puts its fence into the first free one.
public struct EpochLog: Sendable {
    public let volume: VolumeID
    public let epoch: Epoch
    let store: any ObjectStore
    let keys: KeyRing

    public init(of volume: VolumeID, _ epoch: Epoch, store: any ObjectStore, keys: KeyRing) {
        self.volume = volume
        self.epoch = epoch
        self.store = store
        self.keys = keys
    }

    var prefix: String { "volumes/\(volume)/log/\(epoch.value.hex)/" }

    func key(_ sequence: SegmentSequence) -> ObjectKey {
        SegmentID.log(volume: volume, epoch: epoch, sequence: sequence).key
    }

    /// The number that a key of this log names; nil for what is not ours.
    private func sequence(of key: ObjectKey) -> SegmentSequence? {
        let digits = key.text.dropFirst(prefix.utf8.count)
        guard digits.utf8.count == 16, let value = UInt64(digits, radix: 16), value.hex == digits else { return nil }
        return SegmentSequence(value)
    }

    /// The segments from `after` on up to the first gap or fence. Throws `corrupt`, which names the segment, where a
    /// fence shows that one was there and is missing.
    ///
    /// It takes no part in ownership: where the epoch's writer is alive, more may follow at once. One LIST for each
    /// 1000 segments, and one GET for a fence; behind a gap, where only a loss leaves fences, as many as there are.
    ///
    /// - Parameter isGivenUp: nobody will read this log any more: a gap is its end, whatever was lost.
    public func contiguousTail(after: SegmentSequence, isGivenUp: Bool = false) async throws -> OpenTail {
        var end = after
        var hasGap = false
        var page = ObjectPage(objects: [], isTruncated: true)
        var listed = key(after)
        while page.isTruncated {
            page = try await store.list(prefix: prefix, after: listed, limit: 1000)
            for object in page.objects {
                listed = object.key
                guard let sequence = sequence(of: object.key) else { continue }
                let isFence = object.byteCount <= UInt64(Fence.objectBytesMax)
                hasGap = hasGap || sequence != end.next
                if hasGap, isGivenUp { return OpenTail(end: end, fence: nil) }
                if hasGap {
                    guard isFence, try await isGenuineFence(at: sequence) else { continue }
                    return try await tail(from: end, before: sequence)
                }
                if isFence { return OpenTail(end: end, fence: try await fence(at: sequence)) }
                end = sequence
            }
        }
        return OpenTail(end: end, fence: nil)
    }

    /// Behind a gap in a LIST, before a fence. A closer saw every slot before its fence taken: so the LIST passed by
    /// the gap before that was filled, or what was there is lost.
    private func tail(from end: SegmentSequence, before fence: SegmentSequence) async throws -> OpenTail {
        let slot = key(end.next)
        guard let object = try await store.head(slot) else {
            throw StorageError(
                .corrupt, "object \(slot) of the volume's log is missing: the fence \(key(fence)) came after it",
                cause: StorageError(.notFound, "there is no object \(slot)"))
        }
        guard object.byteCount > UInt64(Fence.objectBytesMax) else {
            return OpenTail(end: end, fence: try await self.fence(at: end.next))
        }
        return try await contiguousTail(after: end.next)
    }
    /// Anything else behind a gap belongs to nobody.
    private func isGenuineFence(at sequence: SegmentSequence) async throws -> Bool {
        do {
            _ = try await fence(at: sequence)
            return true
        } catch  where [.corrupt, .denied, .unsupported, .notFound].contains(error.storageCode) {
            return false
        }
    }

    private func fence(at sequence: SegmentSequence) async throws -> Fence {
        let object = try await store.get(key(sequence), range: nil)
        return try Fence(opening: object, volume: volume, epoch: epoch, position: sequence, keys: keys)
    }
}

/// How far a log goes that nobody has closed for this reader.
public struct OpenTail: Hashable, Sendable {
    /// The last segment before the first gap or fence.
    public var end: SegmentSequence
    /// Where there is one, nothing will ever follow.
    public var fence: Fence?
    public var isClosed: Bool { fence != nil }
}
