public import StoreCore

/// The highest numbers that this machine has seen of a store: a bucket that was rolled back shows lower ones, and that
/// is noticed instead of served. A value; `HighWaterFile` keeps it in the data directory.
public struct HighWaterMarks: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case superblock
        case catalog
        case manifest(VolumeID)
        case epoch(VolumeID)

        var text: String {
            switch self {
            case .superblock: "superblock -"
            case .catalog: "catalog -"
            case .manifest(let volume): "manifest \(volume)"
            case .epoch(let volume): "epoch \(volume)"
            }
        }
        var subject: String {
            switch self {
            case .superblock: "the superblock at number"
            case .catalog: "the catalog at number"
            case .manifest(let volume): "volume \(volume) at manifest"
            case .epoch(let volume): "volume \(volume) at epoch"
            }
        }
        init?(kind: Substring, subject: Substring) {
            switch (kind, VolumeID(hex: subject)) {
            case ("superblock", nil) where subject == "-": self = .superblock
            case ("catalog", nil) where subject == "-": self = .catalog
            case ("manifest", let volume?): self = .manifest(volume)
            case ("epoch", let volume?): self = .epoch(volume)
            default: return nil
            }
        }
    }
    private var marks: [Kind: UInt64] = [:]

    public init() {}
    public subscript(kind: Kind) -> UInt64? { marks[kind] }

    /// Notes a number that the store shows. Throws `corrupt` when it showed a higher one before.
    /// - Returns: whether it is news, and worth saving.
    @discardableResult
    public mutating func observe(_ kind: Kind, _ number: UInt64) throws(StorageError) -> Bool {
        let highest = marks[kind] ?? 0
        guard number >= highest else {
            throw StorageError(
                .corrupt,
                """
                the store shows \(kind.subject) \(number), but this machine has seen \(highest): the bucket was rolled \
                back or is another one; if that is meant, start with a new data directory
                """)
        }
        marks[kind] = number
        return number > highest
    }
    /// Of a volume that was deleted.
    public mutating func forget(_ volume: VolumeID) {
        marks[.manifest(volume)] = nil
        marks[.epoch(volume)] = nil
    }

    private static let heading = "zerofs high water 1"

    /// One line for each mark, sorted, and a last one that shows that nothing is missing.
    public var text: String {
        let lines = marks.map { "\($0.key.text) \($0.value)" }.sorted()
        return ([Self.heading] + lines + ["end \(lines.count)"]).map { $0 + "\n" }.joined()
    }
    /// Throws `corrupt`, which names `file`, for anything but what `text` gave.
    public init(parsing text: String, file: String) throws(StorageError) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.first.map({ $0 == Self.heading }) ?? false, lines.count >= 3, lines.last == "",
            lines[lines.count - 2] == "end \(lines.count - 3)"
        else { throw .corrupt(file, "it is no whole file of high-water marks") }
        for line in lines.dropFirst().dropLast(2) {
            let words = line.split(separator: " ", omittingEmptySubsequences: false)
            guard words.count == 3, let kind = Kind(kind: words[0], subject: words[1]), let number = UInt64(words[2]),
                marks.updateValue(number, forKey: kind) == nil
            else { throw .corrupt(file, "its line '\(line)' makes no sense") }
        }
        // Numbers and ids have more than one spelling, and lines another order: that was not us.
        guard self.text == text else { throw .corrupt(file, "it is not written as zerofs writes it") }
    }
}
