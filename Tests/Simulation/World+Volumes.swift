import ObjectStorage
import StoreCore
import Volumes

/// Opening, and the judgement of what an opening shows.
extension World {
    /// Opens a volume on a server, reads all of it, and judges it by the session before. Returns where it is open.
    func open(_ name: String, on server: Server) async -> Server.OpenVolume? {
        if let open = server.open[name] { return open }
        guard await lock(name) else { return nil }
        defer { unlock(name) }
        if let open = server.open[name] { return open }
        guard let engine = server.engine, let process = server.process, server.isUp else { return nil }
        guard let before = latest[name] else { return nil }
        // What is under way on this very server would come into the next session.
        while sessions[before].host == server.host.name, changing[before, default: 0] != 0, process.isAlive {
            await scheduler.pass(5_000_000)
        }
        if sessions[before].host != server.host.name, server.takesOver || sessions[before].isOver {
            sessions[before].holding = .stored
        }
        let missing: Set<ErrorCode> = doubtful.contains(name) ? [.notFound] : []
        let device = await attempt("open \(name)", on: process, allowing: missing) {
            try await self.attach(name, on: server)
        }
        guard let device else { return nil }
        let epoch = await epoch(of: name, engine, on: process)
        if let earlier = superseded(name, process, epoch) {
            return await goOn(with: earlier, device, on: server, engine)
        }
        // Or the server opened it anew by itself, and lost it before any client asked: nothing was promised there.
        guard epoch >= latest[name].map({ sessions[$0].epoch }) ?? 0 || epoch == 0 else {
            _ = await attempt("detach", on: process) { await self.detach(device, from: engine) }
            count("superseded before any client came")
            return nil
        }
        if sessions[before].host != server.host.name || wasTakenOver(sessions[before]) {
            sessions[before].holding = .stored
        }
        guard let found = await readAll(device, on: process) else {
            _ = await attempt("detach", on: process) { await self.detach(device, from: engine) }
            return nil
        }
        guard server.engine === engine else { return nil }
        guard let before = latest[name], let prefix = judge(found, of: before) else { return nil }
        let session = begin(name, on: server, base: found)
        sessions[session].epoch = epoch
        let old = sessions[before]
        let isFromStore =
            old.host != server.host.name || wasTakenOver(old) || old.hasLostDisk || old.alternatives.contains(found)
        sessions[session].inherit(old, prefix, isFromStore: isFromStore)
        server.open[name] = Server.OpenVolume(device: device, session: session)
        (device as? NBDDevice)?.mayGoOn = { [unowned self] in await mayGoOn(session, engine, process) }
        count("recoveries")
        return server.open[name]
    }

    /// Whether another host has owned the volume since, or as, this session began, seen by its manifests: perhaps no
    /// client of that host ever came, or no client noticed that this one had lost it.
    private func wasTakenOver(_ session: Session) -> Bool {
        guard let id = volumeIDs[session.volume] else { return false }
        let manifests = bucket.history.filter {
            $0.kind == .created && $0.key.text.hasPrefix("volumes/\(id)/manifest/")
        }
        let first = manifests.lastIndex { $0.step <= session.begun } ?? 0
        return manifests[first...].contains { !$0.process.hasPrefix("\(session.host).") }
    }

    func epoch(of name: String, _ engine: Engine, on process: SimulatedProcess) async -> UInt64 {
        let volumes = await attempt("statistics", on: process) { await engine.statistics().volumes }
        return volumes?.first { $0.name == name }?.epoch ?? 0
    }

    /// Whether a client may go on over a new connection: not where another server has owned the volume since.
    private func mayGoOn(_ number: Int, _ engine: Engine, _ process: SimulatedProcess) async -> Bool {
        let session = sessions[number]
        let others = sessions.filter {
            $0.volume == session.volume && $0.process != session.process && $0.epoch > session.epoch
        }
        guard let next = others.map(\.epoch).min() else { return true }
        return await epoch(of: session.volume, engine, on: process) < next
    }

    /// The session of this very opening, where another host has taken the volume over meanwhile and this one has not
    /// noticed yet: what it shows is what it had, and what it promises is judged by what its successor found.
    private func superseded(_ name: String, _ process: SimulatedProcess, _ epoch: UInt64) -> Int? {
        let session = sessions.last { $0.volume == name && $0.process == process.name && $0.epoch == epoch }
        guard let session, epoch > 0, let newest = latest[name], session.number != newest,
            sessions[newest].process != process.name
        else { return nil }
        return session.number
    }
    private func goOn(
        with number: Int, _ device: any BlockDevice, on server: Server, _ engine: Engine
    ) async -> Server.OpenVolume? {
        guard let process = server.process else { return nil }
        // What only it needed may be gone.
        let found = await readAll(device, on: process, allowing: [.notFound, .corrupt])
        guard let found, server.engine === engine else {
            _ = await attempt("detach", on: process) { await self.detach(device, from: engine) }
            return nil
        }
        let session = sessions[number]
        var search = PrefixSearch(session, found: found)
        if let problem = search.run(promised: acknowledged(in: number)) {
            fail("\(session.volume), session \(number), opened once more: \(problem)")
        }
        sessions[number].isOver = false
        server.open[session.volume] = Server.OpenVolume(device: device, session: number)
        count("superseded and opened once more")
        return server.open[session.volume]
    }

    func begin(_ name: String, on server: Server, base: [UInt64]) -> Int {
        var session = Session(
            number: sessions.count, volume: name, host: server.host.name,
            flushesToStore: plan.durability == .store || !plan.volume.isJournaled, base: base, opened: base,
            process: server.process?.name ?? "")
        session.begun = scheduler.steps
        // Without a journal nothing but a flush promises anything.
        if !plan.volume.isJournaled { session.holding = .stored }
        sessions.append(session)
        latest[name] = session.number
        scheduler.note("session \(session.number) of \(name) on \(server.host.name)")
        return session.number
    }

    /// What was found must be a prefix of what that session did, all that was promised included (R1, R2).
    func judge(_ found: [UInt64], of number: Int) -> Set<Int>? {
        let session = sessions[number]
        for alternative in session.alternatives where alternative == found {
            sessions[number].survived = []
            return []
        }
        var search = PrefixSearch(session, found: found)
        let problem = search.run(promised: session.promised)
        if let problem {
            fail(
                """
                \(session.volume), session \(number) on \(session.host) (\(plan.durability.rawValue), what was \
                \(session.holding) must hold, \(session.changes.count) changes): \(problem)
                """)
            return nil
        }
        sessions[number].survived = search.prefix
        sessions[number].seenLater = found
        return search.prefix
    }

    /// Everything on a device, sector by sector; nil when it cannot be read now.
    func readAll(
        _ device: any BlockDevice, on process: SimulatedProcess, allowing: @autoclosure () -> Set<ErrorCode> = []
    ) async -> [UInt64]? {
        var tags: [UInt64] = []
        let size = Int(device.size)
        tags.reserveCapacity(size / Sector.byteCount)
        var failures = 0
        while tags.count * Sector.byteCount < size {
            let first = tags.count
            let bytes = min(256 << 10, size - first * Sector.byteCount)
            let part = await attempt("read \(device.name)", on: process, allowing: allowing()) {
                let buffer = IOBuffer(count: bytes)
                try await device.read(at: UInt64(first * Sector.byteCount), into: buffer)
                return Sector.tags(buffer, first: first)
            }
            if let part {
                tags += part
                continue
            }
            failures += 1
            guard process.isAlive, failures < 5 else { return nil }
            await scheduler.pass(500_000_000)
        }
        return tags
    }

    /// A flush was answered: what it covers will be there. Who was superseded may only acknowledge what its successor
    /// has (R4).
    func noteFlushed(_ covered: Set<Int>, in number: Int) {
        let session = sessions[number]
        sessions[number].synced.formUnion(covered)
        guard session.flushesToStore else { return }
        sessions[number].stored.formUnion(covered)
        guard let survived = session.survived, !covered.isSubset(of: survived) else { return }
        // What left no trace, such as zeroes of zeroes, was there all the same.
        var search = PrefixSearch(session, found: session.seenLater)
        if search.run(promised: covered.union(survived)) == nil {
            sessions[number].survived = search.prefix
            return
        }
        let lost = covered.subtracting(survived).sorted()
        fail(
            "session \(number) of \(session.volume) acknowledged a flush of \(lost.prefix(5)), which its successor lost"
        )
    }
    func acknowledged(in number: Int) -> Set<Int> {
        Set(sessions[number].changes.indices.filter { sessions[number].changes[$0].isAcknowledged })
    }
}
