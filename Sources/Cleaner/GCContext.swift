import BlockMap
import Codec
import ObjectStorage
import Snapshots
import StoreCore

/// What every step of a pass works with.
struct GCContext: Sendable {
    var store: any ObjectStore
    var keys: KeyRing
    var catalog: CatalogLog
    var maps: MapReader
    var time: any TimeSource
    var options: GCOptions
    var dryRun: Bool
    var progress: CleanerProgress

    func manifests(of volume: VolumeID) -> NumberedObjects {
        NumberedObjects(prefix: Manifest.prefix(of: volume), store: store)
    }
    /// nil where it does not exist. Throws `corrupt` for what is no manifest of this place.
    func manifest(_ number: UInt64, of volume: VolumeID) async throws -> Manifest? {
        try await manifests(of: volume).read(number).map { bytes throws(StorageError) in
            try Manifest(opening: bytes, of: volume, number: number, keys: keys)
        }
    }
    func concurrently<Item: Sendable, Value: Sendable>(
        _ items: [Item], _ body: @escaping @Sendable (Item) async throws -> Value
    ) async throws -> [Value] {
        try await mapConcurrently(items, atMost: options.requestsInFlightMax, body)
    }

    /// Whether what this state of the catalog names may have been deleted rightly since: another gc announced floors,
    /// or something was taken out.
    func isOvertaken(since state: CatalogState) async throws -> Bool {
        let newest = try await catalog.newest()
        return newest.birthFloor > state.birthFloor || state.volumes.contains { newest.volume($0.id) == nil }
            || state.snapshots.contains { newest.snapshot($0.id)?.version != $0.version }
    }

    static func rival(_ cause: (any Error)? = nil) -> StorageError {
        let why = cause.map { " (\($0))" } ?? ""
        return StorageError(
            .busy, "another gc is at work on this store, or a deletion: wait for it, then try again\(why)",
            cause: cause)
    }
}
