import Simulation
import StoreCore
import Volumes

/// A running server of a host, and what an operator does with it; everything asked and answered is noted.
final class Server: @unchecked Sendable {
    let host: WorldHost
    let process: SimulatedProcess
    let engine: Engine
    private var world: World { host.world }
    private var open: [VolumeHistory] = []

    init(_ host: WorldHost, _ process: SimulatedProcess, _ engine: Engine) {
        self.host = host
        self.process = process
        self.engine = engine
    }

    func run<R: Sendable>(_ body: @escaping @Sendable (Engine) async throws -> R) async throws -> R {
        try await process.run { [engine] in try await body(engine) }
    }

    func create(_ name: String, blocks: Int) async throws -> VolumeHistory {
        let history = VolumeHistory(
            name, contents: Contents(repeating: 0, count: blocks),
            flushStores: world.shape.durability == .store, issued: world.mark())
        world.volumes.append(history)
        _ = try await run { try await $0.create(name, sizeBytes: UInt64(blocks * blockBytes)) }
        history.created = world.mark()
        return history
    }

    /// - Parameter known: its name, where that is not the last one it was given.
    func attach(_ volume: VolumeHistory, as known: String? = nil) async throws -> Client {
        let name = known ?? volume.name
        let issued = world.mark()
        volume.own(host.number, Asked(issued: issued))
        let (device, contents) = try await run { [blocks = world.blocks] engine in
            let device = try await engine.attach(name)
            return (device, try await device.contents(blocks))
        }
        volume.fixBase(contents)
        guard volume.isTakenOver(by: host.number) || volume.allows(contents) else {
            throw WrongContents(name)
        }
        volume.reopen(contents, host: host.number, asked: Asked(issued: issued, acknowledged: world.mark()))
        open.append(volume)
        return Client(volume, device, self)
    }

    func snapshot(_ volume: VolumeHistory, _ name: String) async throws {
        let snapshot = SnapshotHistory(name, issued: world.mark(), from: volume.lastAcknowledged)
        volume.snapshots.append(snapshot)
        _ = try await run { [volumeName = volume.name] in try await $0.snapshot(volumeName, name: name) }
        snapshot.upTo = volume.lastBegun
        snapshot.asked.acknowledged = world.mark()
    }
    func deleteSnapshot(_ volume: VolumeHistory, _ name: String) async throws {
        let reference = VolumeReference(volume: volume.name, snapshot: name)
        let snapshot = volume.snapshots.first { $0.name == name }
        snapshot?.removal = Asked(issued: world.mark())
        _ = try await run { try await $0.delete(reference, force: false) }
        snapshot?.removal?.acknowledged = world.mark()
    }

    /// Of the volume as it is, or of a snapshot.
    func branch(_ volume: VolumeHistory, snapshot: String? = nil, to name: String) async throws -> VolumeHistory {
        let issued = world.mark()
        let from = volume.lastAcknowledged
        let source = volume.snapshots.first { $0.name == snapshot }
        let history = VolumeHistory(
            name, contents: [], flushStores: volume.flushStores, issued: issued)
        // Until it was looked at it may hold any of these.
        func bases() -> [Contents] {
            let first = source?.from ?? from
            return volume.versions[first...(source?.upTo ?? volume.lastBegun)].map(\.contents)
        }
        history.setBases(bases())
        world.volumes.append(history)
        let reference = VolumeReference(volume: volume.name, snapshot: snapshot)
        _ = try await run { try await $0.branch(reference, to: name) }
        history.created = world.mark()
        history.setBases(bases())
        return history
    }

    /// - Parameter contents: what the only journal left here must bring back.
    func branch(fromJournalWith contents: Contents, to name: String) async throws -> VolumeHistory {
        let history = VolumeHistory(name, contents: contents, flushStores: false, issued: world.mark())
        world.volumes.append(history)
        _ = try await run { engine in
            guard let journal = try await engine.journals().first else { throw WrongContents("the journal") }
            return try await engine.branch(fromJournal: journal.id, to: name)
        }
        history.created = world.mark()
        return history
    }

    func rollback(_ client: Client, to name: String) async throws {
        let volume = client.volume
        guard let target = volume.snapshots.first(where: { $0.name == name }) else { return }
        await client.detach()
        let issued = world.mark()
        let safety = SnapshotHistory(
            "before-rollback-", isPrefix: true, issued: issued, from: volume.lastAcknowledged)
        safety.exact = volume.last
        safety.upTo = volume.lastBegun
        volume.snapshots.append(safety)
        let version = volume.begin(volume.versions[target.from].contents, at: issued)
        let reference = VolumeReference(volume: volume.name, snapshot: name)
        _ = try await run { try await $0.rollback(reference, force: true) }
        let event = world.mark()
        safety.asked.acknowledged = event
        volume.acknowledge(version, at: event)
        volume.flush(issued: event, at: event, intoStore: true)
    }

    func delete(_ volume: VolumeHistory) async throws {
        volume.removal = Asked(issued: world.mark())
        let reference = VolumeReference(volume: volume.name)
        _ = try await run { try await $0.delete(reference, force: true) }
        volume.removal?.acknowledged = world.mark()
    }
    func rename(_ volume: VolumeHistory, to name: String) async throws {
        let reference = VolumeReference(volume: volume.name)
        volume.rename(name, issued: world.mark())
        _ = try await run { try await $0.rename(reference, to: name) }
        volume.acknowledgeRename(at: world.mark())
    }
    func collectGarbage() async throws {
        _ = try await run { try await $0.collectGarbage(dryRun: false) { _ in } }
    }

    /// Stops in order.
    func close() async throws {
        let issued = world.mark()
        try await run { try await $0.close() }
        let event = world.mark()
        for volume in open { volume.flush(issued: issued, at: event, intoStore: true) }
    }
    /// SIGKILL.
    func kill() {
        process.kill()
        world.recorder.add(.disk(host: host.number, .killed))
    }
}

/// The recorded run itself went wrong.
struct WrongContents: Error, CustomStringConvertible {
    let description: String
    init(_ name: String) { description = "\(name) holds what nobody wrote, before any crash" }
}
