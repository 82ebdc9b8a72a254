import StoreCore
import Testing

@testable import Cleaner

/// Random histories: volumes, snapshots, branches, deletions, openings, with a seed that repeats them.
struct History {
    let world: World
    var random: SplitMix64
    var volumes: [TestVolume] = []
    var names = 0

    init(_ world: World, seed: UInt64) {
        self.world = world
        random = SplitMix64(seed: seed)
    }

    mutating func step() async throws {
        guard !volumes.isEmpty else { return try await make() }
        let index = Int.random(in: volumes.indices, using: &random)
        let volume = volumes[index]
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<45: try await volume.write(blocks())
        case 45..<65: try await volume.checkpoint()
        case 65..<72: try await volume.compact(resolving: Bool.random(using: &random))
        case 72..<80: try await volume.snapshot(name())
        case 80..<86: try await branch(volume)
        case 86..<90: volumes[index] = try await volume.reopened()
        case 90..<95: try await removeSnapshot(of: volume)
        case 95..<97 where volumes.count > 1:
            volumes.remove(at: index)
            try await volume.delete()
        default: if volumes.count < 4 { try await make() }
        }
    }

    private mutating func blocks() -> Set<UInt64> {
        let start = UInt64.random(in: 0..<48, using: &random)
        if Bool.random(using: &random) { return Set(start..<start + UInt64.random(in: 1...16, using: &random)) }
        return Set((0..<6).map { _ in UInt64.random(in: 0..<64, using: &random) })
    }
    private mutating func name() -> String {
        names += 1
        return "n\(names)"
    }
    private mutating func make() async throws { volumes.append(try await .make(world, name(), blocks: 64)) }
    private mutating func branch(_ volume: TestVolume) async throws {
        guard volumes.count < 4 else { return }
        let prefix = volume.name + "@"
        if let snapshot = world.expected.keys.filter({ $0.hasPrefix(prefix) }).sorted().randomElement(using: &random) {
            volumes.append(try await volume.branch(name(), ofSnapshot: String(snapshot.dropFirst(prefix.count))))
        } else {
            volumes.append(try await volume.branch(name()))
        }
    }
    private mutating func removeSnapshot(of volume: TestVolume) async throws {
        let prefix = volume.name + "@"
        guard let snapshot = world.expected.keys.filter({ $0.hasPrefix(prefix) }).sorted().randomElement(using: &random)
        else { return }
        try await volume.removeSnapshot(String(snapshot.dropFirst(prefix.count)))
    }
}
