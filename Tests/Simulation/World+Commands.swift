import Cleaner
import StoreCore
import Volumes

/// Commands, while volumes are in use: create, snapshot, branch, roll back, delete, collect garbage, verify.
extension World {
    func operate() async {
        while !isEnding {
            await scheduler.pass(scheduler.delay(50_000_000, 3_000_000_000))
            let up = servers.filter(\.isUp)
            guard !up.isEmpty else { continue }
            await command(on: up[draw(up.count)])
        }
    }

    private func command(on server: Server) async {
        switch draw(20) {
        case 0..<5: await snapshot(on: server)
        case 5..<8: await branch(on: server)
        case 8..<12: await collectGarbage(on: server)
        case 12: await create(on: server)
        case 13: await deleteSnapshot(on: server)
        case 14: await deleteVolume(on: server)
        case 15..<17: await rollBack(on: server)
        case 17: await checkSnapshot(on: server)
        case 18: await verify(on: server)
        default: await resize(on: server)
        }
    }

    private func newName() -> String {
        names += 1
        return "v\(names)"
    }
    private func anyVolume() -> String? {
        let all = latest.keys.sorted()
        return all.isEmpty ? nil : all[draw(all.count)]
    }
    private func anyKnownSnapshot() -> String? {
        let known = snapshots.filter { $0.value != nil }.keys.sorted()
        return known.isEmpty ? nil : known[draw(known.count)]
    }

    func create(on server: Server) async {
        guard latest.count < 4, let engine = server.engine, let process = server.process else { return }
        let name = newName()
        let sectors = (64 + draw(192)) * 8
        let done = await attempt("create \(name)", on: process) {
            try await engine.create(name, sizeBytes: UInt64(sectors * Sector.byteCount))
        }
        // One that was perhaps made is never used; its name is not used again.
        guard let done else { return }
        volumeIDs[name] = done.id
        let number = begin(name, on: server, base: Array(repeating: Sector.zero, count: sectors))
        sessions[number].isOver = true
        count("volumes")
    }

    /// Of a volume that is open here; it holds what was answered before, and nothing that was asked for after.
    func snapshot(on server: Server) async {
        guard let name = server.open.keys.sorted().first, snapshots.count < 8, await lock(name) else { return }
        defer { unlock(name) }
        guard let engine = server.engine, let process = server.process, let open = server.open[name] else { return }
        let promised = acknowledged(in: open.session)
        let full = "\(name)@\(newName())"
        let short = String(full.drop { $0 != "@" }.dropFirst())
        let done = await attempt("snapshot \(full)", on: process, allowing: lateAnswers(open.session)) {
            try await engine.snapshot(name, name: short)
        }
        guard done != nil else {
            snapshots[full] = .some(nil)
            doubtful.insert(full)
            return
        }
        count("snapshots")
        let before = sessions[open.session]
        noteFlushed(promised, in: open.session, isPinned: true)
        let changes = sessions[open.session].changes
        snapshots[full] = .some(nil)
        guard let found = await readSnapshot(full, on: server) else { return }
        // A server that has lost the volume, and knows it, takes it from the store: as its successor left it.
        if latest[name] == open.session {
            let problem = problem(found, promised: promised, among: changes, in: open.session)
            // Without a journal, one that failed and was opened anew meanwhile may have lost what was not flushed.
            if let problem {
                guard !plan.volume.isJournaled, await epoch(of: name, engine, on: process) != before.epoch,
                    self.problem(found, promised: before.stored, among: changes, in: open.session) == nil
                else {
                    return fail("\(full), of session \(open.session): \(problem)")
                }
                (sessions[open.session].stored, sessions[open.session].synced) = (before.stored, before.synced)
                sessions[open.session].isOver = true
            }
        }
        snapshots[full] = found
    }

    func branch(on server: Server) async {
        guard latest.count < 4, let engine = server.engine, let process = server.process else { return }
        let new = newName()
        if draw(2) == 0, let source = anyKnownSnapshot(), let contents = snapshots[source] ?? nil {
            let reference = reference(source)
            let done = await attempt("branch \(source)", on: process, allowing: [.notFound]) {
                try await engine.branch(reference, to: new)
            }
            guard let done else { return }
            volumeIDs[new] = done.id
            let number = begin(new, on: server, base: contents)
            sessions[number].isOver = true
            count("branches")
            return
        }
        guard let name = server.open.keys.sorted().last, await lock(name) else { return }
        defer { unlock(name) }
        guard server.engine === engine, let open = server.open[name], latest[name] == open.session else { return }
        let promised = acknowledged(in: open.session)
        let done = await attempt("branch \(name)", on: process, allowing: lateAnswers(open.session)) {
            try await engine.branch(VolumeReference(volume: name), to: new)
        }
        guard let done else { return }
        volumeIDs[new] = done.id
        count("branches")
        // The new volume begins as a session that nobody writes to, with the source's changes of this moment.
        noteFlushed(promised, in: open.session, isPinned: true)
        var session = sessions[open.session]
        let number = sessions.count
        session = Session(
            number: number, volume: new, host: server.host.name, flushesToStore: session.flushesToStore,
            base: session.base, opened: session.opened, changes: session.changes, stored: promised, isOver: true)
        session.holding = .stored
        sessions.append(session)
        latest[new] = number
    }

    private func noteFlushed(_ covered: Set<Int>, in number: Int, isPinned: Bool) {
        sessions[number].synced.formUnion(covered)
        sessions[number].stored.formUnion(covered)
    }

    private func problem(
        _ found: [UInt64], promised: Set<Int>, among changes: [Change], in session: Int
    ) -> String? {
        var search = PrefixSearch(sessions[session], found: found, changes: changes)
        return search.run(promised: promised)
    }

    func reference(_ text: String) -> VolumeReference {
        let parts = text.split(separator: "@").map(String.init)
        return VolumeReference(volume: parts[0], snapshot: parts.count > 1 ? parts[1] : nil)
    }

    func readSnapshot(_ name: String, on server: Server) async -> [UInt64]? {
        guard let engine = server.engine, let process = server.process else { return nil }
        // Another command may delete it meanwhile.
        func missing() -> Set<ErrorCode> {
            doubtful.contains(name) || !snapshots.keys.contains(name) ? [.notFound] : []
        }
        let device = await attempt("attach \(name)", on: process, allowing: missing()) { try await engine.attach(name) }
        guard let device else { return nil }
        let found = await readAll(device, on: process, allowing: missing())
        _ = await attempt("detach", on: process) { await engine.detach(device) }
        return found
    }

    /// What is pinned never changes.
    func checkSnapshot(on server: Server) async {
        let all = snapshots.keys.sorted()
        guard !all.isEmpty else { return }
        let name = all[draw(all.count)]
        guard let found = await readSnapshot(name, on: server), snapshots.keys.contains(name) else { return }
        if let known = snapshots[name] ?? nil {
            if found != known { fail("snapshot \(name) has changed") }
            count("snapshots checked")
        } else {
            snapshots[name] = found
        }
    }

    func deleteSnapshot(on server: Server) async {
        guard let engine = server.engine, let process = server.process else { return }
        let all = snapshots.keys.sorted()
        guard !all.isEmpty else { return }
        let name = all[draw(all.count)]
        guard let volume = name.split(separator: "@").first.map(String.init), await lock(volume) else { return }
        defer { unlock(volume) }
        // Another command was faster.
        guard snapshots.keys.contains(name) else { return }
        let isDoubtful = !doubtful.insert(name).inserted
        let reference = reference(name)
        let done = await attempt(
            "delete \(name)", on: process, allowing: isDoubtful ? [.notFound, .invalid] : [.invalid]
        ) { try await engine.delete(reference, force: false) }
        if done != nil {
            snapshots.removeValue(forKey: name)
            doubtful.remove(name)
            count("snapshots deleted")
        }
    }

    func deleteVolume(on server: Server) async {
        guard latest.count > 1, let name = anyVolume(), let engine = server.engine, let process = server.process,
            await lock(name)
        else { return }
        defer { unlock(name) }
        // Clients of it here are sent away first.
        if let open = server.open.removeValue(forKey: name) {
            while changing[open.session, default: 0] != 0, process.isAlive { await scheduler.pass(5_000_000) }
            _ = await attempt("detach", on: process) { await self.detach(open.device, from: engine) }
        }
        doubtful.insert(name)
        doubtful.formUnion(snapshots.keys.filter { $0.hasPrefix(name + "@") })
        let done = await attempt("delete \(name)", on: process, allowing: [.notFound]) {
            try await engine.delete(VolumeReference(volume: name), force: true)
        }
        // One that was perhaps deleted is not looked at again either.
        latest.removeValue(forKey: name)
        for snapshot in snapshots.keys where snapshot.hasPrefix(name + "@") {
            snapshots.removeValue(forKey: snapshot)
        }
        if done != nil { count("volumes deleted") }
    }

    func rollBack(on server: Server) async {
        guard let target = anyKnownSnapshot(), let contents = snapshots[target] ?? nil else { return }
        let reference = reference(target)
        let name = reference.volume
        guard latest[name] != nil, let engine = server.engine, let process = server.process, await lock(name) else {
            return
        }
        defer { unlock(name) }
        guard let open = server.open.removeValue(forKey: name) else { return }
        while changing[open.session, default: 0] != 0, process.isAlive { await scheduler.pass(5_000_000) }
        _ = await attempt("detach", on: process) { await self.detach(open.device, from: engine) }
        sessions[open.session].isOver = true
        guard latest[name] == open.session else { return }
        let done = await attempt("roll back to \(target)", on: process, allowing: [.notFound]) {
            try await engine.rollback(reference, force: true)
        }
        guard let done else {
            sessions[open.session].alternatives.append(contents)
            return
        }
        count("rollbacks")
        snapshots[done.safetySnapshot] = .some(nil)
        let number = begin(name, on: server, base: contents)
        sessions[number].isOver = true
    }

    func collectGarbage(on server: Server) async {
        guard let engine = server.engine, let process = server.process else { return }
        let done = await attempt("gc", on: process) { try await engine.collectGarbage(dryRun: false) { _ in } }
        guard let done else { return }
        count("gc passes")
        count("segments repacked", Int(done.segmentsRepacked))
    }

    private func verify(on server: Server) async {
        guard let engine = server.engine, let process = server.process, !plan.damagesReads else { return }
        let allowed: Set<ErrorCode> = [.notFound, .corrupt]
        let report = await attempt("verify", on: process, allowing: allowed) {
            try await engine.verify(nil, deep: true) { _ in }
        }
        if report != nil { count("verifications") }
    }

    func resize(on server: Server) async {
        guard let name = server.open.keys.sorted().first, await lock(name) else { return }
        defer { unlock(name) }
        guard let session = server.open[name]?.session else { return }
        for _ in 0..<100 where changing[session, default: 0] != 0 { await scheduler.pass(2_000_000) }
        guard let engine = server.engine, let process = server.process, let open = server.open[name],
            open.session == session, changing[session, default: 0] == 0
        else { return }
        changing[session] = -1
        defer { changing[session] = 0 }
        let old = Int(open.device.size) / Sector.byteCount
        let new = max(64, old / 8 + draw(64) - 32) * 8
        // What was cut off must not come back with the room.
        let sizes = new < old && draw(3) > 0 ? [new, old] : [new]
        for size in sizes where !sessions[session].isOver {
            await resize(name, open.device, to: size, in: session, of: engine, on: process)
        }
    }

    private func resize(
        _ name: String, _ device: any BlockDevice, to new: Int, in session: Int, of engine: Engine,
        on process: SimulatedProcess
    ) async {
        let connected = device as? NBDDevice
        let old = Int(device.size) / Sector.byteCount
        guard new != old else { return }
        let index = sessions[session].changes.count
        if new < old {
            sessions[session].changes.append(Change(kind: .zero, sectors: new..<old, begin: nextEvent()))
        }
        sessions[session].changes.append(Change(kind: .resize(new), sectors: new..<new, begin: nextEvent()))
        connected?.resizes += 1
        let done = await attempt("resize \(name)", on: process, allowing: lateAnswers(session)) {
            try await engine.resize(name, to: UInt64(new * Sector.byteCount), force: true)
        }
        let all = index..<sessions[session].changes.count
        for change in all {
            sessions[session].changes[change].end = nextEvent()
            sessions[session].changes[change].isAcknowledged = done != nil
        }
        guard done != nil else {
            sessions[session].isOver = true
            return
        }
        connected?.size = UInt64(new * Sector.byteCount)
        noteFlushed(Set(all), in: session, isPinned: true)
        count("resizes")
    }
}
