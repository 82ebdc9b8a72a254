import Glibc
import NBD
import StoreCore
import Synchronization

/// A disk in memory that can be told to be slow, to fail, and to hold requests back.
final class MemoryDevice: BlockDevice {
    struct Behaviour {
        /// False: every request must wait, as on a cache miss.
        var answersNow = true
        /// Every third request must wait, the others are answered now.
        var alternates = false
        /// Asked for each request but status; throws what it returns.
        var failure: (@Sendable (NBDOperation, UInt64) -> StorageError?)?
        /// While true, requests that wait do not go on.
        var isHolding = false
    }
    struct Calls: Equatable {
        var flushes = 0
        var fuaWrites = 0
        var slowRequests = 0
        var prefetches = 0
    }
    private struct State {
        var bytes: [UInt8]
        var isAllocated: [Bool]
        var behaviour = Behaviour()
        var calls = Calls()
        var asked = 0

        mutating func mustWait() -> Bool {
            asked += 1
            return !behaviour.answersNow || behaviour.alternates && asked % 3 == 0
        }
    }

    let name: String
    let summary: String
    let isReadOnly: Bool
    private let state: Mutex<State>

    init(_ name: String = "disk", size: Int = 16 << 20, isReadOnly: Bool = false) {
        self.name = name
        summary = "memory of \(ByteSize.format(UInt64(size)))"
        self.isReadOnly = isReadOnly
        state = Mutex(
            State(
                bytes: [UInt8](repeating: 0, count: size),
                isAllocated: [Bool](repeating: false, count: size / blockBytes)))
    }

    var size: UInt64 { state.withLock { UInt64($0.bytes.count) } }
    var calls: Calls { state.withLock { $0.calls } }
    var contents: [UInt8] { state.withLock { $0.bytes } }

    func grow(to size: Int) {
        state.withLock {
            $0.bytes += [UInt8](repeating: 0, count: size - $0.bytes.count)
            $0.isAllocated += [Bool](repeating: false, count: size / blockBytes - $0.isAllocated.count)
        }
    }
    func behave(_ change: @Sendable (inout Behaviour) -> Void) { state.withLock { change(&$0.behaviour) } }

    private func store(_ offset: UInt64, _ source: UnsafeRawBufferPointer, in state: inout State) {
        guard !source.isEmpty else { return }
        state.bytes.withUnsafeMutableBytes {
            UnsafeMutableRawBufferPointer(rebasing: $0[Int(offset)..<Int(offset) + source.count]).copyMemory(
                from: source)
        }
        mark(offset, UInt64(source.count), true, in: &state)
    }
    private func mark(_ offset: UInt64, _ count: UInt64, _ isAllocated: Bool, in state: inout State) {
        let range = BlockRange.touching(byteOffset: offset, byteCount: count)
        for block in Int(range.first.value)..<Int(range.end.value) { state.isAllocated[block] = isAllocated }
    }
    private func zero(_ offset: UInt64, _ count: UInt64, in state: inout State) {
        state.bytes.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            memset(base + Int(offset), 0, Int(count))
        }
        let first = (Int(offset) + blockBytes - 1) / blockBytes
        let end = Int(offset + count) / blockBytes
        if first < end { for block in first..<end { state.isAllocated[block] = false } }
    }
    private func check(_ operation: NBDOperation, _ offset: UInt64, in state: State) throws {
        if let error = state.behaviour.failure?(operation, offset) { throw error }
    }
    private func wait(_ operation: NBDOperation, _ offset: UInt64) async throws {
        while state.withLock({ $0.behaviour.isHolding }) { try await Task.sleep(for: .milliseconds(2)) }
        try state.withLock {
            $0.calls.slowRequests += 1
            try check(operation, offset, in: $0)
        }
    }

    func readNow(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws -> Bool {
        try state.withLock { state in
            if state.mustWait() { return false }
            try check(.read, offset, in: state)
            state.bytes.withUnsafeBytes {
                buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[Int(offset)..<Int(offset) + buffer.count]))
            }
            return true
        }
    }
    func read(at offset: UInt64, into buffer: IOBuffer) async throws {
        try await wait(.read, offset)
        state.withLock { state in
            state.bytes.withUnsafeBytes { source in
                buffer.withMutableBytes {
                    $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[Int(offset)..<Int(offset) + $0.count]))
                }
            }
        }
    }
    func writeNow(at offset: UInt64, from bytes: UnsafeRawBufferPointer) throws -> Bool {
        try state.withLock { state in
            if state.mustWait() { return false }
            try check(.write, offset, in: state)
            store(offset, bytes, in: &state)
            return true
        }
    }
    func write(at offset: UInt64, from buffer: IOBuffer, fua: Bool) async throws {
        try await wait(.write, offset)
        state.withLock { state in
            if fua { state.calls.fuaWrites += 1 }
            buffer.withBytes { store(offset, $0, in: &state) }
        }
    }
    func flush() async throws {
        try await wait(.flush, 0)
        state.withLock { $0.calls.flushes += 1 }
    }
    func trim(at offset: UInt64, count: UInt64, fua: Bool) async throws {
        try await wait(.trim, offset)
        state.withLock { zero(offset, count, in: &$0) }
    }
    func writeZeroes(at offset: UInt64, count: UInt64, fua: Bool) async throws {
        try await wait(.writeZeroes, offset)
        state.withLock { zero(offset, count, in: &$0) }
    }
    func prefetch(at offset: UInt64, count: UInt64) async throws {
        try await wait(.cache, offset)
        state.withLock { $0.calls.prefetches += 1 }
    }
    func status(at offset: UInt64, count: UInt64, extentsMax: Int) async throws -> [DeviceExtent] {
        state.withLock { state in
            var extents: [DeviceExtent] = []
            var position = offset
            while position < offset + count {
                let isHole = !state.isAllocated[Int(position) / blockBytes]
                let end = min((position / UInt64(blockBytes) + 1) * UInt64(blockBytes), offset + count)
                if let last = extents.last, last.isHole == isHole {
                    extents[extents.count - 1].byteCount += end - position
                } else {
                    if extents.count == extentsMax { break }
                    extents.append(DeviceExtent(byteCount: end - position, isHole: isHole))
                }
                position = end
            }
            return extents
        }
    }
}

/// Devices by name, with a count of who is attached.
final class MemoryDirectory: DeviceDirectory {
    private struct State {
        var devices: [String: MemoryDevice]
        var attached: [String: Int] = [:]
        var attaches = 0
        var refusals: [String: StorageError] = [:]
    }
    private let state: Mutex<State>

    convenience init(_ devices: MemoryDevice...) { self.init(devices) }
    init(_ devices: [MemoryDevice]) {
        state = Mutex(State(devices: Dictionary(uniqueKeysWithValues: devices.map { ($0.name, $0) })))
    }

    /// Attached now, over all devices.
    var attachedCount: Int { state.withLock { $0.attached.values.reduce(0, +) } }
    var attaches: Int { state.withLock { $0.attaches } }
    func refuse(_ name: String, _ error: StorageError) { state.withLock { $0.refusals[name] = error } }

    private func find(_ name: String, _ state: borrowing State) throws -> MemoryDevice {
        if let error = state.refusals[name] { throw error }
        guard let device = state.devices[name] else { throw StorageError(.notFound, "no export is called '\(name)'") }
        return device
    }
    func exportNames() async throws -> [String] { state.withLock { $0.devices.keys.sorted() } }
    func describe(_ name: String) async throws -> DeviceDescription {
        let device = try state.withLock { state -> MemoryDevice in try find(name, state) }
        return DeviceDescription(
            name: device.name, summary: device.summary, size: device.size, isReadOnly: device.isReadOnly)
    }
    func attach(_ name: String) async throws -> any BlockDevice {
        try state.withLock { state -> MemoryDevice in
            let device = try find(name, state)
            state.attached[name, default: 0] += 1
            state.attaches += 1
            return device
        }
    }
    func detach(_ device: any BlockDevice) async {
        state.withLock { state in
            let count = state.attached[device.name, default: 0]
            precondition(count > 0, "\(device.name) was detached more often than attached")
            state.attached[device.name] = count - 1
        }
    }
}
