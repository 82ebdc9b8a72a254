import Snapshots
import StoreCore

/// Finds, for each volume, the lowest manifest that stays. Nothing here is a promise before the catalog holds it.
struct Floors {
    let context: GCContext
    let listing: StoreListing

    func find(in state: CatalogState) async throws -> [VolumeID: VolumeFloor] {
        let volumes = state.volumes.filter { !(listing.manifests[$0.id] ?? []).isEmpty }
        let floors = try await context.concurrently(volumes) { volume in
            (volume.id, try await floor(of: volume))
        }
        return Dictionary(floors.compactMap { id, floor in floor.map { (id, $0) } }) { first, _ in first }
    }

    /// nil where the volume's manifests went meanwhile: deleted, or another gc is ahead.
    private func floor(of volume: VolumeRecord) async throws -> VolumeFloor? {
        let numbers = listing.manifests[volume.id] ?? []
        guard let newest = numbers.last, let manifest = try await context.manifest(newest, of: volume.id) else {
            return nil
        }
        let lowest = try await lowestKept(numbers[...], newest: manifest)
        return VolumeFloor(manifest: lowest, epoch: manifest.epoch)
    }

    /// The manifest that was in force when the retention window began.
    private func lowestKept(_ numbers: ArraySlice<UInt64>, newest: Manifest) async throws -> UInt64 {
        guard context.options.retention > .zero else { return newest.number }
        let begin = context.time.now().adding(.zero - context.options.retention)
        var kept = newest
        for number in numbers.reversed().dropFirst() {
            guard kept.created > begin, let older = try await context.manifest(number, of: newest.volume) else { break }
            kept = older
        }
        return kept.number
    }
}
