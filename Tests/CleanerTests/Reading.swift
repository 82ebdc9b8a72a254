import BlockMap
import Cache
import Codec
import ObjectStorage
import SegmentLog
import Snapshots
import StoreCore
import Testing

@testable import Cleaner

/// Reads everything that the catalog names as a reader would, through relocations, and compares with what is expected.
extension World {
    func check(_ comment: String = "", sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let catalog = CatalogLog(store: memory, keys: keys, time: time)
        let state = try await catalog.newest()
        var found: Set<String> = []
        for volume in state.volumes {
            found.insert(volume.name)
            let contents = try await contents(of: volume)
            #expect(
                contents == expected[volume.name], "volume \(volume.name) \(comment)", sourceLocation: sourceLocation)
            for snapshot in state.snapshots(of: volume.id) {
                let name = "\(volume.name)@\(snapshot.name)"
                found.insert(name)
                let version = try await PinnedVersion.load(snapshot.version, from: memory, keys: keys)
                let contents = try await self.contents(
                    version.state.map, Memtable(), blocks: version.state.sizeBytes / 4096)
                #expect(contents == expected[name], "snapshot \(name) \(comment)", sourceLocation: sourceLocation)
            }
        }
        #expect(found == Set(expected.keys), "\(comment)", sourceLocation: sourceLocation)
    }

    private func contents(of volume: VolumeRecord) async throws -> Contents {
        let manifests = ManifestLog(volume: volume.id, store: memory, keys: keys, time: time)
        let manifest = try #require(try await manifests.newest())
        var ends = manifest.closedEpochs.map { EpochEnd(epoch: $0.epoch, end: $0.end) }
        let covered = manifest.state.covered
        for epoch in manifest.openEpochs where epoch >= covered.epoch {
            let after = epoch == covered.epoch ? covered.sequence : SegmentSequence(0)
            let tail = try await EpochLog(of: volume.id, epoch, store: memory, keys: keys).contiguousTail(after: after)
            ends.append(EpochEnd(epoch: epoch, end: tail.end))
        }
        ends = ends.filter { $0.epoch >= covered.epoch }.sorted { $0.epoch < $1.epoch }
        var memtable = Memtable()
        let start = LogCursor(
            position: covered, hash: manifest.state.coveredHash, lastWrite: manifest.state.coveredWrite)
        _ = try await EpochLog.tail(of: volume.id, from: start, through: ends, store: memory, keys: keys) {
            memtable.insert($1.extents(of: $0))
        }
        return try await contents(manifest.state.map, memtable, blocks: manifest.state.sizeBytes / 4096)
    }

    /// Blocks of each volume's map and of each snapshot that nobody can read, where there are any; by name.
    func unreadableBlocks() async throws -> [String: Set<UInt64>] {
        let state = try await CatalogLog(store: memory, keys: keys, time: time).newest()
        var states: [String: VolumeState] = [:]
        for volume in state.volumes {
            let manifests = ManifestLog(volume: volume.id, store: memory, keys: keys, time: time)
            states[volume.name] = try #require(try await manifests.newest()).state
            for snapshot in state.snapshots(of: volume.id) {
                let version = try await PinnedVersion.load(snapshot.version, from: memory, keys: keys)
                states["\(volume.name)@\(snapshot.name)"] = version.state
            }
        }
        var unreadable: [String: Set<UInt64>] = [:]
        let reader = maps(memory)
        for (name, state) in states {
            for block in 0..<state.sizeBytes / 4096 {
                do {
                    let one = BlockRange(first: BlockIndex(block), count: 1)
                    _ = try await contents(state.map, Memtable(), one, reader)
                } catch { unreadable[name, default: []].insert(block) }
            }
        }
        return unreadable
    }

    private func contents(_ map: MapLayout, _ memtable: Memtable, blocks: UInt64) async throws -> Contents {
        try await contents(map, memtable, BlockRange(first: BlockIndex(0), count: blocks), maps(memory))
    }
    private func contents(_ map: MapLayout, _ memtable: Memtable, _ range: BlockRange, _ maps: MapReader) async throws
        -> Contents
    {
        var merged = Memtable()
        merged.insert(try await maps.lookup(range, in: map))
        merged.insert(memtable.extents)
        var contents: Contents = [:]
        let relocations = RelocationLog(store: memory, keys: keys)
        for extent in merged.extents {
            guard case .data(let location) = extent.mapping else { continue }
            let bytes = try await record(location, relocations)
            for index in 0..<extent.range.count {
                let start = (Int(location.blockOffset) + Int(index)) * blockBytes
                contents[extent.range.first.value + index] = value(of: bytes[start..<start + blockBytes])
            }
        }
        return contents
    }

    private func record(_ location: BlockLocation, _ relocations: RelocationLog) async throws -> [UInt8] {
        var (segment, record) = (location.segment, location.record)
        for _ in 0..<16 {
            do {
                let range = UInt64(record.position)..<UInt64(record.position) + UInt64(record.byteCount)
                let frame = try await memory.get(segment.id.key, range: range)
                return try SegmentReader.openRecord(frame[...], record, of: segment, keys: keys)
            } catch  where error.storageCode == .notFound {
                guard let place = try await relocations.relocation(of: segment)?.places[record.position] else {
                    throw StorageError(.corrupt, "record \(record) of segment \(segment) is lost", cause: error)
                }
                (segment, record) = (place.segment, place.record)
            }
        }
        throw StorageError(.corrupt, "moved in a circle")
    }

    private func value(of bytes: ArraySlice<UInt8>) -> UInt64 { bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } }
}

/// What is in the store against what is reachable, worked out anew and simply.
extension World {
    func checkNothingElseIsLeft(_ comment: String = "", sourceLocation: SourceLocation = #_sourceLocation) async throws
    {
        let state = try await CatalogLog(store: memory, keys: keys, time: time).newest()
        var wanted: Set<String> = []
        var runs: Set<String> = []
        var segments: Set<SegmentID> = []
        var covered: [VolumeID: LogPosition] = [:]
        func add(_ map: MapLayout) async throws {
            for run in map.allRuns where runs.insert(run.key.text).inserted {
                try await maps(memory).forEachSegment(of: run) { segments.insert($0.segment.id) }
            }
        }
        for volume in state.volumes {
            let manifest = try #require(
                try await ManifestLog(volume: volume.id, store: memory, keys: keys, time: time).newest())
            wanted.insert(manifest.key.text)
            covered[volume.id] = manifest.state.covered
            try await add(manifest.state.map)
        }
        for snapshot in state.snapshots {
            wanted.insert(snapshot.version.key.text)
            try await add(try await PinnedVersion.load(snapshot.version, from: memory, keys: keys).state.map)
        }
        var frontier = Array(segments)
        while let segment = frontier.popLast() {
            let key = RelocationRecord.key(of: segment)
            guard let record = try await RelocationLog.record(of: segment, store: memory, keys: keys) else { continue }
            wanted.insert(key.text)
            #expect(
                !memory.keys.contains(segment.key), "\(segment) was repacked \(comment)", sourceLocation: sourceLocation
            )
            for target in record.targets where segments.insert(target.id).inserted { frontier.append(target.id) }
        }
        wanted.formUnion(runs)
        wanted.formUnion(segments.map(\.key.text))
        let left = memory.keys.filter { key in
            guard !wanted.contains(key.text) else { return false }
            switch ObjectName(key) {
            case .catalog, .catalogPage, .generation, .superblock, .unknown: return false
            case .segment(.log(let volume, let epoch, let sequence)):
                let isFence = memory.snapshotOfObjects()[key]?.count ?? 0 <= Fence.objectBytesMax
                guard let covered = covered[volume] else { return true }
                return !isFence && LogPosition(epoch: epoch, sequence: sequence) <= covered
            default: return true
            }
        }
        #expect(left.isEmpty, "\(comment)", sourceLocation: sourceLocation)
    }
}
