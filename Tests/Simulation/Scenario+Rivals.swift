import StoreCore
import Volumes

extension World {
    /// Two servers take one volume over at the same moment: both may come up, each with what was promised before; only
    /// the one of the higher epoch acknowledges anything from then on.
    func twoOpenAtOnce() async {
        for _ in 0..<3 {
            await use(servers[0], requests: 4 + draw(12), flushes: true)
            guard let before = latest["v1"] else { return }
            for server in servers[1...] { await restart(server, takeOver: true) }
            let openings = servers[1...].map { server in
                Task {
                    await self.scheduler.pass(self.scheduler.delay(0, 40_000_000))
                    return await self.openAlone("v1", on: server, after: before)
                }
            }
            var rivals: [Server.OpenVolume] = []
            for opening in openings {
                if let open = await opening.value { rivals.append(open) }
            }
            guard let winner = rivals.max(by: { epoch(of: $0) < epoch(of: $1) }) else {
                return fail("neither of two servers opens v1")
            }
            if rivals.count > 1 { count("opened twice at once") }
            latest["v1"] = winner.session
            for server in servers[1...] {
                await useRival(server, isWinner: server.open["v1"]?.session == winner.session)
            }
            // The next round begins with a server that knows of none of them.
            await restart(servers[0], takeOver: true)
        }
    }
    /// A server that another has taken the volume from ends in order: it must not release what is not its own.
    func supersededServerEnds() async {
        await use(servers[0], requests: 10, flushes: true)
        servers[0].process?.stop()
        await restart(servers[1], takeOver: true)
        guard await open("v1", on: servers[1]) != nil else { return fail("v1 does not open") }
        if draw(2) == 0 { await use(servers[1], requests: 5, flushes: true) }
        servers[0].process?.resume()
        await endInOrder(servers[0])
        await restart(servers[2], takeOver: false)
        guard let engine = servers[2].engine, let process = servers[2].process else { return }
        let third: Void? = await attempt("attach v1", on: process) {
            let device = try await engine.attach("v1")
            await engine.detach(device)
        }
        if third != nil { fail("v1 opens although another server has it") }
        await use(servers[1], requests: 5, flushes: true)
    }

    private func epoch(of open: Server.OpenVolume) -> UInt64 { sessions[open.session].epoch }

    /// Opens without the model's lock, and judges what it shows by what was promised before.
    private func openAlone(_ name: String, on server: Server, after before: Int) async -> Server.OpenVolume? {
        guard let engine = server.engine, let process = server.process,
            let device = await attempt("open \(name)", on: process, { try await engine.attach(name) }),
            let found = await readAll(device, on: process)
        else { return nil }
        sessions[before].holding = .stored
        guard let prefix = judge(found, of: before) else { return nil }
        let session = begin(name, on: server, base: found)
        sessions[session].epoch = await epoch(of: name, engine, on: process)
        sessions[session].inherit(sessions[before], prefix, isFromStore: true)
        server.open[name] = Server.OpenVolume(device: device, session: session)
        return server.open[name]
    }

    private func useRival(_ server: Server, isWinner: Bool) async {
        guard let process = server.process, let open = server.open["v1"] else { return }
        // Whatever it acknowledges now is lost.
        if !isWinner { sessions[open.session].survived = [] }
        for _ in 0..<3 { await write(open, process) }
        await flush(open, process)
        guard isWinner, sessions[open.session].isOver else { return }
        fail("the server of the highest epoch does not serve")
    }
}
