import Cleaner
public import Codec
import Logging
public import ObjectStorage
import Snapshots
public import StoreCore
import Synchronization

/// Data keys: which there are, a new one, and the end of old ones.
extension Engine {
    /// - Parameter counting: reads each object's header, to tell what lies under which key.
    public func listKeys(counting: Bool, progress: @escaping ProgressHandler) async throws -> KeysReport {
        try await storeKeys.refresh()
        let superblock = storeKeys.superblock
        let usage = counting ? try await surveyKeys(progress) : [:]
        let held = superblock.keyIDs
        let keys = Set(held).union(usage.keys).sorted().map { id -> KeysReport.Key in
            let used = counting ? usage[id] ?? KeyUsage() : nil
            return KeysReport.Key(
                id: id.value, isCurrent: id == superblock.currentKeyID, isHeld: held.contains(id),
                objects: used?.objects, bytes: used?.bytes, perKind: used?.perKind, firstObject: used?.first?.utcText,
                lastObject: used?.last?.utcText)
        }
        return KeysReport(
            storeID: superblock.storeID.hex, created: superblock.created.utcText, superblock: superblock.number,
            unlockedBy: superblock.method.name, derivation: superblock.method.derivation,
            cipher: superblock.algorithm.name, keys: keys)
    }

    /// A new data key for new objects. This process uses it at once, others as soon as they meet it.
    public func rotateKeys(rewrite: Bool, progress: @escaping ProgressHandler) async throws -> RotationReport {
        try await storeKeys.refresh()
        let made = try await storeKeys.superblocks.addKey(try await storeKeys.unlock())
        try storeKeys.adopt(made)
        await saveMarks()
        // So that others learn of it, and that no catalog number under the older key can follow.
        try await catalog.commit { $0.renewPages() }
        log.notice("the store has a new data key, \(made.superblock.currentKeyID)")
        var report = RotationReport(
            current: made.superblock.currentKeyID.value, superblock: made.number,
            older: made.superblock.keyIDs.filter { $0 != made.superblock.currentKeyID }.map(\.value))
        if rewrite { report.rewrite = try await rewriteKeys(progress: progress) }
        return report
    }

    /// Moves everything to the current data key and, when nothing is left under older ones and nobody can add to it,
    /// takes those out of the superblock. May be stopped and run again.
    public func rewriteKeys(progress: @escaping ProgressHandler) async throws -> RewriteReport {
        try await storeKeys.refresh()
        let superblock = storeKeys.superblock
        let current = superblock.currentKeyID
        var report = RewriteReport(current: current)
        let old = Set(superblock.keyIDs).subtracting([current])
        guard !old.isEmpty else { return report }
        let rewriting = KeyRewriting(engine: self, old: old, progress: progress)
        try await rewriting.run(&report)
        let usage = try await surveyKeys(progress)
        report.remaining = old.sorted().compactMap { id in
            guard let used = usage[id], used.needed > 0 else { return nil }
            return RewriteReport.Remainder(key: id.value, perKind: used.neededPerKind, examples: used.examples)
        }
        report.reasons += try await rewriting.reasonsToKeep()
        if report.isFinished { report.reasons += try await rewriting.problemsWithoutOldKeys() }
        guard report.isFinished else { return report }
        let retired = try await storeKeys.superblocks.retire(old, try await storeKeys.unlock())
        try storeKeys.adopt(retired)
        await saveMarks()
        report.retired = old.sorted().map(\.value)
        log.notice("data keys retired: \(report.retired)")
        return report
    }

    /// Lets another passphrase or key file open a store, and no longer the old one. Needs no engine, and disturbs none.
    ///
    /// Throws `denied` where neither opens it, `busy` where another change came first. May be repeated after a crash.
    /// - Parameter dataDirectory: what it has seen of the store guards against one that was put back.
    /// - Returns: the superblock's number, and whether it was so already.
    public static func changeUnlock(
        of store: any ObjectStore, from old: Unlock, to new: Unlock, dataDirectory: String, machine: Machine = .system
    ) async throws -> (number: UInt64, wasDone: Bool) {
        let marks = try await marks(in: dataDirectory, machine).marks
        return try await SuperblockLog(store: store, workers: machine.workers).rewrap(from: old, to: new, marks: marks)
    }

    func surveyKeys(_ progress: @escaping ProgressHandler) async throws -> [DataKeyID: KeyUsage] {
        var named: [VolumeID: Set<Epoch>] = [:]
        for volume in try await catalog.newest().volumes {
            let manifest = try await manifest(of: volume)
            named[volume.id] = Set(manifest.openEpochs + manifest.closedEpochs.map(\.epoch))
        }
        return try await KeySurvey(store: store, namedEpochs: named).run {
            progress(ProgressReport(phase: $0, done: $1, total: $2))
        }
    }
}

extension UnlockMethod {
    fileprivate var name: String { if case .passphrase = self { "passphrase" } else { "key-file" } }
    fileprivate var derivation: String {
        switch self {
        case .passphrase(let cost):
            "scrypt N=2^\(cost.logN) r=\(cost.blockSize) p=\(cost.parallelism)"
        case .keyFile: "HKDF-SHA256"
        }
    }
}
