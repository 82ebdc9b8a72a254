import Codec
import ObjectStorage
import Snapshots
import StoreCore

/// What holds for every object, whoever makes it: checked at each request that carries bytes, and at each deletion.
///
/// - Objects never change (R5): a name whose object was deleted is never given to other content. Numbers of logs are
///   the exception: a stalled writer may win one that gc gave up, below the floor or the newest, where nobody looks, or
///   where he looks again before he goes on; and relocation records: a pass that ended long ago may bring one back of a
///   segment that is gone.
/// - Every object but the probe's is under an envelope, and no two share salt and data key (R7), also those that lost
///   their race: what was sent was seen.
/// - A manifest never follows one of a higher epoch (R4).
/// - The highest number of a log is never deleted (R6), unless the whole volume goes.
final class ObjectRules {
    private struct Sealing: Hashable {
        var salt: [UInt8]
        var keyID: [UInt8]
    }
    private struct Content: Hashable {
        var key: ObjectKey
        var hash: Int
    }
    private var contents: [ObjectKey: Int] = [:]
    private var sealings: [Sealing: Content] = [:]
    private struct Newest {
        var number: UInt64
        var epoch: Epoch
        var isTombstone: Bool
    }
    /// The highest manifest of each volume.
    private var manifests: [VolumeID: Newest] = [:]
    private var keys: KeyRing?
    private let bucket: SimulatedBucket
    private let fail: (String) -> Void

    init(_ bucket: SimulatedBucket, fail: @escaping (String) -> Void) {
        self.bucket = bucket
        self.fail = fail
        bucket.onSending = { [unowned self] key, bytes in sent(key, bytes) }
        bucket.onEffect = { [unowned self] event in
            switch event.kind {
            case .created: created(event.key)
            case .deleted: deleted(event.key, by: event.process)
            }
        }
    }

    private func sent(_ key: ObjectKey, _ bytes: [UInt8]) {
        guard !key.text.hasPrefix("probe/") else { return }
        guard bytes.count >= 32, Array(bytes[..<4]) == Array("ZRFS".utf8) else {
            return fail("\(key) is no envelope")
        }
        let sealing = Sealing(salt: Array(bytes[16..<32]), keyID: Array(bytes[8..<12]))
        let content = Content(key: key, hash: bytes.hashValue)
        if let before = sealings.updateValue(content, forKey: sealing), before != content {
            fail("\(key) is sealed under the salt of \(before.key == key ? "other bytes" : before.key.text)")
        }
    }

    private func created(_ key: ObjectKey) {
        guard let bytes = bucket.objects[key]?.bytes else { return }
        let hash = bytes.hashValue
        if let before = contents.updateValue(hash, forKey: key), before != hash, !isNumber(key), !isOfAGoneSegment(key)
        {
            fail("\(key) was given to other content after its deletion")
        }
        do { try followsItsLog(key, bytes) } catch { fail("\(key) does not open: \(error)") }
    }

    private func followsItsLog(_ key: ObjectKey, _ bytes: [UInt8]) throws {
        if keys == nil, key.text.hasPrefix("superblock/") {
            keys = try Superblock(decoding: bytes).unlock(World.unlock)
        }
        guard let keys, let (volume, number) = Self.manifest(key) else { return }
        let manifest = try Manifest(opening: bytes, of: volume, number: number, keys: keys)
        guard number > manifests[volume]?.number ?? 0 else { return }
        if let before = manifests[volume], manifest.epoch < before.epoch {
            fail("\(key) is of epoch \(manifest.epoch), the manifest before it of epoch \(before.epoch)")
        }
        manifests[volume] = Newest(number: number, epoch: manifest.epoch, isTombstone: manifest.isTombstone)
    }

    private func deleted(_ key: ObjectKey, by process: String) {
        guard isNumber(key) else { return }
        // The highest number comes first in the list.
        let folder = String(key.text.prefix(key.text.count - 16))
        let first = bucket.page(prefix: folder, after: nil, limit: 1).objects.first
        if let (volume, _) = Self.manifest(key) {
            // The only one of a volume that no commit ever named, or the last of one that is gone.
            if first == nil || manifests[volume]?.isTombstone ?? false { return }
        }
        if first.map({ key < $0.key }) ?? true { fail("\(process) deleted \(key), the highest number") }
    }

    private static func manifest(_ key: ObjectKey) -> (volume: VolumeID, number: UInt64)? {
        let parts = key.text.split(separator: "/")
        guard parts.count == 4, parts[2] == "manifest", let volume = VolumeID(hex: parts[1]),
            let inverted = UInt64(parts[3], radix: 16)
        else { return nil }
        return (volume, .max - inverted)
    }
    private func isOfAGoneSegment(_ key: ObjectKey) -> Bool {
        guard key.text.hasPrefix("relocated/") else { return false }
        return !bucket.objects.keys.contains { "relocated/\(Digest.sha256(Array($0.text.utf8)))" == key.text }
    }
    private func isNumber(_ key: ObjectKey) -> Bool {
        key.text.hasPrefix("catalog/") || key.text.hasPrefix("superblock/") || key.text.hasPrefix("cleaner/")
            || key.text.contains("/manifest/")
    }
}
