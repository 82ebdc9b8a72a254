import BlockMap
import Cleaner
import Codec
import Logging
import ObjectStorage
import Simulation
import StoreCore
import Volumes

/// How the engines of a workload run: small segments, checkpoints and journal files, so that a few writes meet all.
struct EngineShape: Sendable {
    var durability = Durability.store
    /// Runs at level 0 before the map is compacted.
    var level0RunsMax = 2
    var adjust: @Sendable (inout EngineSettings) -> Void = { _ in }

    static let dataDirectory = "/data"
    static let unlock = Unlock.keyFile([UInt8](repeating: 7, count: 32))

    func settings() -> EngineSettings {
        var settings = EngineSettings(dataDirectory: Self.dataDirectory)
        settings.diskCacheBytes = 0
        settings.memoryCacheBytes = 1 << 20
        settings.mapCacheBytes = 1 << 20
        settings.volume.durability = durability
        settings.volume.journalFileBytes = 64 << 10
        settings.volume.journalBytes = 512 << 10
        settings.volume.segmentBytes = 32 << 10
        settings.volume.checkpointBytes = 96 << 10
        settings.volume.checkpointSegments = 4
        settings.volume.uploadDelay = .milliseconds(60)
        settings.volume.compaction.level0RunsMax = level0RunsMax
        settings.gc.policy.smallCountMin = 4
        settings.gc.policy.packedBytesTarget = 64 << 10
        adjust(&settings)
        return settings
    }
}

/// Hosts, their servers, one bucket, and the clients that a workload plays.
final class World: @unchecked Sendable {
    let scheduler: Scheduler
    let recorder = Recorder()
    let bucket: MemoryStore
    let blocks: BlockTable
    let shape: EngineShape
    var pause: Pause
    /// What the workload draws.
    var random: SplitMix64
    var volumes: [VolumeHistory] = []
    private(set) var hosts: [WorldHost] = []

    init(
        _ shape: EngineShape, seed: UInt64, scheduler: Scheduler, blocks: BlockTable,
        objects: [ObjectKey: [UInt8]] = [:]
    ) {
        self.shape = shape
        self.scheduler = scheduler
        self.blocks = blocks
        bucket = MemoryStore(objects)
        pause = Pause(scheduler: scheduler)
        random = SplitMix64(seed: seed)
    }

    func addHost(_ state: DiskState = DiskState()) -> WorldHost {
        let host = WorldHost(hosts.count, state, self)
        hosts.append(host)
        return host
    }
    func mark() -> Int { recorder.mark() }
    /// A number below `bound`.
    func draw(_ bound: Int) -> Int { Int(random.next() % UInt64(max(bound, 1))) }
    func rest(_ milliseconds: UInt64) async throws { try await scheduler.sleep(milliseconds * 1_000_000) }
}

final class WorldHost: @unchecked Sendable {
    let number: Int
    let disk: StateDisk
    /// The disk as the recording began.
    let firstState: DiskState
    unowned let world: World
    private let simulated: SimulatedHost

    init(_ number: Int, _ state: DiskState, _ world: World) {
        self.number = number
        self.world = world
        firstState = state
        disk = StateDisk(state)
        simulated = SimulatedHost("host\(number)", scheduler: world.scheduler)
    }

    /// Starts a server: opens the engine, claims nothing.
    func start(takingOver names: Set<String> = []) async throws -> Server {
        let process = simulated.start()
        var machine = simulated.machine(of: process)
        let recording = RecordingDisk(disk, host: number, recorder: world.recorder, pause: world.pause)
        (machine.disk, machine.cacheDisk) = (recording, recording)
        var settings = world.shape.settings()
        settings.takeOver = names
        let store = RecordingStore(world.bucket, recorder: world.recorder, pause: world.pause)
        let engine = try await process.run { [settings, machine] in
            try await Engine.open(
                store: store, unlock: EngineShape.unlock, settings: settings, machine: machine, log: silentLog)
        }
        return Server(self, process, engine)
    }
}

let silentLog = Logger(label: "zerofs") { _ in SwiftLogNoOpLogHandler() }

extension BlockDevice {
    /// All of it, as numbers of contents.
    func contents(_ blocks: BlockTable) async throws -> Contents {
        let buffer = IOBuffer(count: Int(size))
        try await read(at: 0, into: buffer)
        let bytes = buffer.array
        return stride(from: 0, to: bytes.count, by: blockBytes).map { start in
            blocks.number(of: bytes[start..<start + blockBytes]) ?? -1
        }
    }
}
