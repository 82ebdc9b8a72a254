import Glibc
import StoreCore

/// Questions to a block device.
enum DeviceFile {
    /// Whether it has content, which the kernel knows by its size.
    static func isUp(_ device: String) -> Bool {
        (sysfs(device, "size").flatMap { UInt64($0) } ?? 0) > 0
    }

    /// What stands behind a loop device; nil where nothing does.
    static func backingFile(_ device: String) -> String? { sysfs(device, "loop/backing_file") }

    /// Whether a file system, swap or another device holds it, in whatever mount namespace: the kernel grants O_EXCL
    /// to one user at a time.
    static func isInUse(_ device: String) -> Bool {
        let descriptor = open(device, O_RDONLY | O_EXCL | O_CLOEXEC)
        guard descriptor >= 0 else { return errno == EBUSY }
        close(descriptor)
        return false
    }

    /// Where it is mounted, as far as this process sees.
    static func mountPoint(_ device: String) -> String? {
        guard let number = sysfs(device, "dev") else { return nil }
        return mounts().first { $0.number == number }?.point
    }
    static func isMountPoint(_ path: String) -> Bool { mounts().contains { $0.point == path } }

    /// Brings what was written to it as far as the server's flush does.
    static func flush(_ device: String) throws(StorageError) {
        let descriptor = open(device, O_RDWR | O_CLOEXEC)
        // What is read-only has nothing to flush.
        guard descriptor >= 0 else {
            if errno == EROFS || errno == EACCES { return }
            throw systemError("open \(device)")
        }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw systemError("flush \(device)") }
    }

    private static func sysfs(_ device: String, _ file: String) -> String? {
        guard let name = device.split(separator: "/").last else { return nil }
        do {
            let bytes = try SmallFile.read("/sys/block/\(name)/\(file)")
            return String(decoding: bytes, as: UTF8.self).split(separator: "\n").first.map(String.init)
        } catch { return nil }
    }

    /// proc(5), mountinfo: the third field is the device, the fifth the place, with octal escapes.
    private static func mounts() -> [(number: String, point: String)] {
        do {
            let text = String(decoding: try SmallFile.read("/proc/self/mountinfo", bytesMax: 16 << 20), as: UTF8.self)
            return text.split(separator: "\n").compactMap { line in
                let fields = line.split(separator: " ")
                guard fields.count > 4 else { return nil }
                return (String(fields[2]), unescape(fields[4]))
            }
        } catch { return [] }
    }
    static func unescape(_ text: Substring) -> String {
        var (bytes, rest) = ([UInt8](), Array(text.utf8)[...])
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == UInt8(ascii: "\\"), digits.count == 3,
                let code = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
            {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Processes that an attachment started.
enum Helper {
    /// Whether it lives and is ours: its command line names the attachment's folder, since numbers are given anew.
    static func isAlive(_ pid: Int32, of folder: AttachmentFolder) -> Bool {
        do {
            let words = try SmallFile.read("/proc/\(pid)/cmdline", bytesMax: 1 << 20)
            return String(decoding: words, as: UTF8.self).contains(folder.path)
        } catch { return false }
    }

    /// For a process that this one started: its command line is empty for a moment after it began.
    static func hasEnded(child pid: Int32) -> Bool {
        var status: Int32 = 0
        return waitpid(pid, &status, WNOHANG) == pid
    }

    /// Ends it, gently first, and returns when it is gone. A child of ours is reaped.
    static func end(_ pid: Int32?, of folder: AttachmentFolder, patience: Duration) async throws {
        guard let pid, isAlive(pid, of: folder) else { return }
        kill(pid, SIGTERM)
        if try await wait(patience, { !isAlive(pid, of: folder) }) { return }
        kill(pid, SIGKILL)
        _ = try await wait(.seconds(5), { !isAlive(pid, of: folder) })
    }

    /// Looks again and again until it is so; false when the time is over.
    static func wait(_ patience: Duration, _ condition: () throws -> Bool) async throws -> Bool {
        let end = ContinuousClock.now + patience
        while true {
            if try condition() { return true }
            guard ContinuousClock.now < end else { return false }
            try await Task.sleep(for: .milliseconds(20))
        }
    }
}
