public import StoreCore

/// Everything on a simulated disk: what processes see (the page cache), what is on the platter, and which changes of
/// names are not yet durable. A value: keep a copy to come back to a moment.
public struct DiskImage: Sendable {
    public static let sectorBytes = 512

    struct File: Sendable {
        var contents: [UInt8]
        /// What a loss of power leaves for certain, but for dirty sectors, where it may leave either.
        var platter: [UInt8]
        var dirtySectors: Set<Int> = []

        init(synced bytes: [UInt8] = []) {
            contents = bytes
            platter = bytes
        }
        mutating func write(_ bytes: some Collection<UInt8>, at position: Int) {
            let end = position + bytes.count
            if contents.count < end { contents += [UInt8](repeating: 0, count: end - contents.count) }
            contents.replaceSubrange(position..<end, with: bytes)
            guard end > position else { return }
            for sector in position / sectorBytes...(end - 1) / sectorBytes { dirtySectors.insert(sector) }
        }
        /// Puts a sector of the page cache on the platter.
        mutating func writeBack(_ sector: Int) {
            let range = (sector * sectorBytes)..<min((sector + 1) * sectorBytes, contents.count)
            if platter.count < range.upperBound {
                platter += [UInt8](repeating: 0, count: range.upperBound - platter.count)
            }
            platter.replaceSubrange(range, with: contents[range])
        }
        mutating func sync() {
            for sector in dirtySectors { writeBack(sector) }
            dirtySectors = []
        }
    }

    /// A change of a directory that is in the page cache only.
    struct NameChange: Sendable {
        var directory: String
        var path: String
        /// nil: removed.
        var node: Node?
    }
    enum Node: Sendable, Hashable {
        case file(Int)
        case directory
    }

    var files: [Int: File] = [:]
    var names: [String: Node] = [:]
    var durableNames: [String: Node] = [:]
    var nameChanges: [NameChange] = []
    var lastFile = 0
    public var bootID: UInt128 = 1

    public init() {}

    static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    mutating func setName(_ path: String, _ node: Node?, isDurable: Bool) {
        names[path] = node
        if isDurable {
            nameChanges.removeAll { $0.path == path }
            durableNames[path] = node
        } else {
            nameChanges.append(NameChange(directory: Self.parent(of: path), path: path, node: node))
        }
    }
    mutating func syncNames(of directory: String) {
        for change in nameChanges where change.directory == directory { durableNames[change.path] = change.node }
        nameChanges.removeAll { $0.directory == directory }
    }
    func file(_ path: String) -> Int? {
        if case .file(let number)? = names[path] { return number }
        return nil
    }
    /// Bytes that all files take.
    public var byteCount: Int {
        names.values.reduce(0) { sum, node in
            if case .file(let number) = node { return sum + (files[number]?.contents.count ?? 0) }
            return sum
        }
    }

    /// What a loss of power leaves: of each dirty sector the old or the new bytes, of each change of a name that was
    /// not synced the old or the new state, whatever the order they were made in; and a new run of the machine.
    /// - Parameter keeps: the share of unsynced changes that reached the platter.
    public mutating func crash(keeping keeps: Double, using random: inout SplitMix64) {
        for number in files.keys.sorted() {
            for sector in files[number]?.dirtySectors.sorted() ?? [] where Self.draw(keeps, &random) {
                files[number]?.writeBack(sector)
            }
        }
        for change in nameChanges where Self.draw(keeps, &random) { durableNames[change.path] = change.node }
        names = durableNames.filter { path, _ in
            // A file whose directory was lost is not found again.
            var parent = Self.parent(of: path)
            while parent != "/", parent != "." {
                guard durableNames[parent] != nil else { return false }
                parent = Self.parent(of: parent)
            }
            return true
        }
        durableNames = names
        nameChanges = []
        let kept = Set(names.values)
        files = files.filter { kept.contains(.file($0.key)) }
        for number in files.keys {
            if let platter = files[number]?.platter { files[number] = File(synced: platter) }
        }
        bootID += 1
    }
    private static func draw(_ probability: Double, _ random: inout SplitMix64) -> Bool {
        Double(random.next() >> 11) / Double(1 << 53) < probability
    }
}
