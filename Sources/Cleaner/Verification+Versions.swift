import BlockMap
import ObjectStorage
import SegmentLog
import Snapshots
import StoreCore

/// Manifests, versions, log tails and runs.
extension Verification {
    mutating func readVolume(_ volume: VolumeRecord, _ state: CatalogState) async throws {
        context.progress("verify versions", UInt64(roots.count), UInt64(state.volumeCount + state.snapshotCount))
        let objects = context.manifests(of: volume.id)
        let numbers = try await objects.numbers(from: volume.manifestFloor)
        if numbers.isEmpty {
            damage.note(objects.prefix, "the volume has no manifest", affecting: [volume.name], missing: true)
        }
        for number in numbers {
            do {
                guard let object = try await objects.read(number) else {
                    // Of older ones nothing is needed; without the newest nothing of the volume would be looked at.
                    if number == numbers.first {
                        damage.note(
                            objects.key(number).text, "it is missing", affecting: [volume.name], missing: true)
                    }
                    continue
                }
                count(object.count)
                let manifest = try Manifest(opening: object, of: volume.id, number: number, keys: context.keys)
                // Older ones stay until the next gc; what they alone name is no part of the volume any more.
                guard number == numbers.first else { continue }
                roots.append(VerifiedRoot(name: volume.name, layout: runs.insert(manifest.state.map)))
                try await checkTail(of: manifest, volume.name)
            } catch  where error.isDamage {
                damage.note(objects.key(number).text, "\(error)", affecting: [volume.name])
            }
        }
    }

    mutating func readSnapshots(_ snapshots: [SnapshotRecord], _ state: CatalogState) async throws {
        for snapshot in snapshots {
            let name = "\(state.volume(snapshot.volume)?.name ?? "\(snapshot.volume)")@\(snapshot.name)"
            do {
                let object = try await context.store.get(snapshot.version.key, range: nil)
                count(object.count)
                let version = try PinnedVersion(opening: object, as: snapshot.version, keys: context.keys)
                roots.append(VerifiedRoot(name: name, layout: runs.insert(version.state.map)))
            } catch  where error.isDamage {
                damage.note(
                    snapshot.version.key.text, "\(error)", affecting: [name], missing: error.storageCode == .notFound)
            }
        }
    }

    /// The log behind the covered position: no number is missing up to an epoch's end; if deep, every segment is whole
    /// and follows the one before.
    private mutating func checkTail(of manifest: Manifest, _ name: String) async throws {
        let covered = manifest.state.covered
        var ends = Dictionary(manifest.closedEpochs.map { ($0.epoch, $0.end) }) { first, _ in first }
        for epoch in manifest.openEpochs { ends[epoch] = SegmentSequence(0) }
        var previous: Digest? = manifest.state.coveredHash
        for (epoch, end) in ends.sorted(by: { $0.key < $1.key }) where epoch >= covered.epoch {
            let first = epoch == covered.epoch ? covered.sequence : SegmentSequence(0)
            let log = EpochLog(of: manifest.volume, epoch, store: context.store, keys: context.keys)
            let tail: OpenTail
            do { tail = try await log.contiguousTail(after: first) } catch  where error.isDamage {
                damage.note(
                    "volumes/\(manifest.volume)/log/\(epoch.value.hex)", "\(error)", affecting: [name],
                    missing: error.isOfSomethingMissing)
                previous = nil
                continue
            }
            if tail.end < end {
                let missing = SegmentID.log(volume: manifest.volume, epoch: epoch, sequence: tail.end.next)
                damage.note(missing.key.text, "a segment of the log is missing", affecting: [name], missing: true)
                previous = nil
            }
            objects += tail.end.value - first.value
            guard deep, tail.end > first else { continue }
            for sequence in first.value + 1...tail.end.value {
                let id = SegmentID.log(volume: manifest.volume, epoch: epoch, sequence: SegmentSequence(sequence))
                previous = try await checkTailSegment(id, after: previous, name)
            }
        }
    }

    /// - Parameter previous: the hash that it must follow; nil where that is not known.
    private mutating func checkTailSegment(_ id: SegmentID, after previous: Digest?, _ name: String) async throws
        -> Digest?
    {
        do {
            let object = try await context.store.get(id.key, range: nil)
            bytes += UInt64(object.count)
            let (segment, index) = try SegmentReader.verify(object, id: id, keys: context.keys)
            if let previous, index.previousHash != previous {
                damage.note(id.key.text, "it does not follow the segment before it", affecting: [name])
            }
            return segment.contentHash
        } catch  where error.isDamage {
            damage.note(id.key.text, "\(error)", affecting: [name], missing: error.storageCode == .notFound)
            return nil
        }
    }

    /// - Returns: the numbers of the runs that are sound.
    mutating func checkRuns() async throws -> [Int] {
        var sound: [Int] = []
        for part in Array(runs.runs.indices).chunked(16) {
            context.progress("verify maps", UInt64(part.startIndex), UInt64(runs.runs.count))
            let results = try await mapConcurrently(Array(part), atMost: 4) { [context, runs] index in
                let run = runs.runs[index]
                do {
                    let object = try await context.store.get(run.key, range: nil)
                    try RunVerifier.verify(object, run, keys: context.keys)
                    return (index, object.count, nil as (any Error)?)
                } catch  where error.isDamage {
                    return (index, 0, error)
                }
            }
            for (index, byteCount, error) in results {
                count(byteCount)
                if let error { noteRun(index, error) } else { sound.append(index) }
            }
        }
        return sound
    }

    private mutating func noteRun(_ index: Int, _ error: any Error) {
        let run = runs.runs[index]
        let span = VerifyReport.ByteSpan(firstByte: run.range.byteOffset, byteCount: run.range.byteCount)
        damage.note(run.key.text, "\(error)", missing: error.storageCode == .notFound)
        for name in names(ofRootsNaming: { $0 == Int32(index) }) {
            damage.note(run.key.text, "\(error)", affecting: name, span)
        }
    }

    /// Each name once, although several manifests of a volume may be kept.
    func names(ofRootsNaming isWanted: (Int32) -> Bool) -> [String] {
        var seen: Set<String> = []
        return roots.filter { root in
            root.layout.levels.joined().contains(where: isWanted) && seen.insert(root.name).inserted
        }.map(\.name)
    }
}
