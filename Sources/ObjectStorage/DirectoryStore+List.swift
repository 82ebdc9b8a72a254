import Glibc
import StoreCore

extension DirectoryStore {
    func listNow(prefix: String, after: ObjectKey?, limit: Int) throws(StorageError) -> ObjectPage {
        // Only whole segments name directories; the rest is the beginning of a name in the last of them.
        let start =
            prefix.utf8.lastIndex(of: UInt8(ascii: "/")).map { prefix.utf8.index(after: $0) } ?? prefix.startIndex
        let folder = String(prefix[..<start])
        guard folder.isEmpty || ObjectKey(String(folder.dropLast())).isValid else {
            return ObjectPage(objects: [], isTruncated: false)
        }
        // One more than asked for tells whether more follow.
        var walk = FolderWalk(store: self, after: after?.text ?? "", wanted: limit + 1)
        try walk.visit(folder, namesFrom: String(prefix[start...]))
        let isTruncated = walk.found.count > limit
        return ObjectPage(objects: Array(walk.found.prefix(limit)), isTruncated: isTruncated)
    }
}

/// Goes through the directories in the byte order of whole keys, and stops when it has found enough.
///
/// Within a directory that is the order of names with a directory's ending in `/`: `a-b` stands before `a/c`, because
/// `-` sorts before `/`. Of a directory at most a few pages of names are held at once.
private struct FolderWalk {
    let store: DirectoryStore
    let after: String
    let wanted: Int
    var found: [ObjectInfo] = []

    init(store: DirectoryStore, after: String, wanted: Int) {
        self.store = store
        self.after = after
        self.wanted = wanted
    }

    /// - Parameters:
    ///   - folder: `""` or `a/b/`.
    ///   - prefix: of the names in it that count.
    mutating func visit(_ folder: String, namesFrom prefix: String) throws(StorageError) {
        let isWithin = after.utf8.starts(with: folder.utf8)
        if !isWithin, precedes(folder, after) { return }
        guard let reader = try FolderReader(at: store.root.directory.descriptor, folder.isEmpty ? "." : folder) else {
            return
        }
        var selection = NameSelection(
            prefix: prefix, after: isWithin ? String(after.utf8.dropFirst(folder.utf8.count)) ?? "" : "",
            mayDescend: true, count: wanted - found.count)
        while found.count < wanted {
            let names = try selection.take(from: reader)
            for name in names where found.count < wanted { try take(name, of: folder, reader) }
            guard names.count == selection.count, let last = names.last else { return }
            selection = NameSelection(prefix: prefix, after: last, mayDescend: false, count: wanted)
            reader.rewind()
        }
    }

    private mutating func take(_ name: String, of folder: String, _ reader: borrowing FolderReader) throws(StorageError)
    {
        guard !name.utf8.ends(with: UInt8(ascii: "/")) else { return try visit(folder + name, namesFrom: "") }
        let key = ObjectKey(folder + name)
        if let object = try store.objectInfo(key, at: reader.descriptor, path: name) { found.append(object) }
    }
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
