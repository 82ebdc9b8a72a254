import Simulation
import StoreCore
import Volumes

/// The one client of a volume: it writes one thing after the other, and remembers what it was told.
final class Client: @unchecked Sendable {
    let volume: VolumeHistory
    let device: any BlockDevice
    private let server: Server
    private var world: World { server.host.world }

    init(_ volume: VolumeHistory, _ device: any BlockDevice, _ server: Server) {
        self.volume = volume
        self.device = device
        self.server = server
    }

    var blockCount: Int { volume.last.count }

    /// New contents for these blocks.
    func write(_ block: Int, count: Int = 1, fua: Bool = false) async throws {
        var bytes: [UInt8] = []
        for _ in 0..<count { bytes += world.blocks.make() }
        try await write(bytes, at: block * blockBytes, fua: fua)
    }
    /// Any place, any length: the edges keep what was there.
    func write(_ bytes: [UInt8], at offset: Int, fua: Bool = false) async throws {
        let version = begin(merging: bytes, at: offset)
        try await server.process.run { [device] in
            try await device.write(at: UInt64(offset), from: IOBuffer(bytes), fua: fua)
        }
        acknowledge(version, isFlushed: fua)
    }
    func zero(_ block: Int, count: Int, fua: Bool = false, trims: Bool = false) async throws {
        let version = begin(merging: [UInt8](repeating: 0, count: count * blockBytes), at: block * blockBytes)
        try await server.process.run { [device] in
            let offset = UInt64(block * blockBytes), bytes = UInt64(count * blockBytes)
            if trims {
                try await device.trim(at: offset, count: bytes, fua: fua)
            } else {
                try await device.writeZeroes(at: offset, count: bytes, fua: fua)
            }
        }
        acknowledge(version, isFlushed: fua)
    }
    private func begin(merging bytes: [UInt8], at offset: Int) -> Int {
        var contents = volume.last
        let first = offset / blockBytes
        let end = (offset + bytes.count + blockBytes - 1) / blockBytes
        var merged = contents[first..<end].flatMap { world.blocks.bytes($0) }
        merged.replaceSubrange(offset - first * blockBytes..<offset - first * blockBytes + bytes.count, with: bytes)
        for block in first..<end {
            let start = (block - first) * blockBytes
            contents[block] = world.blocks.enter(merged[start..<start + blockBytes])
        }
        return volume.begin(contents, at: world.mark())
    }
    private func acknowledge(_ version: Int, isFlushed: Bool) {
        let event = world.mark()
        volume.acknowledge(version, at: event)
        if isFlushed { volume.flush(issued: event, at: event, intoStore: false) }
    }

    func flush() async throws {
        let issued = world.mark()
        try await server.process.run { [device] in try await device.flush() }
        volume.flush(issued: issued, at: world.mark(), intoStore: false)
    }

    func resize(to blocks: Int) async throws {
        let old = volume.last
        let issued = world.mark()
        var begun: [Int] = []
        if blocks < old.count {
            // What is cut off is zeroed first, as a write of its own.
            let zeroed = old[..<blocks] + [Int32](repeating: 0, count: old.count - blocks)
            begun.append(volume.begin(Array(zeroed), at: issued))
            begun.append(volume.begin(Array(old[..<blocks]), at: issued))
        } else {
            begun.append(volume.begin(old + [Int32](repeating: 0, count: blocks - old.count), at: issued))
        }
        let name = volume.name
        _ = try await server.run { try await $0.resize(name, to: UInt64(blocks * blockBytes), force: true) }
        let event = world.mark()
        for version in begun { volume.acknowledge(version, at: event) }
        volume.flush(issued: event, at: event, intoStore: true)
    }

    func detach() async {
        do {
            try await server.run { [device] in await $0.detach(device) }
        } catch {
            // The server was killed: nothing is attached any more.
        }
    }
}
