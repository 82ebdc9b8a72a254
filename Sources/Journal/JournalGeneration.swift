public import StoreCore

/// What an opening of a volume leaves in the data directory that proves it for its own. The number is on disk.
public enum OpeningKind: UInt8, Sendable {
    /// A journal that holds each write that was answered.
    case journaled = 0
    /// No journal: writes were answered from memory alone.
    case unjournaled = 1
    /// The volume was claimed, and no write was answered: a deletion, or an opening without a journal that has not
    /// begun to serve.
    case claim = 2
}

/// A claim that is about to be made without a journal.
public struct JournalClaim: Sendable {
    public var volume: VolumeID
    public var token: OwnerToken
    /// That its owner is about to claim.
    public var epoch: Epoch
    public init(of volume: VolumeID, token: OwnerToken, epoch: Epoch) {
        self.volume = volume
        self.token = token
        self.epoch = epoch
    }
}

/// A journal on disk that some opening of a volume wrote. Frozen: only replayed, and then removed.
public struct JournalGeneration: Hashable, Sendable {
    /// Its directory.
    public var path: String
    public var volume: VolumeID
    /// Only a journaled opening has files.
    public var kind: OpeningKind
    /// Counts the journals of this volume in this data directory.
    public var number: UInt64
    public var token: OwnerToken
    /// The epoch that its owner was about to claim.
    public var epoch: Epoch
    public var created: Timestamp
    /// The run of the machine in which it was written.
    public var bootID: UInt128
    /// Numbers of its files, ascending.
    public var files: [UInt64]
    /// That its owner lost the volume was noted (`noteLoss`).
    public var isLossNoted = false
    /// A sync of it failed: the last write that it ever took (the greatest where that is not known). What it holds may
    /// be in the page cache only, and some of it nowhere.
    public var failedAfter: WriteSequence?
}

extension Journal {
    /// The volumes that have a journal under `directory`, in order.
    public static func volumes(directory: String, disk: any LocalDisk) async throws -> [VolumeID] {
        try await disk.list(directory).compactMap { VolumeID(hex: $0) }
    }

    /// The generations of a volume under `directory`, oldest first. One whose token was never written is left out: its
    /// owner crashed before it could acknowledge anything. Throws `corrupt` for a damaged token.
    public static func generations(
        directory: String, volume: VolumeID, disk: any LocalDisk
    ) async throws -> [JournalGeneration] {
        var found: [JournalGeneration] = []
        for (number, path) in try await generationPaths(directory, volume, disk) {
            let names = try await disk.list(path)
            guard names.contains(GenerationMarker.fileName) else { continue }
            let markerPath = "\(path)/\(GenerationMarker.fileName)"
            let marker = try GenerationMarker(decoding: try await disk.read(markerPath), path: markerPath)
            guard marker.volume == volume, marker.generation == number else {
                throw StorageError.corrupt(
                    markerPath, "it belongs to generation \(marker.generation) of volume \(marker.volume)")
            }
            let failedAfter = names.contains(failedName) ? try await failedAfter(in: path, disk: disk) : nil
            found.append(
                JournalGeneration(
                    path: path, volume: volume, kind: marker.kind, number: number, token: marker.token,
                    epoch: marker.epoch,
                    created: marker.created, bootID: marker.bootID, files: names.compactMap(fileNumber).sorted(),
                    isLossNoted: names.contains(lossNotedName), failedAfter: failedAfter))
        }
        return found
    }

    /// Leaves word that an opening without a journal is about to claim the volume: after a crash the same data
    /// directory knows it for its own. Durable when it returns.
    public static func mark(
        _ claim: JournalClaim, directory: String, disk: any LocalDisk, time: any TimeSource
    ) async throws -> JournalGeneration {
        let number = try await nextNumber(directory, claim.volume, disk)
        let bootID = try await disk.bootID()
        let marker = GenerationMarker(
            kind: .claim, volume: claim.volume, token: claim.token, generation: number, epoch: claim.epoch,
            created: time.now(), bootID: bootID)
        let path = generationPath(directory, claim.volume, number)
        try await begin(path, marker.bytes, disk)
        return JournalGeneration(
            path: path, volume: claim.volume, kind: .claim, number: number, token: claim.token,
            epoch: claim.epoch, created: marker.created, bootID: bootID, files: [])
    }

    /// The opening that left this mark is about to answer writes that no journal holds. Durable when it returns.
    public static func noteAnswers(under mark: JournalGeneration, disk: any LocalDisk) async throws {
        let marker = GenerationMarker(
            kind: .unjournaled, volume: mark.volume, token: mark.token, generation: mark.number, epoch: mark.epoch,
            created: mark.created, bootID: mark.bootID)
        try await disk.put("\(mark.path)/\(GenerationMarker.fileName)", marker.bytes)
    }

    /// The file `noted` of a generation; empty.
    private static let lossNotedName = "noted"
    /// Leaves word, durably, that the clients of a generation were reckoned with: its owner lost the volume to another,
    /// and there is, or was, a `LossRecord` of that. Again is no error.
    public static func noteLoss(of generation: JournalGeneration, disk: any LocalDisk) async throws {
        try await disk.put("\(generation.path)/\(lossNotedName)", [])
    }

    /// The file `failed` of a generation: the number of the last write that it took, in decimal.
    private static let failedName = "failed"
    /// Leaves word that a sync failed. It outlives the process, and need not outlive the host: what is read after that
    /// comes from the disk, and is judged as after any crash. So it asks nothing of a disk that fails.
    static func noteFailedSync(in path: String, after last: WriteSequence, disk: any LocalDisk) async throws {
        let file = try await disk.createScratch("\(path)/\(failedName)")
        try await file.write(Array("\(last.value)\n".utf8), at: 0)
    }
    private static func failedAfter(in path: String, disk: any LocalDisk) async throws -> WriteSequence {
        let text = String(decoding: try await disk.read("\(path)/\(failedName)"), as: UTF8.self)
        // One that broke off tells that much.
        guard text.hasSuffix("\n"), let last = UInt64(text.dropLast()) else { return WriteSequence(.max) }
        return WriteSequence(last)
    }

    /// Removes a generation whose entries are all in the bucket. Harmless when repeated.
    public static func remove(_ generation: JournalGeneration, disk: any LocalDisk) async throws {
        try await removeDirectory(generation.path, disk)
    }

    static func generationPath(_ directory: String, _ volume: VolumeID, _ number: UInt64) -> String {
        "\(directory)/\(volume)/\(number.hex)"
    }
    static func generationPaths(
        _ directory: String, _ volume: VolumeID, _ disk: any LocalDisk
    ) async throws -> [(number: UInt64, path: String)] {
        let parent = "\(directory)/\(volume)"
        return try await disk.list(parent).compactMap { name in fileNumber(name).map { ($0, "\(parent)/\(name)") } }
    }
    /// The token goes first, durably: from then on there is no generation, and whatever a crash leaves of its files is
    /// never read again. Were they to go while the token stays, a file behind a break in the chain could become the
    /// oldest one, and its entries, which no replay had returned, would follow a log that has gone on without them.
    /// What else tells of it (`noted`, `failed`) would be missed, too.
    static func removeDirectory(_ path: String, _ disk: any LocalDisk) async throws {
        let names = try await disk.list(path)
        let others = names.filter { $0 != GenerationMarker.fileName }
        for name in names.filter({ $0 == GenerationMarker.fileName }) + others {
            try await disk.remove("\(path)/\(name)")
            try await disk.syncDirectory(path)
        }
        try await disk.removeDirectory(path)
    }
    static func fileNumber(_ name: String) -> UInt64? { name.utf8.count == 16 ? UInt64(name, radix: 16) : nil }
}
