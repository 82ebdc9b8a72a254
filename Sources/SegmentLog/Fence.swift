public import Codec
public import ObjectStorage
public import StoreCore

/// The end of an epoch's log: an object in the place of the segment that will never be.
///
/// Who creates it with If-None-Match has ended the epoch for its writer, whatever that one believes: its next segment's
/// name is taken, and segments are acknowledged in order. A fence counts only if it opens under its own place's name
/// and says the same; anything else in that place is damage.
///
/// Envelope of kind fence; payload, little-endian:
///
///     volume          16
///     closed epoch    varint
///     position        varint   the sequence of this slot; the epoch ends before it
///     claimer epoch   varint   greater than the closed one
///     time            8        nanoseconds since 1970, for people
public struct Fence: Hashable, Sendable {
    /// Larger objects are segments, all others fences, so that a LIST tells them apart
    /// (`SegmentFormat.objectBytesMin`).
    public static let objectBytesMax = 256

    public var volume: VolumeID
    public var closing: Epoch
    public var position: SegmentSequence
    public var claimer: Epoch
    public var time: Timestamp

    public init(volume: VolumeID, closing: Epoch, position: SegmentSequence, claimer: Epoch, time: Timestamp) {
        self.volume = volume
        self.closing = closing
        self.position = position
        self.claimer = claimer
        self.time = time
    }

    public var key: ObjectKey { SegmentID.log(volume: volume, epoch: closing, sequence: position).key }

    /// The object; no two sealings are alike.
    public func sealed(keys: KeyRing) throws(StorageError) -> [UInt8] {
        let object = try Envelope.seal(payload, kind: .fence, identity: key.text, keys: keys)
        precondition(object.count <= Self.objectBytesMax, "a fence is smaller than any segment")
        return object
    }
    var payload: [UInt8] {
        var writer = ByteWriter(reserving: 64)
        writer.identifier(volume.bits)
        writer.varint(closing.value)
        writer.varint(position.value)
        writer.varint(claimer.value)
        writer.timestamp(time)
        return writer.finish()
    }

    /// Opens what lies in a slot of a log. Throws `corrupt` for anything but the fence of this very slot.
    public init(
        opening object: [UInt8], volume: VolumeID, epoch: Epoch, position: SegmentSequence, keys: KeyRing
    ) throws(StorageError) {
        let name = SegmentID.log(volume: volume, epoch: epoch, sequence: position).key.text
        let payload = try Envelope.open(object, kind: .fence, identity: name, keys: keys)
        var reader = ByteReader(payload, object: name)
        self.volume = VolumeID(try reader.identifier())
        closing = Epoch(try reader.varint())
        self.position = SegmentSequence(try reader.varint())
        claimer = Epoch(try reader.varint())
        time = try reader.timestamp()
        try reader.finish()
        guard self.volume == volume, closing == epoch, self.position == position, claimer > epoch else {
            throw .corrupt(
                name, "a fence of another place", expected: "\(epoch)/\(position)",
                actual: "\(closing)/\(self.position)")
        }
    }
}
