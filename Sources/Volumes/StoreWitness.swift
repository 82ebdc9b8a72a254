public import StoreCore

/// How far a store was at a moment: what a person keeps elsewhere, to notice later that the bucket was rolled back.
/// Only numbers and hashes of ciphertext; it opens nothing.
///
///     zerofs witness 1
///     store <store id>
///     superblock <number>
///     catalog <number> <SHA-256 of the object>
///     volume <id> <epoch> <manifest number> <SHA-256 of the object>
///     end <count of lines between>
public struct StoreWitness: Hashable, Sendable {
    public struct Version: Hashable, Sendable {
        public var number: UInt64
        /// Of the object; all zeroes where there is none.
        public var hash: Digest
    }
    public struct VolumeMark: Hashable, Sendable {
        public var epoch: Epoch
        public var manifest: Version
    }
    public var storeID: UInt128
    public var superblock: UInt64
    public var catalog: Version
    public var volumes: [VolumeID: VolumeMark] = [:]

    private static let heading = "zerofs witness 1"

    public var text: String {
        let lines =
            ["store \(storeID.hex)", "superblock \(superblock)", "catalog \(catalog.number) \(catalog.hash)"]
            + volumes.sorted { $0.key < $1.key }.map { id, mark in
                "volume \(id) \(mark.epoch.value) \(mark.manifest.number) \(mark.manifest.hash)"
            }
        return ([Self.heading] + lines + ["end \(lines.count)"]).map { $0 + "\n" }.joined()
    }

    init(storeID: UInt128, superblock: UInt64, catalog: Version) {
        self.storeID = storeID
        self.superblock = superblock
        self.catalog = catalog
    }
    /// Throws `invalid` for anything but what `text` gave.
    public init(parsing text: String) throws(StorageError) {
        let lines = text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        func bad(_ what: String) -> StorageError { StorageError(.invalid, "this is no whole witness: \(what)") }
        guard lines.count >= 5, lines[0].joined(separator: " ") == Self.heading else { throw bad("its first line") }
        guard lines[lines.count - 1] == ["end", "\(lines.count - 2)"] else { throw bad("its end is missing") }
        guard lines[1].count == 2, lines[1][0] == "store", let id = VolumeID(hex: lines[1][1])?.bits,
            lines[2].count == 2, lines[2][0] == "superblock", let superblock = UInt64(lines[2][1]),
            lines[3].count == 3, lines[3][0] == "catalog", let number = UInt64(lines[3][1]),
            let hash = Digest(hex: lines[3][2])
        else { throw bad("its head") }
        self.init(storeID: id, superblock: superblock, catalog: Version(number: number, hash: hash))
        for line in lines[4..<lines.count - 1] {
            guard line.count == 5, line[0] == "volume", let id = VolumeID(hex: line[1]), let epoch = UInt64(line[2]),
                let number = UInt64(line[3]), let hash = Digest(hex: line[4])
            else { throw bad("the line '\(line.joined(separator: " "))'") }
            volumes[id] = VolumeMark(epoch: Epoch(epoch), manifest: Version(number: number, hash: hash))
        }
    }
}
