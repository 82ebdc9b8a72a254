import ArgumentParser
@testable import CLI
import Control
import NBD
import S3
import StoreCore
import Testing

@Suite struct ServersListenWhereTheyAreTold {
    private func plan(_ arguments: [String] = [], _ change: (inout ZerofsConfiguration) -> Void = { _ in }) throws
        -> ServePlan
    {
        var configuration = ZerofsConfiguration()
        configuration.data.directory = "/data"
        change(&configuration)
        return try ServePlan(try Serve.parse(arguments), configuration)
    }
    private let local = NBDAddress.tcp(host: "127.0.0.1", port: 10809)

    @Test func theDefaultIsLocalTCP() throws {
        #expect(try plan().nbdAddresses == [local])
        #expect(try plan().controlAddresses == [.unix(path: "/data/control.sock")])
        #expect(try plan().volumes == nil)
    }
    @Test func aSocketAloneIsASocketAlone() throws {
        #expect(try plan(["--nbd-socket", "/n"]).nbdAddresses == [.unix(path: "/n", mode: 0o600)])
        #expect(try plan { $0.nbd.socket = "/n" }.nbdAddresses == [.unix(path: "/n", mode: 0o600)])
    }
    @Test func bothAreBoth() throws {
        let both: [NBDAddress] = [.tcp(host: "127.0.0.1", port: 0), .unix(path: "/n", mode: 0o600)]
        #expect(try plan(["--listen", "127.0.0.1:0", "--nbd-socket", "/n"]).nbdAddresses == both)
        #expect(
            try plan {
                $0.nbd.listen = ["127.0.0.1:0"]
                $0.nbd.socket = "/n"
            }.nbdAddresses == both)
    }
    @Test func theCommandLineReplacesTheConfiguration() throws {
        let addresses = try plan(["--listen", "10.0.0.1:1", "--listen", "[::1]:2"]) {
            $0.nbd.listen = ["127.0.0.1:3"]
            $0.nbd.socket = "/n"
        }.nbdAddresses
        #expect(addresses == [.tcp(host: "10.0.0.1", port: 1), .tcp(host: "::1", port: 2)])
    }
    @Test func controlTakesAPathAndTCPBesides() throws {
        #expect(
            try plan(["--control", "/c", "--control", "127.0.0.1:5"]).controlAddresses == [
                .unix(path: "/c"), .tcp(host: "127.0.0.1", port: 5),
            ])
        #expect(
            try plan(["--control", "127.0.0.1:5"]).controlAddresses == [
                .unix(path: "/data/control.sock"), .tcp(host: "127.0.0.1", port: 5),
            ])
    }
    @Test func oneClientNeedsNoAddress() throws {
        let plan = try plan(["--stdio", "v@s"]) { $0.nbd.socket = "/n" }
        #expect(plan.nbdAddresses.isEmpty)
        #expect(plan.volumes == ["v"])
        #expect(plan.export == VolumeReference(volume: "v", snapshot: "s"))
    }
    @Test func socketsOfAServiceManagerStandForAddresses() throws {
        let given: [NBDAddress] = [.inherited(descriptor: 3)]
        let arguments: [([String], [NBDAddress])] = [
            ([], given), (["--stdio", "v"], given), (["--nbd-socket", "/n"], [.unix(path: "/n", mode: 0o600)] + given),
        ]
        for (arguments, expected) in arguments {
            var configuration = ZerofsConfiguration()
            configuration.data.directory = "/data"
            let plan = try ServePlan(try Serve.parse(arguments), configuration, activated: given)
            #expect(plan.nbdAddresses == expected, "\(arguments)")
        }
    }
    @Test(arguments: [
        ["--listen", "nowhere"], ["--volume", "a@b"], ["--take-over", "a b"], ["--control", "/a", "--control", "/b"],
        ["--volume", "a", "--take-over", "b"], ["--stdio", "a", "--listen", "127.0.0.1:0"],
        ["--stdio", "a", "--nbd-socket", "/n"], ["--stdio", "a", "--volume", "a"], ["--stdio", "a b"],
    ])
    func nonsenseIsRefused(arguments: [String]) {
        #expect(throws: StorageError.self) { try plan(arguments) }
    }
}

@Suite struct StoresAreNamedByURL {
    @Test func directoriesAndBuckets() throws {
        #expect("\(try StoreLocation(parsing: "file:///srv//a/./b/../c/"))" == "file:///srv/a/c")
        #expect("\(try StoreLocation(parsing: "s3://bucket/prefix/"))" == "s3://bucket/prefix")
    }
    @Test(arguments: ["", "/srv/store", "file://relative", "file:///", "http://x/y", "s3://", "s3://bucket/a//b"])
    func nonsenseIsRefused(text: String) {
        let error = #expect(throws: StorageError.self) { try StoreLocation(parsing: text) }
        #expect(error?.code == .invalid)
    }
    @Test func theConfigurationsCredentialsComeFirst() async throws {
        var settings = ZerofsConfiguration.Store()
        settings.url = "s3://bucket/p"
        settings.endpoint = "http://127.0.0.1:9000"
        settings.region = "x"
        settings.accessKeyID = "id"
        settings.secretAccessKey = "secret"
        guard case .s3(let url) = try StoreLocation(parsing: settings.url) else { return }
        let configuration = try StoreFactory.s3(url, settings)
        #expect(try await configuration.credentials.credentials().accessKeyID == "id")
        #expect(configuration.endpoint == "http://127.0.0.1:9000")
        #expect(configuration.region == "x")
    }
}

@Suite struct DevicesAreAskedForProperly {
    private let export = Export(
        name: "pg-prod@a+b", isReadOnly: true, addresses: ["0.0.0.0:10809", "unix:/run/my nbd.sock"])

    @Test func theSocketIsPreferredAndEncoded() throws {
        #expect(try export.uri() == "nbd+unix:///pg-prod%40a%2Bb?socket=/run/my%20nbd.sock")
        let tcp = Export(name: "v", isReadOnly: false, addresses: ["0.0.0.0:10809"])
        #expect(try tcp.uri() == "nbd://127.0.0.1:10809/v")
    }
    @Test func theKernelsClientGetsSoundOptions() throws {
        #expect(
            try KernelDevice.arguments(export, device: "/dev/nbd1") == [
                "-unix", "/run/my nbd.sock", "/dev/nbd1", "-N", "pg-prod@a+b", "-persist", "-block-size", "4096",
                "-connections", "4", "-readonly",
            ])
    }
    @Test func theRetryFilterReconnects() throws {
        let arguments = try LoopDevice.retryArguments(
            Export(name: "v", isReadOnly: false, addresses: ["[::]:5"]), "/s")
        #expect(arguments.contains("--filter=retry"))
        #expect(arguments.contains("hostname=::1") && arguments.contains("port=5") && arguments.contains("export=v"))
    }
    @Test func mountPointsAreReadWithTheirEscapes() {
        #expect(DeviceFile.unescape("/mnt/with\\040blank\\134") == "/mnt/with blank\\")
    }
}
