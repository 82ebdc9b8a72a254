public import Cleaner
import StoreCore

/// How an engine runs. Every field has the default that `zerofs init` writes.
public struct EngineSettings: Sendable {
    public var volume = VolumeSettings()
    /// Journals, the disk cache and the marks of the highest numbers seen.
    public var dataDirectory: String
    public var uploadsInFlightMax = 8
    /// Decoded blocks in memory.
    public var memoryCacheBytes = 256 << 20
    /// Decoded pages of the block map.
    public var mapCacheBytes = 64 << 20
    /// Ciphertext on the local disk; 0 turns it off.
    public var diskCacheBytes: UInt64 = 4 << 30
    /// Volumes that may be attached, by name; nil for all.
    public var servedVolumes: Set<String>?
    /// Volumes that are claimed although another host holds them.
    public var takeOver: Set<String> = []
    /// Volumes of which lost writes are accepted when they are opened: once each.
    public var acceptsLoss: Set<String> = []
    /// Who is served a volume that lost writes which it had answered. `zerofs serve` has another default (`local`):
    /// whoever runs an engine of its own knows its clients.
    public var afterCrash = AfterCrash.serve
    /// A volume that is taken over is snapshotted before it is served, so that what its old owner's journal holds can
    /// be placed even after gc.
    public var snapshotsTakeOvers = false
    /// How gc goes about it, and how long manifests that nothing pins are kept after they were replaced.
    public var gc = GCOptions()
    public init(dataDirectory: String) { self.dataDirectory = dataDirectory }
}
