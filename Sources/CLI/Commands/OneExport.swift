import StoreCore

/// One volume or snapshot of a directory, and nothing else. It is the default export too, which clients of standard
/// input and output ask for.
struct OneExport: DeviceDirectory {
    private let name: String
    private let directory: any DeviceDirectory

    init(_ export: VolumeReference, of directory: any DeviceDirectory) {
        name = export.description
        self.directory = directory
    }

    /// Throws `notFound` where it does not exist.
    func exportNames() async throws -> [String] { [try await directory.describe(name).name] }
    func describe(_ name: String) async throws -> DeviceDescription { try await directory.describe(known(name)) }
    func attach(_ name: String) async throws -> any BlockDevice { try await directory.attach(known(name)) }
    func attach(_ name: String, for client: DeviceClient) async throws -> any BlockDevice {
        try await directory.attach(known(name), for: client)
    }
    func detach(_ device: any BlockDevice) async { await directory.detach(device) }

    private func known(_ name: String) throws(StorageError) -> String {
        guard name.isEmpty || name == self.name else {
            throw StorageError(.notFound, "only \(self.name) is served here, not '\(name)'")
        }
        return self.name
    }
}
