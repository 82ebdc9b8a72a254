import Glibc
import Logging
import StoreCore

/// Makes exports block devices of this machine, and undoes it. One attachment for each name and data directory.
struct Attachments: Sendable {
    let dataDirectory: String
    let log: Logger

    /// Returns when the device is up. What is attached already is returned as it is; what a crash left half done or
    /// dead is cleared away first.
    func attach(_ export: Export, device: String?) async throws -> AttachmentState {
        let folder = AttachmentFolder(dataDirectory: dataDirectory, name: export.name)
        if let state = try folder.load() {
            if isUp(state, folder) {
                guard device == nil || device == state.device else {
                    throw StorageError(.alreadyExists, "'\(export.name)' is attached as \(state.device) already")
                }
                return state
            }
            log.notice("clearing away what an earlier attach of '\(export.name)' left")
            try await undo(state, folder)
        }
        guard geteuid() == 0 else { throw StorageError(.denied, "attaching makes block devices: run it as root") }
        // The kernel's client knows no pre-shared keys.
        let method = export.key == nil ? try await chooseMethod() : .nbdfuse
        try await LoopDevice(folder: folder, log: log).clearStrayMount()
        try folder.make()
        var state = AttachmentState(name: export.name, method: method)
        try folder.save(state)
        do {
            switch method {
            case .kernel: try await KernelDevice(folder: folder).attach(export, device: device, &state)
            case .nbdfuse: try await LoopDevice(folder: folder, log: log).attach(export, device: device, &state)
            }
            return state
        } catch {
            // What stays is known to the next attach.
            do { try await undo(state, folder) } catch let second { log.warning("\(second)") }
            throw error
        }
    }

    /// False where nothing was attached.
    func detach(_ name: String, force: Bool) async throws -> Bool {
        let folder = AttachmentFolder(dataDirectory: dataDirectory, name: name)
        guard let state = try folder.load() else {
            try await LoopDevice(folder: folder, log: log).clearStrayMount()
            folder.remove()
            return false
        }
        guard geteuid() == 0 else { throw StorageError(.denied, "detaching removes block devices: run it as root") }
        if isUp(state, folder) {
            try refuseInUse(state)
            do { try DeviceFile.flush(state.device) } catch {
                guard force else {
                    throw StorageError(
                        .unavailable,
                        "\(state.device) cannot be flushed: detaching loses writes; --force detaches all the same",
                        cause: error)
                }
                log.warning("\(error)")
            }
        }
        try await undo(state, folder)
        return true
    }

    private func isUp(_ state: AttachmentState, _ folder: AttachmentFolder) -> Bool {
        guard !state.device.isEmpty, DeviceFile.isUp(state.device) else { return false }
        switch state.method {
        case .kernel: return true
        case .nbdfuse:
            let isOurs = DeviceFile.backingFile(state.device) == folder.disk
            return isOurs && state.fusePID.map { Helper.isAlive($0, of: folder) } == true
        }
    }

    private func refuseInUse(_ state: AttachmentState) throws(StorageError) {
        if let point = DeviceFile.mountPoint(state.device) {
            throw StorageError(.busy, "\(state.device) is mounted at \(point): umount \(point) first")
        }
        guard !DeviceFile.isInUse(state.device) else {
            throw StorageError(
                .busy, "\(state.device) is in use (a mount elsewhere, swap, RAID or LVM): release it first")
        }
    }

    private func undo(_ state: AttachmentState, _ folder: AttachmentFolder) async throws {
        switch state.method {
        case .kernel: try await KernelDevice(folder: folder).detach(state)
        case .nbdfuse: try await LoopDevice(folder: folder, log: log).detach(state)
        }
        folder.remove()
    }

    private func chooseMethod() async throws -> AttachmentState.Method {
        if Tool.locate("modprobe") != nil, access("/sys/module/nbd", F_OK) != 0 {
            // Fails where the kernel has no such module.
            _ = try await Tool.find("modprobe", package: "kmod").run(["-q", "nbd"])
        }
        let hasModule = access("/sys/module/nbd", F_OK) == 0 || access("/dev/nbd0", F_OK) == 0
        return hasModule ? .kernel : .nbdfuse
    }
}
