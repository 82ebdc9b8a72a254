public import Codec
public import ObjectStorage
public import StoreCore

/// Where a pinned version lies, and which bytes it must have.
public struct VersionReference: Hashable, Sendable {
    /// Whose folder it lies in.
    public var volume: VolumeID
    /// The epoch of the volume when it was written: below the catalog's epoch floor it can no longer be entered.
    public var epoch: Epoch
    /// SHA-256 of the whole object.
    public var hash: Digest

    public init(volume: VolumeID, epoch: Epoch, hash: Digest) {
        self.volume = volume
        self.epoch = epoch
        self.hash = hash
    }
    static func folder(_ volume: VolumeID, _ epoch: Epoch) -> String { "volumes/\(volume)/version/\(epoch.value.hex)" }
    public var key: ObjectKey { ObjectKey("\(Self.folder(volume, epoch))/\(hash)") }

    func encode(into writer: inout ByteWriter) {
        writer.identifier(volume.bits)
        writer.varint(epoch.value)
        writer.digest(hash)
    }
    init(decoding reader: inout ByteReader) throws(StorageError) {
        volume = VolumeID(try reader.identifier())
        epoch = Epoch(try reader.varint())
        hash = try reader.digest()
    }
}

/// A frozen state of a volume, with no log tail: what a snapshot holds. The object is reachable only once the catalog
/// names it: `volumes/<volume>/version/<epoch>/<content hash>`.
public struct PinnedVersion: Hashable, Sendable {
    public var volume: VolumeID
    public var epoch: Epoch
    public var state: VolumeState
    public var created: Timestamp

    public init(volume: VolumeID, epoch: Epoch, state: VolumeState, created: Timestamp) {
        self.volume = volume
        self.epoch = epoch
        self.state = state
        self.created = created
    }

    /// The object, under a fresh salt, and the name that its bytes give it.
    public func seal(with keys: KeyRing) throws(StorageError) -> (reference: VersionReference, bytes: [UInt8]) {
        // The name holds the hash of the bytes, so the bytes are bound to the folder alone.
        let folder = VersionReference.folder(volume, epoch)
        let bytes = try Envelope.seal(encoded(), kind: .version, identity: folder, keys: keys)
        return (VersionReference(volume: volume, epoch: epoch, hash: .sha256(bytes)), bytes)
    }

    /// Throws `corrupt`, which names the object, for anything but the object that `reference` means.
    public init(opening object: [UInt8], as reference: VersionReference, keys: KeyRing) throws(StorageError) {
        let name = reference.key.text
        let found = Digest.sha256(object)
        guard found == reference.hash else {
            throw .corrupt(name, "its bytes have another hash", expected: "\(reference.hash)", actual: "\(found)")
        }
        let folder = VersionReference.folder(reference.volume, reference.epoch)
        let payload = try Envelope.open(object, kind: .version, identity: folder, name: name, keys: keys)
        try self.init(decoding: payload, object: name)
        guard volume == reference.volume, epoch == reference.epoch else {
            throw .corrupt(name, "it holds a version of volume \(volume), epoch \(epoch)")
        }
    }

    /// Reads the object. Throws `notFound` where it is gone: look at the newest catalog before calling it lost.
    public static func load(
        _ reference: VersionReference, from store: any ObjectStore, keys: KeyRing
    ) async throws -> PinnedVersion {
        do {
            return try PinnedVersion(opening: try await store.get(reference.key), as: reference, keys: keys)
        } catch  where error.storageCode == .notFound {
            throw StorageError(.notFound, "object \(reference.key) is missing, which a snapshot names", cause: error)
        }
    }

    private static let revision: UInt8 = 1

    func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 256)
        writer.byte(Self.revision)
        writer.identifier(volume.bits)
        writer.varint(epoch.value)
        writer.timestamp(created)
        state.encode(into: &writer)
        return writer.finish()
    }
    init(decoding payload: [UInt8], object: String) throws(StorageError) {
        var reader = ByteReader(payload, object: object)
        try reader.revision(upTo: Self.revision)
        volume = VolumeID(try reader.identifier())
        epoch = Epoch(try reader.varint())
        created = try reader.timestamp()
        state = try VolumeState(decoding: &reader, object: object)
        try reader.finish()
    }
}
