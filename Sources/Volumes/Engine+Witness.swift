import Codec
import ObjectStorage
import Snapshots
import StoreCore

/// What a person keeps elsewhere to notice a store that was rolled back: the data directory remembers the same for this
/// host, but not for one that never saw the store.
extension Engine {
    public func witness() async throws -> StoreWitness {
        try await storeKeys.refresh()
        let superblock = storeKeys.superblock
        let state = try await catalog.newest()
        var witness = StoreWitness(
            storeID: superblock.storeID, superblock: superblock.number,
            catalog: try await version(catalog.objects, state.number))
        for record in state.volumes {
            let manifest = try await manifest(of: record)
            let objects = NumberedObjects(prefix: Manifest.prefix(of: record.id), store: store)
            witness.volumes[record.id] = StoreWitness.VolumeMark(
                epoch: manifest.epoch, manifest: try await version(objects, manifest.number))
        }
        return witness
    }
    private func version(_ objects: NumberedObjects, _ number: UInt64) async throws -> StoreWitness.Version {
        let bytes = try await objects.read(number)
        return StoreWitness.Version(number: number, hash: bytes.map { .sha256($0) } ?? .zero)
    }

    /// By object, what is older than the witness, or of another history. A volume that the witness knows and the
    /// catalog does not was deleted since, by whoever holds the keys: the catalog is authenticated.
    public func problems(since witness: StoreWitness) async throws -> [String: String] {
        var problems: [String: String] = [:]
        try await storeKeys.refresh()
        let superblock = storeKeys.superblock
        if superblock.storeID != witness.storeID {
            return ["superblock": "this is store \(superblock.storeID.hex), the witness is of \(witness.storeID.hex)"]
        }
        if superblock.number < witness.superblock {
            problems["superblock"] = Self.rolledBack("superblock", superblock.number, witness.superblock)
        }
        let state = try await catalog.newest()
        problems.merge(
            try await compare(catalog.objects, state.number, from: state.catalogFloor, witness.catalog, "catalog")
        ) { first, _ in first }
        for (id, mark) in witness.volumes {
            guard let record = state.volume(id) else { continue }
            let manifest = try await manifest(of: record)
            let objects = NumberedObjects(prefix: Manifest.prefix(of: id), store: store)
            problems.merge(
                try await compare(
                    objects, manifest.number, from: record.manifestFloor, mark.manifest,
                    "manifest of volume '\(record.name)'")
            ) { first, _ in first }
            if manifest.epoch < mark.epoch {
                problems[objects.prefix] = Self.rolledBack(
                    "epoch of volume '\(record.name)'", manifest.epoch.value, mark.epoch.value)
            }
        }
        return problems
    }

    public func problems(of volume: String, belowEpoch epoch: UInt64) async throws -> [String: String] {
        let record = try await catalog.newest().resolve(VolumeReference(volume: volume)).volume
        let found = try await manifest(of: record).epoch.value
        guard found < epoch else { return [:] }
        return [Manifest.prefix(of: record.id): Self.rolledBack("epoch of volume '\(volume)'", found, epoch)]
    }

    /// The number must not be lower; where the object of then still counts, it must be the same.
    ///
    /// Below the floor it may be gone, and a commit that stalled may have landed in its place. A hash of zero says that
    /// it was gone before the witness could read it.
    private func compare(
        _ objects: NumberedObjects, _ number: UInt64, from floor: UInt64, _ seen: StoreWitness.Version, _ what: String
    ) async throws -> [String: String] {
        guard number >= seen.number else { return [objects.prefix: Self.rolledBack(what, number, seen.number)] }
        guard seen.number >= floor, seen.hash != .zero, let bytes = try await objects.read(seen.number),
            Digest.sha256(bytes) != seen.hash
        else { return [:] }
        return [
            objects.key(seen.number).text: "it is another one than was seen: the history of the \(what) was rewritten"
        ]
    }
    private static func rolledBack(_ what: String, _ found: UInt64, _ seen: UInt64) -> String {
        "the store shows \(what) \(found), but \(seen) was seen: it was rolled back"
    }
}
