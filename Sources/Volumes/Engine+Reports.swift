import BlockMap
import Cleaner
import Journal
import Snapshots
public import StoreCore
import Synchronization

/// What `list` and `info` say.
extension Engine {
    /// Every volume, each followed by its snapshots, by name.
    public func list() async throws -> [VolumeReport] {
        let catalog = try await catalog.newest()
        let usage = try await UsageSurvey(store: store, keys: keys, maps: context.maps, time: context.time)
            .survey(catalog)
        var reports: [VolumeReport] = []
        for record in catalog.volumes {
            reports.append(try await summary(of: record, usage: usage))
            reports += catalog.snapshots(of: record.id).map { VolumeReport(of: $0, in: record, usage: usage) }
        }
        return reports
    }

    public func info(_ reference: VolumeReference) async throws -> VolumeDetails {
        let catalog = try await catalog.newest()
        let (record, snapshot) = try catalog.resolve(reference)
        let usage = try await UsageSurvey(store: store, keys: keys, maps: context.maps, time: context.time)
            .survey(catalog)
        let manifest = try await manifest(of: record)
        var state = manifest.state
        var summary = try await summary(of: record, usage: usage)
        if let snapshot {
            state = try await PinnedVersion.load(snapshot.version, from: store, keys: keys).state
            summary = VolumeReport(of: snapshot, in: record, usage: usage)
        }
        let root: UsageRoot = snapshot.map { .snapshot($0.id) } ?? .volume(record.id)
        let runs = state.map.allRuns
        return VolumeDetails(
            summary: summary, epoch: manifest.epoch.value, manifestNumber: manifest.number,
            coveredPosition: "\(state.covered)", runCount: runs.count, runBytes: state.map.byteCount,
            extentCount: runs.reduce(0) { $0 + $1.extentCount }, segmentCount: usage[root]?.segmentCount ?? 0,
            storedBytes: usage[root]?.storedBytes ?? 0, snapshots: catalog.snapshots(of: record.id).map(\.name),
            branches: catalog.children(of: record.id).map(\.name), durability: settings.volume.durability.rawValue)
    }

    /// One volume or snapshot, without a survey of its usage.
    func summary(of reference: VolumeReference) async throws -> VolumeReport {
        let (record, snapshot) = try await catalog.newest().resolve(reference)
        if let snapshot { return VolumeReport(of: snapshot, in: record) }
        return try await summary(of: record)
    }
    private func summary(of record: VolumeRecord, usage: [UsageRoot: Usage] = [:]) async throws -> VolumeReport {
        let manifest = try await manifest(of: record)
        let open = await openVolume(record.id)
        var report = VolumeReport(of: record, sizeBytes: open?.size ?? manifest.state.sizeBytes)
        report.writtenBytes = usage[.volume(record.id)]?.writtenBytes
        report.uniqueBytes = usage[.volume(record.id)]?.uniqueBytes
        report.attachedCount = open?.attachedCount
        report.loss = open?.loss?.reason
        report.owner = manifest.owner.flatMap { $0.isReleased ? nil : $0.host }
        return report
    }
}

extension VolumeReport {
    init(of record: VolumeRecord, sizeBytes: UInt64) {
        self.init(
            name: record.name, kind: record.parent == nil ? .volume : .branch, id: "\(record.id)", sizeBytes: sizeBytes,
            created: record.created.utcText, parent: record.parent?.name, holds: record.holds)
    }
    init(of snapshot: SnapshotRecord, in record: VolumeRecord, usage: [UsageRoot: Usage] = [:]) {
        self.init(
            name: "\(record.name)@\(snapshot.name)", kind: .snapshot, id: "\(snapshot.id)",
            sizeBytes: snapshot.sizeBytes, writtenBytes: usage[.snapshot(snapshot.id)]?.writtenBytes,
            uniqueBytes: usage[.snapshot(snapshot.id)]?.uniqueBytes, created: snapshot.created.utcText,
            parent: record.name, holds: snapshot.holds)
    }
}
