import Control
import Glibc
import StoreCore
import Testing

@Suite struct OneServerPerDataDirectory {
    private let serve = LockHolder(pid: 1234, command: "serve", control: "/run/control.sock")

    @Test func aSecondExclusiveHolderIsRefusedAndLearnsWhoHoldsIt() throws {
        let directory = TemporaryDirectory()
        let data = "\(directory.path)/data"
        let lock = try #require(try DataDirectoryLock.acquire(in: data, as: serve))
        #expect(try DataDirectoryLock.acquire(in: data, as: LockHolder(pid: 2, command: "create")) == nil)
        #expect(try DataDirectoryLock.acquire(in: data, as: nil) == nil)
        #expect(DataDirectoryLock.holder(in: data) == serve)
        withExtendedLifetime(lock) {}
    }

    @Test func readersShare() throws {
        let directory = TemporaryDirectory()
        let first = try DataDirectoryLock.acquire(in: directory.path, as: nil)
        let second = try DataDirectoryLock.acquire(in: directory.path, as: nil)
        #expect(first != nil && second != nil)
        #expect(try DataDirectoryLock.acquire(in: directory.path, as: serve) == nil)
        #expect(DataDirectoryLock.holder(in: directory.path) == nil)
    }

    @Test func itIsFreeWhenItsHolderIsGone() throws {
        let directory = TemporaryDirectory()
        for _ in 0..<3 { #expect(try DataDirectoryLock.acquire(in: directory.path, as: serve) != nil) }
    }

    @Test func theDirectoryAndTheFileArePrivate() throws {
        let directory = TemporaryDirectory()
        let data = "\(directory.path)/a/b"
        let lock = try DataDirectoryLock.acquire(in: data, as: serve)
        var status = stat()
        #expect(stat(data, &status) == 0 && status.st_mode & 0o777 == 0o700)
        #expect(stat(DataDirectoryLock.path(in: data), &status) == 0 && status.st_mode & 0o777 == 0o600)
        withExtendedLifetime(lock) {}
    }

    @Test func aFileInTheDirectorysPlaceIsNamed() throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/file"
        close(open(path, O_CREAT | O_WRONLY, 0o600))
        let error = #expect(throws: StorageError.self) { try DataDirectoryLock.acquire(in: path, as: serve) }
        #expect(error?.message.contains(path) == true)
    }
}
