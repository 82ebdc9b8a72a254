/// What NBD serves: a disk of bytes. A volume and a snapshot are block devices.
///
/// Any offset and length within `size` is served; the device merges ragged edges itself. All methods may be called
/// from any thread, many at once; overlapping concurrent writes apply in some order, each whole up to 1 MiB.
/// The `…Now` methods never block and never wait: they answer from memory, or say that they cannot, and then have had
/// no effect. Bounds are the caller's to check; a device throws `invalid` for what lies outside.
public protocol BlockDevice: AnyObject, Sendable {
    /// Export name: `pg-prod`, or `pg-prod@monday` for a snapshot.
    var name: String { get }
    /// One line for NBD_INFO_DESCRIPTION.
    var summary: String { get }
    /// Bytes; a multiple of 4096. It may grow while the device is in use.
    var size: UInt64 { get }
    var isReadOnly: Bool { get }

    /// Copies `into.count` bytes at `offset` when all of them are in memory; false when it must wait.
    func readNow(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws -> Bool
    func read(at offset: UInt64, into buffer: IOBuffer) async throws
    /// Applies a write when there is room in the write buffer and no flush is asked for; false when it must wait.
    /// The bytes are copied before it returns.
    func writeNow(at offset: UInt64, from bytes: UnsafeRawBufferPointer) throws -> Bool
    /// - Parameter fua: return only when this write is as durable as after a flush.
    func write(at offset: UInt64, from buffer: IOBuffer, fua: Bool) async throws
    /// Returns when every write that was answered before the call is durable as the volume's `durability` says (R1).
    func flush() async throws
    /// Discards: the range reads as zeroes afterwards.
    func trim(at offset: UInt64, count: UInt64, fua: Bool) async throws
    func writeZeroes(at offset: UInt64, count: UInt64, fua: Bool) async throws
    /// Brings the range into the cache; an optimisation that may do less.
    func prefetch(at offset: UInt64, count: UInt64) async throws
    /// What lies at `offset`, in order and without gaps: at least one extent, at most `extentsMax`, covering `count`
    /// bytes or fewer.
    func status(at offset: UInt64, count: UInt64, extentsMax: Int) async throws -> [DeviceExtent]
}

/// A stretch of a device that is all data, or all hole (unallocated, reads as zeroes).
public struct DeviceExtent: Equatable, Sendable {
    public var byteCount: UInt64
    public var isHole: Bool
    public init(byteCount: UInt64, isHole: Bool) {
        self.byteCount = byteCount
        self.isHole = isHole
    }
}

/// Where a server finds what it exports.
public protocol DeviceDirectory: Sendable {
    /// Names for NBD_OPT_LIST, sorted.
    func exportNames() async throws -> [String]
    /// Size, flags and description without claiming anything; throws `notFound`, or what stands in the way.
    func describe(_ name: String) async throws -> DeviceDescription
    /// A device for one client connection. Claims the volume at its first writable attach (docs/architecture.md);
    /// throws `busy` when another host holds it. Each attach is matched by one `detach`.
    func attach(_ name: String) async throws -> any BlockDevice
    /// As `attach`, for a certain client: throws `denied` to one that may still believe in writes that a crash undid.
    func attach(_ name: String, for client: DeviceClient) async throws -> any BlockDevice
    func detach(_ device: any BlockDevice) async
}

extension DeviceDirectory {
    /// For directories that treat all clients alike.
    public func attach(_ name: String, for _: DeviceClient) async throws -> any BlockDevice { try await attach(name) }
}

public struct DeviceDescription: Equatable, Sendable {
    public var name: String
    public var summary: String
    public var size: UInt64
    public var isReadOnly: Bool
    public init(name: String, summary: String, size: UInt64, isReadOnly: Bool) {
        self.name = name
        self.summary = summary
        self.size = size
        self.isReadOnly = isReadOnly
    }
}
