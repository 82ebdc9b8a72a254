import StoreCore

/// The rules of a server's exports, and who is told of clients that they turn away.
public struct AccessControl: Sendable {
    public var rules: ExportRules
    /// Client, its address, and the export that it asked for, which may not exist.
    public var noteRefusal: @Sendable (NBDClient, String, String) -> Void

    public init(
        _ rules: ExportRules = ExportRules(),
        noteRefusal: @escaping @Sendable (NBDClient, String, String) -> Void = { _, _, _ in }
    ) {
        self.rules = rules
        self.noteRefusal = noteRefusal
    }
}

/// A directory as one client may see it. What the rules hide is answered as if it did not exist, before anyone looks
/// whether it does: neither words nor time tell.
struct GuardedDirectory: DeviceDirectory {
    let base: any DeviceDirectory
    let rules: ExportRules
    let client: NBDClient
    /// Told of exports that were asked for and are hidden.
    let refused: @Sendable (String) -> Void

    func exportNames() async throws -> [String] {
        try await base.exportNames().filter { rules.access(of: client, to: $0) != .hidden }
    }

    func describe(_ name: String) async throws -> DeviceDescription {
        let access = try access(to: name)
        var description = try await base.describe(name)
        if access == .readOnly { description.isReadOnly = true }
        return description
    }

    func attach(_ name: String) async throws -> any BlockDevice { try await attach(name) { try await base.attach($0) } }
    func attach(_ name: String, for client: DeviceClient) async throws -> any BlockDevice {
        try await attach(name) { try await base.attach($0, for: client) }
    }
    private func attach(
        _ name: String, _ attach: (String) async throws -> any BlockDevice
    ) async throws -> any BlockDevice {
        let access = try access(to: name)
        let device = try await attach(name)
        return access == .readOnly && !device.isReadOnly ? ReadOnlyView(device) : device
    }

    func detach(_ device: any BlockDevice) async {
        await base.detach((device as? ReadOnlyView)?.base ?? device)
    }

    private func access(to name: String) throws(StorageError) -> ExportAccess {
        let access = rules.access(of: client, to: name)
        guard access != .hidden else {
            refused(name)
            throw StorageError(.notFound, "there is no '\(name)' for this client")
        }
        return access
    }
}

/// A device that takes no writes from this client, whatever others may do.
final class ReadOnlyView: BlockDevice {
    let base: any BlockDevice

    init(_ base: any BlockDevice) { self.base = base }

    var name: String { base.name }
    var summary: String { base.summary }
    var size: UInt64 { base.size }
    var isReadOnly: Bool { true }

    func readNow(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws -> Bool {
        try base.readNow(at: offset, into: buffer)
    }
    func read(at offset: UInt64, into buffer: IOBuffer) async throws { try await base.read(at: offset, into: buffer) }
    func flush() async throws { try await base.flush() }
    func prefetch(at offset: UInt64, count: UInt64) async throws { try await base.prefetch(at: offset, count: count) }
    func status(at offset: UInt64, count: UInt64, extentsMax: Int) async throws -> [DeviceExtent] {
        try await base.status(at: offset, count: count, extentsMax: extentsMax)
    }

    // Requests are refused before they come here: this is the second lock of the same door.
    func writeNow(at offset: UInt64, from bytes: UnsafeRawBufferPointer) throws -> Bool { throw Self.refusal }
    func write(at offset: UInt64, from buffer: IOBuffer, fua: Bool) async throws { throw Self.refusal }
    func trim(at offset: UInt64, count: UInt64, fua: Bool) async throws { throw Self.refusal }
    func writeZeroes(at offset: UInt64, count: UInt64, fua: Bool) async throws { throw Self.refusal }
    private static var refusal: StorageError { StorageError(.denied, "the export is read-only for this client") }
}
