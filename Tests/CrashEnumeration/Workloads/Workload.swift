/// A short run of the engine, aimed at one mechanism: everything that matters happens within some hundred events.
public struct Workload: Sendable {
    public var name: String
    public var about: String
    var shape = EngineShape()
    var hosts = 1
    var body: @Sendable (World) async throws -> Void

    public static func named(_ name: String) -> Workload? { all.first { $0.name == name } }
    public static let all: [Workload] =
        writing + mapping + [
            snapshots, branches, rollback, deletion, resizing, garbage, reopening, takeOver, leftJournal,
            keyRotation,
        ]
}

extension Client {
    /// A random write of one of the kinds that there are.
    func writeSomething(_ world: World, flushes: Bool = true) async throws {
        let block = world.draw(blockCount - 4)
        let fua = flushes && world.draw(12) == 0
        switch world.draw(12) {
        case 0: try await zero(block, count: 1 + world.draw(4), fua: fua)
        case 1: try await zero(block, count: 1 + world.draw(4), fua: fua, trims: true)
        case 2:
            let bytes = (0..<1 + world.draw(6000)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ block) }
            try await write(bytes, at: block * 4096 + world.draw(4096), fua: fua)
        default: try await write(block, count: 1 + world.draw(4), fua: fua)
        }
    }
    /// Writes, and now and then a flush that the writes do not wait for.
    func writeAndFlush(_ world: World, writes: Int, flushEvery: Int = 4) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 1...writes {
                try await writeSomething(world)
                if number % flushEvery == 0 { group.addTask { try await self.flush() } }
                if world.draw(3) == 0 { try await world.rest(UInt64(world.draw(12))) }
            }
            try await group.waitForAll()
        }
    }
}
