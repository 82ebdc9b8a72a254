import ObjectStorage
import Snapshots
import StoreCore

/// What a first LIST of everything shows, as far as it must be remembered: sizes, and the few objects that decide.
struct StoreListing: Sendable {
    private(set) var objects: UInt64 = 0
    private(set) var bytes: UInt64 = 0
    /// Of every volume that has any object.
    private(set) var volumes: Set<VolumeID> = []
    /// Ascending.
    private(set) var manifests: [VolumeID: [UInt64]] = [:]
    private(set) var versions: [VersionReference] = []
    /// Names of relocation records.
    private(set) var relocations: Set<Digest> = []

    static func read(_ context: GCContext) async throws -> StoreListing {
        var listing = StoreListing()
        try await context.store.forEachObject(prefix: "") { object in
            listing.add(object)
            if listing.objects % 1000 == 0 { context.progress("list", listing.objects, nil) }
        }
        // Numbers are inverted in names.
        listing.manifests = listing.manifests.mapValues { $0.reversed() }
        return listing
    }

    private mutating func add(_ object: ObjectInfo) {
        objects += 1
        bytes += object.byteCount
        let name = ObjectName(object.key)
        if let volume = name.volume { volumes.insert(volume) }
        switch name {
        case .manifest(let volume, let number): manifests[volume, default: []].append(number)
        case .version(let volume, let epoch, let hash):
            versions.append(VersionReference(volume: volume, epoch: epoch, hash: hash))
        case .relocation(let digest): relocations.insert(digest)
        default: break
        }
    }
}
