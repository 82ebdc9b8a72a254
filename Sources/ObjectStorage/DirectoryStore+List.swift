import Glibc
import StoreCore

extension DirectoryStore {
    /// How often a page is read anew while names in it go: deletions may never end.
    private static let walksMax = 8

    /// - Parameter beforeLooking: for tests, which change the store after a directory's names were read and before the
    ///   object of one of them is looked at.
    func listNow(
        prefix: String, after: ObjectKey?, limit: Int,
        beforeLooking: @escaping (ObjectKey) throws(StorageError) -> Void = { _ in }
    ) throws(StorageError) -> ObjectPage {
        // Only whole segments name directories; the rest is the beginning of a name in the last of them.
        let start =
            prefix.utf8.lastIndex(of: UInt8(ascii: "/")).map { prefix.utf8.index(after: $0) } ?? prefix.startIndex
        let folder = String(prefix[..<start])
        guard folder.isEmpty || ObjectKey(String(folder.dropLast())).isValid else {
            return ObjectPage(objects: [], isTruncated: false)
        }
        var walksLeft = Self.walksMax
        while true {
            var walk = FolderWalk(store: self, after: after?.text ?? "", limit: limit, beforeLooking: beforeLooking)
            _ = try walk.visit(folder, namesFrom: String(prefix[start...]))
            walksLeft -= 1
            // Before a name went, another may have come that sorts before it and that this walk did not see, as the
            // next number does: the answer would be an older one, or none. A walk that begins now sees it.
            if walk.hasMissed {
                guard walksLeft > 0 else {
                    throw StorageError(.unavailable, "\(location): what lies in \(prefix) goes as fast as it is listed")
                }
                continue
            }
            let isTruncated = walk.found.count > limit
            return ObjectPage(objects: Array(walk.found.prefix(limit)), isTruncated: isTruncated)
        }
    }
}

/// Goes through the directories in the byte order of whole keys, and stops when it has found enough.
///
/// Within a directory that is the order of names with a directory's ending in `/`: `a-b` stands before `a/c`, because
/// `-` sorts before `/`. Of a directory at most a few pages of names are held at once.
private struct FolderWalk {
    let store: DirectoryStore
    let after: String
    let limit: Int
    let beforeLooking: (ObjectKey) throws(StorageError) -> Void
    /// One more than asked for tells whether more follow.
    var wanted: Int { limit + 1 }
    var found: [ObjectInfo] = []
    /// Whether a name of the page went after it was read and before it was looked at.
    var hasMissed = false

    init(
        store: DirectoryStore, after: String, limit: Int,
        beforeLooking: @escaping (ObjectKey) throws(StorageError) -> Void
    ) {
        self.store = store
        self.after = after
        self.limit = limit
        self.beforeLooking = beforeLooking
    }

    /// False where there is no such directory.
    ///
    /// - Parameters:
    ///   - folder: `""` or `a/b/`.
    ///   - prefix: of the names in it that count.
    mutating func visit(_ folder: String, namesFrom prefix: String) throws(StorageError) -> Bool {
        let isWithin = after.utf8.starts(with: folder.utf8)
        if !isWithin, precedes(folder, after) { return true }
        guard let reader = try FolderReader(at: store.root.directory.descriptor, folder.isEmpty ? "." : folder) else {
            return false
        }
        var selection = NameSelection(
            prefix: prefix, after: isWithin ? String(after.utf8.dropFirst(folder.utf8.count)) ?? "" : "",
            mayDescend: true, count: wanted - found.count)
        while found.count < wanted {
            let names = try selection.take(from: reader)
            for name in names where found.count < wanted { try take(name, of: folder, reader) }
            guard names.count == selection.count, let last = names.last else { break }
            selection = NameSelection(prefix: prefix, after: last, mayDescend: false, count: wanted)
            reader.rewind()
        }
        return true
    }

    private mutating func take(_ name: String, of folder: String, _ reader: borrowing FolderReader) throws(StorageError)
    {
        if name.utf8.ends(with: UInt8(ascii: "/")) {
            if try !visit(folder + name, namesFrom: "") { noteMissed() }
            return
        }
        let key = ObjectKey(folder + name)
        try beforeLooking(key)
        if let object = try store.objectInfo(key, at: reader.descriptor, path: name) {
            found.append(object)
        } else {
            noteMissed()
        }
    }
    /// Behind the page's end it does not matter: what the page holds was there when the names were read.
    private mutating func noteMissed() { hasMissed = hasMissed || found.count < limit }
}

/// The first `count` names of a directory that come after `after`; directories end in `/`.
private struct NameSelection {
    let prefix: String
    let after: String
    /// Whether the directory that `after` lies in counts, for what follows within it.
    let mayDescend: Bool
    let count: Int

    func take(from reader: borrowing FolderReader) throws(StorageError) -> [String] {
        var names: [String] = []
        /// Once enough names are known, larger ones need not be kept.
        var bound: String?
        try reader.forEachEntry { bytes, kind in
            guard kind != .other, ObjectKey.isValidSegment(bytes) else { return true }
            let name = String(decoding: bytes, as: UTF8.self) + (kind == .folder ? "/" : "")
            guard isWanted(name, kind), bound.map({ precedes(name, $0) }) ?? true else { return true }
            names.append(name)
            if names.count >= 4 * count {
                names = Array(names.sorted(by: precedes).prefix(count))
                bound = names.last
            }
            return true
        }
        return Array(names.sorted(by: precedes).prefix(count))
    }

    private func isWanted(_ name: String, _ kind: FolderReader.Kind) -> Bool {
        guard name.utf8.starts(with: prefix.utf8) else { return false }
        return precedes(after, name) || (mayDescend && kind == .folder && after.utf8.starts(with: name.utf8))
    }
}

/// Byte order. Between valid names, which are ASCII, `String` compares bytes too; `after` may be anything.
private func precedes(_ a: String, _ b: String) -> Bool { a.utf8.lexicographicallyPrecedes(b.utf8) }

extension String.UTF8View {
    fileprivate func ends(with byte: UInt8) -> Bool { last == byte }
}
