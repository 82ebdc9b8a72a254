import StoreCore
import Volumes

/// What goes wrong beside single requests: kills, crashes, pauses, outages, rivals, clocks that jump.
extension World {
    func trouble() async {
        guard plan.incidentsPerMinute > 0 else { return }
        let most = UInt64(120_000_000_000 / plan.incidentsPerMinute)
        while !isEnding {
            await scheduler.pass(scheduler.delay(1_000_000, most))
            guard !isEnding else { return }
            await incident(on: servers[draw(servers.count)])
        }
    }

    private func incident(on server: Server) async {
        if plan.hasRivals, draw(5) == 0 { return await takeOver(with: server) }
        switch draw(15) {
        case 0..<4: killSoon(server)
        case 4..<6:
            // In the middle of an entry of the journal.
            server.process?.diesInNextStore = true
            count("SIGKILL in a store")
        case 6..<8: crash(server)
        case 8: if draw(3) == 0 { loseDisk(server) }
        case 9..<11: await pause(server)
        case 11..<13:
            bucket.outageEnd = scheduler.now + scheduler.delay(1_000_000_000, 90_000_000_000)
            count("outages")
        case 13:
            server.host.clockOffset += Int64(draw(2 * 86_400)) * 1_000_000_000 - 86_400_000_000_000
            count("clock jumps")
        default: await endInOrder(server)
        }
    }

    private func killSoon(_ server: Server) {
        guard let process = server.process, process.isAlive else { return }
        killing = (process, scheduler.steps + UInt64(draw(3000)))
        count("SIGKILL")
    }

    private func pause(_ server: Server) async {
        guard let process = server.process else { return }
        process.stop()
        count("pauses")
        await scheduler.pass(scheduler.delay(100_000_000, 120_000_000_000))
        process.resume()
    }

    /// An orderly end: everything is in the bucket afterwards.
    func endInOrder(_ server: Server) async {
        guard let engine = server.engine, let process = server.process else { return }
        let open = server.open
        server.open = [:]
        for (_, volume) in open.sorted(by: { $0.key < $1.key }) {
            while changing[volume.session, default: 0] != 0, process.isAlive { await scheduler.pass(5_000_000) }
        }
        let done: Void? = await attempt("close", on: process) {
            await server.nbd?.stop()
            try await engine.close()
        }
        if done != nil {
            for (_, volume) in open where sessions[volume.session].survived == nil {
                sessions[volume.session].stored.formUnion(acknowledged(in: volume.session))
            }
            count("orderly ends")
        }
        process.kill()
        server.forget()
    }

    /// A server that was told to takes volumes over from the others, whatever they do.
    private func takeOver(with server: Server) async {
        if server.isUp { kill(server) }
        guard await start(server, takeOver: true) else { return }
        count("take-overs")
        for name in latest.keys.sorted() where draw(2) == 0 { _ = await open(name, on: server) }
    }

    /// Servers that are down come up again, sooner or later.
    func supervise() async {
        while !isEnding {
            await scheduler.pass(scheduler.delay(10_000_000, 2_000_000_000))
            for server in servers where !isEnding && !server.isUp && !server.isStarting && draw(2) == 0 {
                _ = await start(server, takeOver: plan.hasRivals && draw(3) == 0)
            }
        }
    }
}
