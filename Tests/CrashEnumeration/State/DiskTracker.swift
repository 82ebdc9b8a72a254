/// Follows a host's disk through a recording: what its processes see, what is on the platter, and what a loss of power
/// may do to the rest.
struct DiskTracker: Sendable {
    static let sectorBytes = 512

    /// A sector as it was in the page cache after a store: the kernel may have written this at any time since.
    struct SectorWrite: Sendable {
        var number: Int
        var file: Int
        var sector: Int
        var bytes: ArraySlice<UInt8>
    }
    struct UnsyncedNames: Sendable {
        var operation: Int
        var changes: [NameChange]
    }

    /// What processes see.
    private(set) var cache: DiskState
    /// What survives for certain.
    private(set) var platter: DiskState
    /// Oldest first.
    private(set) var sectorWrites: [SectorWrite] = []
    private(set) var unsyncedNames: [UnsyncedNames] = []
    /// Begun, and not yet visible.
    private(set) var begun: [Int: DiskOperation] = [:]
    /// Visible, and not yet returned.
    private var syncing: [Int: (operation: DiskOperation, writesBefore: Int, namesBefore: Set<Int>)] = [:]
    /// The last store, for one that was cut short: its file, position, and the bytes before and after.
    private(set) var lastStore: (file: Int, position: Int, old: [UInt8], new: [UInt8])?
    private var lastWrite = 0
    /// Changes with everything that changes what a loss of power may leave.
    private(set) var platterVersion: UInt64 = 0
    private(set) var cacheVersion: UInt64 = 0

    init(_ state: DiskState) {
        cache = state
        platter = state
    }

    /// Something happened elsewhere: the last store was over by then.
    mutating func passEvent() { lastStore = nil }

    mutating func apply(_ event: DiskEvent) {
        switch event {
        case .began(let number, let operation): begin(number, operation)
        case .visible(let number): becomeVisible(number)
        case .returned(let number): finish(number)
        case .stored(let file, let position, let bytes): store(file, position, bytes)
        case .killed:
            begun = [:]
            syncing = [:]
        }
    }

    private mutating func begin(_ number: Int, _ operation: DiskOperation) {
        begun[number] = operation
        // What a sync covers is known when it begins.
        syncing[number] = (operation, lastWrite, Set(unsyncedNames.map(\.operation)))
    }
    private mutating func becomeVisible(_ number: Int) {
        guard let operation = begun.removeValue(forKey: number) else { return }
        guard case .names(let changes, _) = operation else { return }
        cacheVersion += 1
        cache.apply(changes)
        unsyncedNames.append(UnsyncedNames(operation: number, changes: changes))
        // A durable change ends with a sync of its directory.
        syncing[number]?.namesBefore = Set(unsyncedNames.map(\.operation))
        for case .file(let file)? in changes.map(\.node) where platter.files[file] == nil {
            platter.files[file] = cache.files[file]
        }
    }
    private mutating func finish(_ number: Int) {
        guard let (operation, writesBefore, namesBefore) = syncing.removeValue(forKey: number) else { return }
        switch operation {
        case .names(_, isDurable: false): break
        case .names(let changes, isDurable: true):
            settleNames(namesBefore, in: Set(changes.map { parent(of: $0.path) }))
        case .syncDirectory(let path): settleNames(namesBefore, in: [path])
        case .sync(let file):
            for write in sectorWrites where write.file == file && write.number <= writesBefore {
                Self.put(write, into: &platter)
            }
            let before = sectorWrites.count
            sectorWrites.removeAll { $0.file == file && $0.number <= writesBefore }
            if sectorWrites.count < before { platterVersion += 1 }
        }
    }
    private mutating func settleNames(_ operations: Set<Int>, in directories: Set<String>) {
        func isSettled(_ names: UnsyncedNames) -> Bool {
            operations.contains(names.operation)
                && names.changes.allSatisfy { directories.contains(parent(of: $0.path)) }
        }
        let settled = unsyncedNames.filter(isSettled)
        guard !settled.isEmpty else { return }
        for names in settled { platter.apply(names.changes) }
        unsyncedNames.removeAll(where: isSettled)
        platterVersion += 1
    }

    private mutating func store(_ file: Int, _ position: Int, _ bytes: [UInt8]) {
        cacheVersion += 1
        guard var contents = cache.files.removeValue(forKey: file) else { return }
        let end = position + bytes.count
        if contents.count < end { contents.append(contentsOf: [UInt8](repeating: 0, count: end - contents.count)) }
        lastStore = (file, position, Array(contents[position..<end]), bytes)
        contents.replaceSubrange(position..<end, with: bytes)
        for sector in position / Self.sectorBytes...max(end - 1, position) / Self.sectorBytes {
            lastWrite += 1
            let from = sector * Self.sectorBytes
            sectorWrites.append(
                SectorWrite(
                    number: lastWrite, file: file, sector: sector,
                    bytes: contents[from..<min(from + Self.sectorBytes, contents.count)]))
        }
        // The slices above share the array: what follows must not change it in place.
        cache.files[file] = contents
    }

    static func put(_ write: SectorWrite, into state: inout DiskState) {
        let from = write.sector * sectorBytes
        let end = from + write.bytes.count
        let have = state.files[write.file]?.count ?? 0
        if have < end {
            state.files[write.file, default: []].append(contentsOf: [UInt8](repeating: 0, count: end - have))
        }
        state.files[write.file]?.replaceSubrange(from..<end, with: write.bytes)
    }
}
