public import Codec
public import ObjectStorage
public import StoreCore

extension Manifest {
    /// `volumes/<volume>/manifest`, below which the numbers lie.
    public static func prefix(of volume: VolumeID) -> String { "volumes/\(volume)/manifest" }
    public static func key(of volume: VolumeID, number: UInt64) -> ObjectKey {
        NumberedObjects.key(prefix: prefix(of: volume), number: number)
    }
    public var key: ObjectKey { Self.key(of: volume, number: number) }

    private static let revision: UInt8 = 1
    private struct Flags: OptionSet {
        let rawValue: UInt8
        static let tombstone = Flags(rawValue: 1), owned = Flags(rawValue: 2), released = Flags(rawValue: 4)
        static let parent = Flags(rawValue: 8)
        static let known: Flags = [.tombstone, .owned, .released, .parent]
    }
    private var flags: Flags {
        var flags: Flags = isTombstone ? [.tombstone] : []
        if let owner { flags.formUnion(owner.isReleased ? [.owned, .released] : .owned) }
        if parent != nil { flags.insert(.parent) }
        return flags
    }

    /// The object's bytes, under a fresh salt.
    public func sealed(with keys: KeyRing) throws(StorageError) -> [UInt8] {
        try Envelope.seal(encoded(), kind: .manifest, identity: key.text, keys: keys)
    }
    /// Throws `corrupt`, which names the object, for anything but what was sealed as this number of this volume.
    public init(opening object: [UInt8], of volume: VolumeID, number: UInt64, keys: KeyRing) throws(StorageError) {
        let name = Self.key(of: volume, number: number).text
        let payload = try Envelope.open(object, kind: .manifest, identity: name, keys: keys)
        try self.init(decoding: payload, object: name)
        guard self.volume == volume, self.number == number else {
            throw .corrupt(
                name, "it is another manifest", expected: "number \(number) of \(volume)",
                actual: "number \(self.number) of \(self.volume)")
        }
    }

    func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 512)
        writer.byte(Self.revision)
        writer.byte(flags.rawValue)
        writer.identifier(volume.bits)
        writer.varint(number)
        writer.varint(epoch.value)
        writer.timestamp(created)
        if let owner {
            writer.identifier(owner.token.bits)
            writer.timestamp(owner.since)
            writer.string(owner.host)
        }
        if let parent { writer.identifier(parent.bits) }
        writer.varint(firstNumberKept)
        writer.varint(UInt64(openEpochs.count))
        for epoch in openEpochs { writer.varint(epoch.value) }
        writer.varint(UInt64(closedEpochs.count))
        for closed in closedEpochs {
            writer.varint(closed.epoch.value)
            writer.varint(closed.end.value)
        }
        writer.operations(recentOperations)
        state.encode(into: &writer)
        return writer.finish()
    }

    init(decoding payload: [UInt8], object: String) throws(StorageError) {
        var reader = ByteReader(payload, object: object)
        try reader.revision(upTo: Self.revision)
        let flags = Flags(rawValue: try reader.byte())
        guard flags.isSubset(of: .known) else { throw reader.corrupt("unknown flags \(flags.rawValue)") }
        volume = VolumeID(try reader.identifier())
        number = try reader.varint()
        epoch = Epoch(try reader.varint())
        created = try reader.timestamp()
        isTombstone = flags.contains(.tombstone)
        owner = nil
        if flags.contains(.owned) {
            let token = OwnerToken(try reader.identifier())
            let since = try reader.timestamp()
            owner = Owner(token: token, host: try reader.string(), isReleased: flags.contains(.released), since: since)
        }
        parent = flags.contains(.parent) ? VolumeID(try reader.identifier()) : nil
        firstNumberKept = try reader.varint()
        openEpochs = []
        for _ in 0..<(try reader.count(bytesEach: 1)) { openEpochs.append(Epoch(try reader.varint())) }
        closedEpochs = []
        for _ in 0..<(try reader.count(bytesEach: 2)) {
            let epoch = Epoch(try reader.varint())
            closedEpochs.append(ClosedEpoch(epoch: epoch, end: SegmentSequence(try reader.varint())))
        }
        recentOperations = try reader.operations()
        state = try VolumeState(decoding: &reader, object: object)
        try reader.finish()
    }
}

extension ByteWriter {
    mutating func operations(_ operations: [OperationID]) {
        varint(UInt64(operations.count))
        for operation in operations { identifier(operation.bits) }
    }
}
extension ByteReader {
    mutating func operations() throws(StorageError) -> [OperationID] {
        var operations: [OperationID] = []
        for _ in 0..<(try count(bytesEach: 16)) { operations.append(OperationID(try identifier())) }
        return operations
    }
}
