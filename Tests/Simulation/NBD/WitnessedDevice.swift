import StoreCore

/// What NBD cannot say: the code of a device's error. Most become EIO on the wire, and an oracle that took them all for
/// "unavailable" would not see damage.
final class ErrorWitness: @unchecked Sendable {
    private var seen: [String: ErrorCode] = [:]

    func note(_ error: any Error, of export: String) { seen[export] = error.storageCode }
    /// The code of the export's latest error that no client was told yet.
    func take(of export: String) -> ErrorCode? { seen.removeValue(forKey: export) }
}

/// A device whose errors are noted.
final class WitnessedDevice: BlockDevice {
    let base: any BlockDevice
    private let witness: ErrorWitness

    init(_ base: any BlockDevice, _ witness: ErrorWitness) {
        self.base = base
        self.witness = witness
    }

    var name: String { base.name }
    var summary: String { base.summary }
    var size: UInt64 { base.size }
    var isReadOnly: Bool { base.isReadOnly }

    func readNow(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws -> Bool {
        try noting { try base.readNow(at: offset, into: buffer) }
    }
    func writeNow(at offset: UInt64, from bytes: UnsafeRawBufferPointer) throws -> Bool {
        try noting { try base.writeNow(at: offset, from: bytes) }
    }
    func read(at offset: UInt64, into buffer: IOBuffer) async throws {
        try await noting { try await base.read(at: offset, into: buffer) }
    }
    func write(at offset: UInt64, from buffer: IOBuffer, fua: Bool) async throws {
        try await noting { try await base.write(at: offset, from: buffer, fua: fua) }
    }
    func flush() async throws { try await noting { try await base.flush() } }
    func trim(at offset: UInt64, count: UInt64, fua: Bool) async throws {
        try await noting { try await base.trim(at: offset, count: count, fua: fua) }
    }
    func writeZeroes(at offset: UInt64, count: UInt64, fua: Bool) async throws {
        try await noting { try await base.writeZeroes(at: offset, count: count, fua: fua) }
    }
    func prefetch(at offset: UInt64, count: UInt64) async throws {
        try await noting { try await base.prefetch(at: offset, count: count) }
    }
    func status(at offset: UInt64, count: UInt64, extentsMax: Int) async throws -> [DeviceExtent] {
        try await noting { try await base.status(at: offset, count: count, extentsMax: extentsMax) }
    }

    private func noting<R>(_ body: () throws -> R) throws -> R {
        do { return try body() } catch {
            witness.note(error, of: name)
            throw error
        }
    }
    private func noting<R>(_ body: () async throws -> R) async throws -> R {
        do { return try await body() } catch {
            witness.note(error, of: name)
            throw error
        }
    }
}
