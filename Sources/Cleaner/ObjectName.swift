import ObjectStorage
import SegmentLog
import StoreCore

/// What an object is, by its name. A name that no version of zerofs gives is `unknown`, and such an object is left
/// alone.
enum ObjectName: Hashable, Sendable {
    case superblock(UInt64)
    case catalog(UInt64)
    case catalogPage(UInt64)
    case generation(UInt64)
    case relocation(Digest)
    case segment(SegmentID)
    case run(VolumeID, Epoch, Digest)
    case manifest(VolumeID, UInt64)
    case version(VolumeID, Epoch, Digest)
    case probe
    case unknown

    init(_ key: ObjectKey) {
        let parts = key.text.split(separator: "/", omittingEmptySubsequences: false)
        self = Self.parse(parts) ?? .unknown
    }

    private static func parse(_ parts: [Substring]) -> ObjectName? {
        switch (parts[0], parts.count) {
        case ("volumes", 4...): return volume(parts)
        case ("packed", 3):
            guard let generation = number(parts[1]), let hash = digest(parts[2]) else { return nil }
            return .segment(.packed(generation: generation, hash: hash))
        case ("relocated", 2): return digest(parts[1]).map { .relocation($0) }
        case ("catalog", 2): return inverted(parts[1]).map { .catalog($0) }
        case ("catalog-page", 3):
            guard let number = number(parts[1]), digest(parts[2]) != nil else { return nil }
            return .catalogPage(number)
        case ("cleaner", 2): return inverted(parts[1]).map { .generation($0) }
        case ("superblock", 2): return inverted(parts[1]).map { .superblock($0) }
        case ("probe", 2): return .probe
        default: return nil
        }
    }
    private static func volume(_ parts: [Substring]) -> ObjectName? {
        guard let volume = VolumeID(hex: parts[1]), volume.description == parts[1] else { return nil }
        if parts[2] == "manifest", parts.count == 4 { return inverted(parts[3]).map { .manifest(volume, $0) } }
        guard parts.count == 5, let epoch = number(parts[3]).map(Epoch.init) else { return nil }
        switch parts[2] {
        case "log":
            return number(parts[4]).map {
                .segment(.log(volume: volume, epoch: epoch, sequence: SegmentSequence($0)))
            }
        case "map": return digest(parts[4]).map { .run(volume, epoch, $0) }
        case "version": return digest(parts[4]).map { .version(volume, epoch, $0) }
        default: return nil
        }
    }

    private static func number(_ text: Substring) -> UInt64? {
        guard let value = UInt64(text, radix: 16), value.hex == text else { return nil }
        return value
    }
    private static func inverted(_ text: Substring) -> UInt64? { number(text).map { UInt64.max - $0 } }
    private static func digest(_ text: Substring) -> Digest? {
        guard let digest = Digest(hex: text), digest.description == text else { return nil }
        return digest
    }

    /// In whose folder it lies.
    var volume: VolumeID? {
        switch self {
        case .segment(.log(let volume, epoch: _, sequence: _)): volume
        case .run(let volume, _, _), .version(let volume, _, _): volume
        case .manifest(let volume, _): volume
        default: nil
        }
    }

    /// For reports.
    var kind: String {
        switch self {
        case .superblock: "superblock"
        case .catalog: "catalog"
        case .catalogPage: "catalog-page"
        case .generation: "generation"
        case .relocation: "relocation"
        case .segment(.log): "segment"
        case .segment(.packed): "packed-segment"
        case .run: "run"
        case .manifest: "manifest"
        case .version: "version"
        case .probe: "probe"
        case .unknown: "unknown"
        }
    }
}
