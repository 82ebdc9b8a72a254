import Foundation
import Glibc
import StoreCore
import Testing

@testable import ObjectStorage

@Suite struct AFullDisk {
    @Test(arguments: [
        (ENOSPC, ErrorCode.full), (EDQUOT, .full), (EACCES, .denied), (EROFS, .denied), (EIO, .unavailable),
        (EMFILE, .unavailable), (ESTALE, .unavailable), (ENAMETOOLONG, .invalid), (ENOENT, .notFound),
    ])
    func failuresHaveTheCodeThatSaysWhatToDo(number: Int32, code: ErrorCode) {
        let error = diskError("cannot create object a", number)
        #expect(error.code == code && error.message.hasPrefix("cannot create object a: "))
    }

    /// On a file system of 1 MiB, where this machine lets one be mounted.
    @Test(.enabled(if: SmallFileSystem.isPossible, "needs root to mount a small file system"))
    func isReportedAsFullAndLosesNothing() async throws {
        try await withTemporaryDirectory { path in
            try SmallFileSystem.mount(at: path)
            defer { SmallFileSystem.unmount(path) }
            let store = try await DirectoryStore(path: path)
            let half = [UInt8](repeating: 7, count: 600 << 10)
            #expect(try await store.create("a/first", half) == .created)
            #expect(await code { _ = try await store.create("a/second", half) } == .full)
            #expect(try await store.head("a/second") == nil)
            #expect(try await store.get("a/first") == half)
            try await store.delete(["a/first"])
            #expect(try await store.create("a/second", half) == .created)
        }
    }
}

enum SmallFileSystem {
    static var isPossible: Bool {
        guard geteuid() == 0 else { return false }
        let path = FileManager.default.temporaryDirectory.path + "/zerofs-mount-\(UUID().uuidString)"
        defer { rmdir(path) }
        guard mkdir(path, 0o700) == 0 else { return false }
        do { try mount(at: path) } catch { return false }
        unmount(path)
        return true
    }
    static func mount(at path: String) throws {
        guard Glibc.mount("tmpfs", path, "tmpfs", 0, "size=1M") == 0 else { throw StorageError(.denied, "mount") }
    }
    static func unmount(_ path: String) { umount(path) }
}
