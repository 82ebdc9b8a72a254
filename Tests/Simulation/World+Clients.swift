import StoreCore
import Volumes

/// Clients: reads, writes, zeroes, flushes, on whatever is open where.
extension World {
    func client() async {
        while !isEnding {
            await scheduler.pass(scheduler.delay(10_000, 60_000_000))
            guard let (server, name) = target(), let open = await open(name, on: server) else {
                await scheduler.pass(50_000_000)
                continue
            }
            for _ in 0..<1 + draw(8) where !isEnding && server.open[name]?.session == open.session {
                await request(open, name, on: server)
            }
        }
    }

    private func target() -> (Server, String)? {
        let up = servers.filter(\.isUp)
        let volumes = latest.keys.sorted()
        guard !up.isEmpty, !volumes.isEmpty else { return nil }
        let server = up[draw(up.count)]
        // Mostly where it is open already.
        let here = server.open.keys.sorted()
        if !here.isEmpty, draw(8) != 0 { return (server, here[draw(here.count)]) }
        return (server, volumes[draw(volumes.count)])
    }

    private func request(_ open: Server.OpenVolume, _ name: String, on server: Server) async {
        guard let process = server.process else { return }
        switch draw(20) {
        case 0..<11: await write(open, process)
        case 11..<13: await zero(open, process)
        case 13..<16: await flush(open, process)
        default: await read(open, process)
        }
        if sessions[open.session].isOver, server.open[name]?.session == open.session {
            server.open[name] = nil
            if let engine = server.engine {
                _ = await attempt("detach", on: process) { await self.detach(open.device, from: engine) }
            }
        }
    }

    /// A range of sectors, mostly whole blocks.
    private func range(_ open: Server.OpenVolume) -> Range<Int> {
        let total = Int(open.device.size) / Sector.byteCount
        let most = [8, 32, 128][draw(3)]
        var first = draw(total), count = 1 + draw(most)
        if draw(4) != 0 { (first, count) = (first / 8 * 8, (count + 7) / 8 * 8) }
        return first..<min(first + count, total)
    }

    func write(_ open: Server.OpenVolume, _ process: SimulatedProcess) async {
        let session = open.session
        guard changing[session, default: 0] >= 0 else { return }
        changing[session, default: 0] += 1
        defer { changing[session, default: 0] -= 1 }
        let sectors = range(open)
        let index = sessions[session].changes.count
        let tag = UInt64(session + 1) << 32 | UInt64(index + 1)
        sessions[session].changes.append(Change(kind: .write(tag: tag), sectors: sectors, begin: nextEvent()))
        let fua = draw(16) == 0
        let buffer = IOBuffer(count: sectors.count * Sector.byteCount)
        Sector.fill(buffer, tag: tag, first: sectors.lowerBound)
        let device = open.device
        let done: Void? = await attempt("write", on: process, allowing: lateAnswers(session)) {
            let offset = UInt64(sectors.lowerBound * Sector.byteCount)
            if !fua, try buffer.withBytes({ try device.writeNow(at: offset, from: $0) }) { return }
            try await device.write(at: offset, from: buffer, fua: fua)
        }
        finish(session, index, done != nil, process)
        if done != nil, fua { noteFlushed([index], in: session) }
        count("writes")
    }

    func zero(_ open: Server.OpenVolume, _ process: SimulatedProcess) async {
        let session = open.session
        guard changing[session, default: 0] == 0 else { return }
        changing[session] = -1
        defer { changing[session] = 0 }
        var sectors = range(open)
        // Either whole blocks or a part of one: anything else is more than one change.
        if sectors.lowerBound % 8 != 0 || sectors.upperBound % 8 != 0 {
            let end = (sectors.lowerBound / 8 + 1) * 8
            sectors = sectors.lowerBound..<min(sectors.upperBound, end)
        }
        let index = sessions[session].changes.count
        sessions[session].changes.append(Change(kind: .zero, sectors: sectors, begin: nextEvent()))
        let device = open.device
        let isTrim = draw(2) == 0
        let part = sectors
        let done: Void? = await attempt("zero", on: process, allowing: lateAnswers(session)) {
            let offset = UInt64(part.lowerBound * Sector.byteCount), count = UInt64(part.count * Sector.byteCount)
            if isTrim {
                try await device.trim(at: offset, count: count, fua: false)
            } else {
                try await device.writeZeroes(at: offset, count: count, fua: false)
            }
        }
        finish(session, index, done != nil, process)
        count("zeroes")
    }

    private func finish(_ session: Int, _ index: Int, _ isDone: Bool, _ process: SimulatedProcess) {
        sessions[session].changes[index].end = nextEvent()
        sessions[session].changes[index].isAcknowledged = isDone
        // What has failed once is opened again; what became of this change is then seen.
        if !isDone { sessions[session].isOver = true }
    }

    func flush(_ open: Server.OpenVolume, _ process: SimulatedProcess) async {
        let covered = acknowledged(in: open.session)
        let device = open.device
        let done: Void? = await attempt("flush", on: process, allowing: lateAnswers(open.session)) {
            try await device.flush()
        }
        if done != nil {
            noteFlushed(covered, in: open.session)
        } else {
            sessions[open.session].isOver = true
        }
        count("flushes")
    }

    private func read(_ open: Server.OpenVolume, _ process: SimulatedProcess) async {
        let sectors = range(open)
        let begin = nextEvent()
        let device = open.device
        let tags = await attempt("read", on: process, allowing: lateAnswers(open.session)) {
            let buffer = IOBuffer(count: sectors.count * Sector.byteCount)
            try await device.read(at: UInt64(sectors.lowerBound * Sector.byteCount), into: buffer)
            return Sector.tags(buffer, first: sectors.lowerBound)
        }
        count("reads")
        guard let tags else { return }
        let near = sessions[open.session].changes.filter { $0.sectors.overlaps(sectors) }
        for (sector, tag) in zip(sectors, tags) {
            guard let problem = sessions[open.session].contradiction(sector, tag, near, readAt: begin) else { continue }
            return fail("\(sessions[open.session].volume), session \(open.session): sector \(sector): \(problem)")
        }
    }
}

extension Session {
    /// Why a read that began then cannot have seen this; nil where it can.
    func contradiction(_ sector: Int, _ tag: UInt64, _ changes: [Change], readAt begin: UInt64) -> String? {
        if tag == Sector.garbage { return "read what was never written" }
        let touching = changes.filter { $0.sectors.contains(sector) }
        let candidates = touching.filter { change in
            switch change.kind {
            case .write(let written): written == tag
            case .zero: tag == Sector.zero
            case .resize: false
            }
        }
        let original = sector < base.count ? base[sector] : Sector.zero
        func isHidden(since end: UInt64) -> Bool {
            touching.contains { change in
                if case .resize = change.kind { return false }
                return change.isAcknowledged && change.end < begin && end < change.begin
            }
        }
        if candidates.contains(where: { !isHidden(since: $0.end) }) { return nil }
        if tag == original, !isHidden(since: 0) { return nil }
        return
            "read \(tag == 0 ? "zeroes" : "write \(tag & 0xffff_ffff) of session \(tag >> 32)"), which was overwritten"
    }
}
