import Glibc
import StoreCore

/// The kernel's own NBD client, /dev/nbdN, which reconnects by itself.
struct KernelDevice {
    let folder: AttachmentFolder

    func attach(_ export: Export, device: String?, _ state: inout AttachmentState) async throws {
        let client = try Tool.find("nbd-client", package: "nbd-client")
        state.device = try device ?? Self.freeDevice()
        try folder.save(state)
        try await client.runOrThrow(try Self.arguments(export, device: state.device), "attach '\(export.name)'")
        let device = state.device
        guard try await Helper.wait(.seconds(10), { DeviceFile.isUp(device) }) else {
            throw StorageError(.unavailable, "\(device) did not come up")
        }
    }

    func detach(_ state: AttachmentState) async throws {
        guard !state.device.isEmpty, DeviceFile.isUp(state.device) else { return }
        let client = try Tool.find("nbd-client", package: "nbd-client")
        try await client.runOrThrow(["-d", state.device], "detach \(state.device)")
        _ = try await Helper.wait(.seconds(10)) { !DeviceFile.isUp(state.device) }
    }

    /// 4 KiB blocks are the grain of a volume: the kernel then never asks for less.
    static func arguments(_ export: Export, device: String) throws(StorageError) -> [String] {
        let server =
            switch try export.address() {
            case .unix(let path): ["-unix", path]
            case .tcp(let host, let port): [host, "\(port)"]
            }
        return server + [device, "-N", export.name, "-persist", "-block-size", "4096", "-connections", "4"]
            + (export.isReadOnly ? ["-readonly"] : [])
    }

    private static func freeDevice() throws(StorageError) -> String {
        for number in 0..<256 where access("/dev/nbd\(number)", F_OK) == 0 {
            let device = "/dev/nbd\(number)"
            if !DeviceFile.isUp(device), access("/sys/block/nbd\(number)/pid", F_OK) != 0 { return device }
        }
        throw StorageError(.busy, "every /dev/nbd device is taken: detach one, or load nbd with a higher nbds_max")
    }
}
