import NBD
import StoreCore
import Volumes

/// What clients use of an open volume: the engine's device itself, or the same over NBD.
extension World {
    func attach(_ name: String, on server: Server) async throws -> any BlockDevice {
        guard let engine = server.engine, let process = server.process else { throw ProcessEnded() }
        guard let plan = plan.nbd else { return try await engine.attach(name) }
        let service = server.nbd ?? NBDService(engine, server.host.machine(of: process).time, plan)
        server.nbd = service
        count("NBD clients")
        return try await NBDDevice.connect(to: service, name, scheduler, process)
    }

    /// Gives back what `attach` gave.
    func detach(_ device: any BlockDevice, from engine: Engine) async {
        guard let device = device as? NBDDevice else { return await engine.detach(device) }
        await device.close()
        count("NBD reconnects", device.reconnects)
    }
}

/// A process's NBD server.
final class NBDService: @unchecked Sendable {
    let server: NBDServer
    let plan: NBDPlan
    let witness = ErrorWitness()

    init(_ engine: Engine, _ time: any TimeSource, _ plan: NBDPlan) {
        self.plan = plan
        server = NBDServer(ServedEngine(engine: engine, witness: witness), limits: plan.limits, time: time)
    }
    func stop() async { await server.stop() }
}

/// The engine as NBD clients see it. They are taken for clients that know of every crash, as the world itself is: what
/// a crash may have undone is the oracle's question here, and who is admitted after it has tests of its own.
private struct ServedEngine: DeviceDirectory {
    let engine: Engine
    let witness: ErrorWitness

    func exportNames() async throws -> [String] { try await engine.exportNames() }
    func describe(_ name: String) async throws -> DeviceDescription { try await engine.describe(name) }
    func attach(_ name: String) async throws -> any BlockDevice {
        do { return WitnessedDevice(try await engine.attach(name), witness) } catch {
            witness.note(error, of: name)
            throw error
        }
    }
    func detach(_ device: any BlockDevice) async {
        guard let device = device as? WitnessedDevice else { preconditionFailure("not a device of this directory") }
        await engine.detach(device.base)
    }
}
