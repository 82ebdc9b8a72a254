import Codec
import ObjectStorage
import SegmentLog
import Snapshots
import StoreCore

/// One cleaner's claim to repack: `cleaner/<inverted number>`, created once, before it uploads anything.
///
/// The number names its packed segments, the payload names its victims. Both are there for the cleaner that comes
/// after, which must know when an unnamed packed segment can no longer be named. That its own number is higher proves
/// nothing: the older cleaner may only be paused, and publish a relocation record later, whose targets must then exist
/// (it would find its own record the winning one, and delete the victim). What it can publish are records of the
/// victims that it named here, and a record is created once. So:
///
/// - A generation is *closed* when each of its victims has a relocation record or is named by no reachable run. What it
///   publishes after that finds its place taken, or speaks of what nobody needs.
/// - Who finds a generation that is not closed takes over its victims, repacks them itself, and so closes it: whichever
///   of the two records wins, the victim has one.
/// - A packed segment is emptied in its turn, and an unnamed one goes, only when its generation is closed. Records are
///   listed after the generations, and roots are read after the records, so that what is missing in one of them is
///   final.
///
/// Deletions need no claim: what was proven dead once stays dead, since no name is given twice and nothing new can rest
/// on what lies below an announced floor. A cleaner that was paused and goes on deletes nothing but garbage. It stops
/// repacking when it sees a newer generation, and looks before it uploads anything: a number that it won late may have
/// been another's before, whose folder is closed.
///
/// Envelope of kind generation; payload:
///
///     revision     1          1
///     number       varint
///     time         8          nanoseconds since 1970, for people
///     victims n    varint     then n names of segments
struct CleanerGeneration: Hashable, Sendable {
    static let prefix = "cleaner"
    private static let revision: UInt8 = 1
    /// Victims that one generation names at most: a pass with more does the rest the next time.
    static let victimsMax = 1 << 19

    var number: UInt64
    var time: Timestamp
    var victims: [SegmentID]

    func sealed(with keys: KeyRing) throws(StorageError) -> [UInt8] {
        try Envelope.seal(encoded(), kind: .generation, identity: Self.key(number).text, keys: keys)
    }
    static func key(_ number: UInt64) -> ObjectKey { NumberedObjects.key(prefix: prefix, number: number) }

    func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 64 + victims.count * 24)
        writer.byte(Self.revision)
        writer.varint(number)
        writer.timestamp(time)
        writer.varint(UInt64(victims.count))
        for victim in victims { victim.encode(into: &writer) }
        return writer.finish()
    }

    init(number: UInt64, time: Timestamp, victims: [SegmentID]) {
        self.number = number
        self.time = time
        self.victims = victims
    }
    /// Throws `corrupt`, which names the object, for anything but what was sealed as this number.
    init(opening object: [UInt8], number expected: UInt64, keys: KeyRing) throws(StorageError) {
        let name = Self.key(expected).text
        let payload = try Envelope.open(object, kind: .generation, identity: name, keys: keys)
        try self.init(decoding: payload, number: expected)
    }
    init(decoding payload: [UInt8], number expected: UInt64) throws(StorageError) {
        let name = Self.key(expected).text
        var reader = ByteReader(payload, object: name)
        try reader.revision(upTo: Self.revision)
        number = try reader.varint()
        guard number == expected else {
            throw .corrupt(name, "it is another number", expected: "\(expected)", actual: "\(number)")
        }
        time = try reader.timestamp()
        victims = []
        for _ in 0..<(try reader.count(bytesEach: 3)) { victims.append(try SegmentID(decoding: &reader)) }
        try reader.finish()
    }
}

/// The generations of a store.
struct GenerationLog: Sendable {
    let objects: NumberedObjects
    let keys: KeyRing

    init(store: any ObjectStore, keys: KeyRing) {
        objects = NumberedObjects(prefix: CleanerGeneration.prefix, store: store)
        self.keys = keys
    }

    /// All up to one that was the newest, the newest first. One that cannot be read stops gc: it may still publish.
    ///
    /// But for one under a key that was retired, below a newer one: it landed late. What it names is not known, so it
    /// is kept, and counts as never closed: so do all that lies in its folder.
    func all() async throws -> (known: [CleanerGeneration], neverClosed: Set<UInt64>) {
        // A LIST may show one that came while it ran, and not the one before it. What came before this one is shown.
        guard let newest = try await objects.newestNumber() else { return ([], []) }
        var known: [CleanerGeneration] = []
        var neverClosed: Set<UInt64> = []
        for number in try await objects.numbers() where number <= newest {
            // Gone since the LIST: another gc saw it closed, and so shall we.
            guard let bytes = try await objects.read(number) else { continue }
            if let generation = try open(bytes, number, mayBeLate: number < newest) {
                known.append(generation)
            } else {
                neverClosed.insert(number)
            }
        }
        return (known, neverClosed)
    }
    private func open(_ bytes: [UInt8], _ number: UInt64, mayBeLate: Bool) throws(StorageError) -> CleanerGeneration? {
        do { return try CleanerGeneration(opening: bytes, number: number, keys: keys) } catch {
            guard mayBeLate, error.code == .denied else { throw error }
            return nil
        }
    }

    /// Claims the next number for these victims; nil when another cleaner took it.
    func claim(after newest: UInt64, victims: [SegmentID], at time: Timestamp) async throws -> CleanerGeneration? {
        let generation = CleanerGeneration(number: newest + 1, time: time, victims: victims)
        let bytes = try generation.sealed(with: keys)
        return try await objects.create(generation.number, bytes) == .created ? generation : nil
    }
}
