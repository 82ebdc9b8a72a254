public import StoreCore

/// That writes of a volume which were answered may be gone, and nobody has accepted it yet: the file `lost` beside the
/// volume's journals. It is durable before the evidence goes, and goes when an operator accepts the loss.
public struct LossRecord: Hashable, Sendable {
    /// When it was noticed.
    public var time: Timestamp
    /// The run of the machine in which the writes were answered: whoever was a client on this machine then has ended
    /// with it, once the machine runs anew. 0 where they were answered by another machine.
    public var bootID: UInt128
    /// Of the opening that noticed.
    public var epoch: Epoch
    /// Whom the volume was taken over from; nil where it was not.
    public var ousted: OwnerToken?
    /// One line for people.
    public var reason: String

    public init(time: Timestamp, bootID: UInt128, epoch: Epoch, ousted: OwnerToken? = nil, reason: String) {
        self.time = time
        self.bootID = bootID
        self.epoch = epoch
        self.ousted = ousted
        self.reason = reason.split(whereSeparator: \.isNewline).joined(separator: " ")
    }
}

// MARK: The file
extension LossRecord {
    private static let heading = "zerofs loss 1"
    private static let nobody = "nobody"

    /// Which of a volume's records.
    public enum Kind: String, Sendable {
        /// Waits to be accepted.
        case noticed = "lost"
        /// Of an opening that takes the volume over: in force from its claim on, if that succeeds.
        case takeOver = "take-over"
    }

    static func path(_ directory: String, _ volume: VolumeID, _ kind: Kind) -> String {
        "\(directory)/\(volume)/\(kind.rawValue)"
    }

    var text: String {
        """
        \(Self.heading)
        boot \(bootID.hex)
        time \(time.nanoseconds)
        epoch \(epoch)
        ousted \(ousted?.description ?? Self.nobody)
        reason \(reason)
        end

        """
    }
    /// Throws `corrupt`, which names `file`, for anything but what `text` gave.
    init(parsing text: String, file: String) throws(StorageError) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count == 8, lines[0] == Self.heading, lines[6] == "end", lines[7] == "",
            let boot = Self.value(of: "boot", lines[1]).flatMap({ UInt128($0, radix: 16) }),
            let time = Self.value(of: "time", lines[2]).flatMap({ Int64($0) }),
            let epoch = Self.value(of: "epoch", lines[3]).flatMap({ UInt64($0) }),
            let ousted = Self.value(of: "ousted", lines[4]),
            ousted == Self.nobody || UInt128(ousted, radix: 16) != nil,
            let reason = Self.value(of: "reason", lines[5])
        else { throw .corrupt(file, "it is no record of lost writes; `zerofs accept` removes it") }
        self.init(
            time: Timestamp(nanoseconds: time), bootID: boot, epoch: Epoch(epoch),
            ousted: UInt128(ousted, radix: 16).map(OwnerToken.init), reason: String(reason))
    }
    private static func value(of name: String, _ line: Substring) -> Substring? {
        line.hasPrefix(name + " ") ? line.dropFirst(name.utf8.count + 1) : nil
    }

    /// nil where there is none.
    public static func load(
        _ kind: Kind = .noticed, directory: String, volume: VolumeID, disk: any LocalDisk
    ) async throws -> LossRecord? {
        let path = path(directory, volume, kind)
        do {
            return try LossRecord(parsing: String(decoding: try await disk.read(path), as: UTF8.self), file: path)
        } catch  where error.storageCode == .notFound {
            return nil
        }
    }
    /// Whether something waits to be accepted, readable or not.
    public static func exists(
        _ kind: Kind = .noticed, directory: String, volume: VolumeID, disk: any LocalDisk
    ) async throws -> Bool {
        try await disk.list("\(directory)/\(volume)").contains(kind.rawValue)
    }
    /// Durable when it returns.
    public func save(
        _ kind: Kind = .noticed, directory: String, volume: VolumeID, disk: any LocalDisk
    ) async throws {
        try await disk.makeDirectory("\(directory)/\(volume)", isNew: false)
        try await disk.put(Self.path(directory, volume, kind), Array(text.utf8))
    }
    /// Again is no error.
    public static func remove(
        _ kind: Kind = .noticed, directory: String, volume: VolumeID, disk: any LocalDisk
    ) async throws {
        guard try await exists(kind, directory: directory, volume: volume, disk: disk) else { return }
        try await disk.remove(path(directory, volume, kind))
        try await disk.syncDirectory("\(directory)/\(volume)")
    }
}
