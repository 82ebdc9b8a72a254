import Cleaner
import ObjectStorage
import StoreCore
import Volumes

/// The end of a run: all is healed, and everything that was promised must be there; then all is deleted, and nothing
/// may stay.
extension World {
    func finish() async {
        heal()
        for server in servers {
            server.process?.kill()
            server.forget()
        }
        // What was still on its way to the store arrives.
        await scheduler.pass(700_000_000_000)
        let server = servers[draw(servers.count)]
        guard await start(server, takeOver: true) else { return fail("no server starts on a healthy host") }
        await checkAll(on: server)
        await checkSpace(on: server)
        await deleteAll(on: server)
    }

    private func heal() {
        bucket.faults = StoreFaults()
        bucket.faults.latencyMax = 1_000_000
        bucket.outageEnd = 0
        plan.nbd?.cuts = 0
        killing = nil
        for server in servers {
            server.host.disk.faults = DiskFaults()
            server.process?.resume()
        }
    }

    private func checkAll(on server: Server) async {
        for name in latest.keys.sorted() {
            let isDoubtful = doubtful.contains(name)
            guard await open(name, on: server) == nil, !isDoubtful else { continue }
            return fail("\(name) cannot be opened on a healthy host")
        }
        for name in snapshots.keys.sorted() {
            guard let found = await readSnapshot(name, on: server) else {
                if doubtful.contains(name) || snapshots[name] == .some(nil) { continue }
                return fail("snapshot \(name) cannot be read on a healthy host")
            }
            if let known = snapshots[name] ?? nil, known != found { return fail("snapshot \(name) has changed") }
            snapshots[name] = found
        }
    }

    /// Nothing that is named is damaged or missing, and what gc keeps is what there is.
    private func checkSpace(on server: Server) async {
        guard let engine = server.engine, let process = server.process else { return }
        let report = await attempt("gc", on: process) { try await engine.collectGarbage(dryRun: false) { _ in } }
        guard let report else { return fail("gc does not end on a healthy store") }
        let bytes = bucket.contents.values.reduce(0) { $0 + UInt64($1.count) }
        if report.bytesAfter != bytes { fail("gc counts \(report.bytesAfter) bytes, there are \(bytes)") }
        let verified = await attempt("verify", on: process) { try await engine.verify(nil, deep: true) { _ in } }
        guard let verified else { return fail("verify does not end on a healthy store") }
        if !verified.damaged.isEmpty { fail("verify finds damage: \(verified.damaged)") }
        // What gc moved must still read as it did.
        for name in server.open.keys.sorted() {
            guard let open = server.open[name] else { continue }
            let found = await readAll(open.device, on: process)
            if found != sessions[open.session].opened { fail("\(name) has changed by gc") }
        }
    }

    private func deleteAll(on server: Server) async {
        guard let engine = server.engine, let process = server.process else { return }
        for (_, open) in server.open.sorted(by: { $0.key < $1.key }) {
            _ = await attempt("detach", on: process) { await self.detach(open.device, from: engine) }
        }
        guard let names = await attempt("list", on: process, { try await engine.exportNames() }) else {
            return fail("list does not end on a healthy store")
        }
        for name in names where !name.contains("@") {
            let done = await attempt("delete", on: process) {
                try await engine.delete(VolumeReference(volume: name), force: true)
            }
            if done == nil { return fail("\(name) cannot be deleted on a healthy store") }
        }
        for _ in 0..<3 {
            server.host.clockOffset += 30 * 86_400_000_000_000
            let report = await attempt("gc", on: process) { try await engine.collectGarbage(dryRun: false) { _ in } }
            if report == nil { return fail("gc does not end on a healthy store") }
        }
        let kept = ["superblock/", "catalog/", "catalog-page/", "cleaner/"]
        let left = bucket.keys.map(\.text).filter { key in !kept.contains { key.hasPrefix($0) } }
        if !left.isEmpty { fail("\(left.count) objects stay for ever, such as \(left.prefix(3))") }
    }
}
