import Foundation
import Glibc
import StoreCore
import Testing

@testable import NBD

private let eshutdown: UInt32 = 108

@Suite struct ConnectionsComeAndGo {
    @Test func aThousandClientsLeaveNothingBehind() async throws {
        try await Served.with(MemoryDevice(size: 1 << 20)) { served in
            let path = served.path
            try await withThrowingTaskGroup(of: Void.self) { group in
                for worker in 0..<8 {
                    group.addTask {
                        try await blocking {
                            for round in 0..<125 {
                                let client = try RawClient(unix: path)
                                switch (worker + round) % 5 {
                                case 0: continue
                                case 1: try client.greet()
                                case 2: try client.go()
                                case 3:
                                    try client.go()
                                    try client.request(0, cookie: 1, length: 512)
                                    try client.request(3, cookie: 2)
                                default:
                                    try client.go()
                                    #expect(try client.ask(0, length: 512).type == 1)
                                    try client.request(2, cookie: 0)
                                    #expect(client.isClosed())
                                }
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect(try await eventually { served.server.connections().isEmpty })
            #expect(served.directory.attachedCount == 0)
            #expect(served.directory.attaches >= 600)
        }
    }

    @Test func disconnectAnswersWhatIsOutstanding() async throws {
        let device = MemoryDevice()
        try await Served.with(device) { served in
            device.behave { $0.isHolding = true }
            let path = served.path
            try await blocking {
                let client = try RawClient(unix: path)
                try client.go()
                for cookie in 1...5 as ClosedRange<UInt64> { try client.request(3, cookie: cookie) }
                try client.request(2, cookie: 0)
                device.behave { $0.isHolding = false }
                #expect(Set(try (1...5).map { _ in try client.chunk().cookie }) == [1, 2, 3, 4, 5])
                #expect(client.isClosed())
            }
            #expect(device.calls.flushes == 5)
        }
    }

    @Test func aVanishedClientsWritesAreFinishedBeforeDetach() async throws {
        let device = MemoryDevice()
        try await Served.with(device) { served in
            device.behave {
                $0.answersNow = false
                $0.isHolding = true
            }
            let path = served.path
            try await blocking {
                let client = try RawClient(unix: path)
                try client.go()
                try client.request(1, cookie: 1, length: 4, payload: [1, 2, 3, 4])
                try client.request(0, cookie: 2, length: 4096)
                while served.server.connections().first?.requestsInFlight != 2 { usleep(1000) }
            }
            try await Task.sleep(for: .milliseconds(50))
            #expect(served.directory.attachedCount == 1, "the write still uses the device")
            device.behave { $0.isHolding = false }
            #expect(try await eventually { served.directory.attachedCount == 0 })
            #expect(device.contents.starts(with: [1, 2, 3, 4]))
        }
    }

    @Test func connectionsAreListed() async throws {
        try await Served.with(MemoryDevice()) { served in
            let path = served.path
            let holder = try await blocking { () -> RawClientBox in
                let client = try RawClient(unix: path)
                try client.go()
                return RawClientBox(client)
            }
            // The client goes on as soon as it has the last reply; the server takes note of the export after that.
            #expect(try await eventually { served.server.connections().first?.export != nil })
            let infos = served.server.connections()
            #expect(infos.map(\.export) == ["disk"] && infos.map(\.peer) == ["unix"])
            #expect(served.server.disconnect(export: "other") == 0)
            #expect(served.server.disconnect(export: "disk") == 1)
            try await blocking { #expect(holder.client.isClosed()) }
            #expect(try await eventually { served.server.connections().isEmpty && served.directory.attachedCount == 0 })
        }
    }

    @Test func whoHagglesTooLongIsDisconnected() async throws {
        var limits = NBDLimits()
        limits.handshakeDuration = .milliseconds(1500)
        try await Served.with(MemoryDevice(), limits: limits) { served in
            let path = served.path
            try await blocking {
                let silent = try RawClient(unix: path)
                let trickling = try RawClient(unix: path)
                for byte in number(3 as UInt32) + Array("IHAVEOPT".utf8) {
                    do { try trickling.send([byte]) } catch { break }
                    usleep(150_000)
                }
                #expect(silent.isClosed() && trickling.isClosed())
            }
        }
    }

    @Test func transmissionHasNoDeadline() async throws {
        var limits = NBDLimits()
        limits.handshakeDuration = .milliseconds(500)
        try await Served.with(MemoryDevice(), limits: limits) { served in
            let path = served.path
            try await blocking {
                var entered: RawClient?
                // On a busy machine the handshake itself may take too long.
                for _ in 0..<20 where entered == nil {
                    let client = try RawClient(unix: path)
                    do { try client.go() } catch { continue }
                    entered = client
                }
                usleep(700_000)
                #expect(try entered?.ask(0, length: 512).type == 1)
            }
        }
    }

    @Test func tooManyClientsAreTurnedAway() async throws {
        var limits = NBDLimits()
        limits.connectionsMax = 2
        try await Served.with(MemoryDevice(), limits: limits) { served in
            let path = served.path
            try await blocking {
                let first = try RawClient(unix: path)
                let second = try RawClient(unix: path)
                try first.go()
                try second.go()
                #expect(try RawClient(unix: path).isClosed())
                #expect(try first.ask(0, length: 512).type == 1)
            }
        }
    }
}

struct RawClientBox: @unchecked Sendable {
    let client: RawClient
    init(_ client: RawClient) { self.client = client }
}

@Suite struct LoadIsBounded {
    /// A client that sends requests and reads no reply stops being read; the others do not notice.
    @Test(arguments: [true, false]) func aSlowReaderBlocksOnlyItself(now: Bool) async throws {
        var limits = NBDLimits()
        limits.connectionBytesMax = 2 << 20
        limits.totalBytesMax = 4 << 20
        let device = MemoryDevice()
        device.behave { $0.answersNow = now }
        try await Served.with(device, limits: limits) { served in
            let path = served.path
            try await blocking {
                let lazy = try (0..<4).map { _ in try RawClient(unix: path) }
                for client in lazy {
                    try client.go()
                    for cookie in 0..<100 as Range<UInt64> { try client.request(0, cookie: cookie, length: 1 << 20) }
                }
                let busy = try RawClient(unix: path)
                try busy.go()
                for _ in 0..<20 { #expect(try busy.ask(0, flags: 4, length: 1 << 20).type == 1) }
                // Who was slow gets everything in the end.
                for client in lazy {
                    var done = 0
                    while done < 100 { done += try client.chunk().flags & 1 == 1 ? 1 : 0 }
                }
            }
        }
    }

    @Test func requestsBeyondTheBoundWait() async throws {
        var limits = NBDLimits()
        limits.requestsInFlightMax = 8
        let device = MemoryDevice()
        device.behave {
            $0.answersNow = false
            $0.isHolding = true
        }
        try await Served.with(device, limits: limits) { served in
            let path = served.path
            try await blocking {
                let client = try RawClient(unix: path)
                try client.go()
                for cookie in 0..<50 as Range<UInt64> { try client.request(0, cookie: cookie, length: 512) }
                while served.server.connections().first?.requestsInFlight ?? 0 < 8 { usleep(1000) }
                // Time for more, where the bound does not hold.
                usleep(100_000)
                #expect(served.server.connections().first?.requestsInFlight == 8)
                device.behave { $0.isHolding = false }
                #expect(Set(try (0..<50).map { _ in try client.chunk().cookie }).count == 50)
            }
        }
    }
}

@Suite struct ServersStop {
    @Test func stopAnswersWhatIsInFlightAndRefusesTheLate() async throws {
        let device = MemoryDevice()
        try await Served.with(device) { served in
            device.behave { $0.isHolding = true }
            let path = served.path
            let box = try await blocking { () -> RawClientBox in
                let client = try RawClient(unix: path)
                try client.go()
                try client.request(3, cookie: 1)
                while served.server.connections().first?.requestsInFlight != 1 { usleep(1000) }
                return RawClientBox(client)
            }
            async let stopped: Void = served.server.stop(draining: .seconds(10))
            try await Task.sleep(for: .milliseconds(50))
            device.behave { $0.isHolding = false }
            try await blocking {
                let reply = try box.client.chunk()
                #expect(reply.cookie == 1 && reply.errorCode == nil)
                #expect(box.client.isClosed())
            }
            await stopped
            #expect(served.directory.attachedCount == 0)
            #expect(!FileManager.default.fileExists(atPath: path))
            await #expect(throws: RawClient.Failure.self) { try await blocking { _ = try RawClient(unix: path) } }
        }
    }

    @Test func whatDoesNotDrainIsCancelledAndCut() async throws {
        let device = MemoryDevice()
        try await Served.with(device) { served in
            device.behave { $0.isHolding = true }
            let path = served.path
            let box = try await blocking { () -> RawClientBox in
                let client = try RawClient(unix: path)
                try client.go()
                try client.request(3, cookie: 1)
                while served.server.connections().first?.requestsInFlight != 1 { usleep(1000) }
                return RawClientBox(client)
            }
            await served.server.stop(draining: .milliseconds(50))
            #expect(served.directory.attachedCount == 0 && device.calls.flushes == 0)
            try await blocking { #expect(box.client.isClosed()) }
        }
    }

    @Test func requestsThatMeetTheEndGetShutdown() async throws {
        let device = MemoryDevice()
        try await Served.with(device) { served in
            let path = served.path
            try await blocking {
                let client = try RawClient(unix: path)
                try client.go()
                #expect(try client.ask(0, length: 512).type == 1)
                // A large write is under way when the end begins; the request behind it is late.
                try client.send(client.header(1, cookie: 1, length: 1 << 20) + [UInt8](repeating: 1, count: 1000))
                usleep(50_000)
                let connection = served.server.connections()
                #expect(connection.count == 1)
                try client.send([UInt8](repeating: 1, count: 1 << 20 - 1000) + client.header(0, cookie: 2, length: 512))
                #expect(try client.chunk().cookie == 1)
                _ = try client.chunk()
            }
        }
    }

    @Test func hagglersAreToldOfTheEnd() async throws {
        var handshake = Handshake()
        _ = handshake.next()
        handshake.isShuttingDown = true
        handshake.receive(number(3 as UInt32) + number(Magic.option) + number(8 as UInt32) + number(0 as UInt32))
        #expect(handshake.next() == .send(OptionReplyMessage.encode(8, .errorShutdown, "the server is shutting down")))
    }
}

@Suite struct AddressesAreClaimed {
    private func path() -> String { NSTemporaryDirectory() + "nbd-\(UUID().uuidString.prefix(8)).sock" }

    @Test func theSocketFileHasItsModeAndGoesWithTheServer() async throws {
        let path = path()
        let server = NBDServer(MemoryDirectory(), listeningOn: [.unix(path: path, mode: 0o600)])
        #expect(try server.start() == [.unix(path: path, mode: 0o600)])
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        await server.stop()
        #expect(!FileManager.default.fileExists(atPath: path))
    }
    @Test func aStaleSocketIsReplacedALiveOneIsNot() async throws {
        let path = path()
        let first = NBDServer(MemoryDirectory(), listeningOn: [.unix(path: path)])
        _ = try first.start()
        let error = #expect(throws: StorageError.self) {
            _ = try NBDServer(MemoryDirectory(), listeningOn: [.unix(path: path)]).start()
        }
        #expect(error?.code == .busy)
        // A server that dies leaves its file: rename it away and back, so that stop does not find it.
        try FileManager.default.moveItem(atPath: path, toPath: path + ".kept")
        await first.stop()
        try FileManager.default.moveItem(atPath: path + ".kept", toPath: path)
        let second = NBDServer(MemoryDirectory(), listeningOn: [.unix(path: path)])
        _ = try second.start()
        await second.stop()
    }
    @Test func otherFilesAndBadAddressesAreRefused() throws {
        let path = path()
        #expect(FileManager.default.createFile(atPath: path, contents: nil))
        defer { unlink(path) }
        func code(_ address: NBDAddress) -> ErrorCode? {
            do { _ = try NBDServer(MemoryDirectory(), listeningOn: [address]).start() } catch {
                return error.storageCode
            }
            return nil
        }
        #expect(code(.unix(path: path)) == .alreadyExists)
        #expect(code(.unix(path: "/nonexistent/x.sock")) == .invalid)
        #expect(code(.unix(path: String(repeating: "x", count: 108))) == .invalid)
        #expect(code(.unix(path: "")) == .invalid)
        #expect(code(.tcp(host: "no.such.host.invalid", port: 0)) == .invalid)
    }
    @Test func aTakenPortIsBusy() async throws {
        let first = NBDServer(MemoryDirectory(), listeningOn: [.tcp(host: "127.0.0.1", port: 0)])
        let address = try first.start()[0]
        let error = #expect(throws: StorageError.self) {
            _ = try NBDServer(MemoryDirectory(), listeningOn: [address]).start()
        }
        #expect(error?.code == .busy)
        await first.stop()
    }
    @Test func addressesPrintAsURIs() {
        #expect(NBDAddress.tcp(host: "::1", port: 10809).description == "nbd://[::1]:10809")
        #expect(NBDAddress.unix(path: "/run/z.sock").description == "nbd+unix:///?socket=/run/z.sock")
    }
}

@Suite struct DescriptorsAreServed {
    @Test func aSocketPairIsAConnection() async throws {
        var ends: [Int32] = [0, 0]
        #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        let directory = MemoryDirectory(MemoryDevice())
        let server = NBDServer(directory)
        let (ours, theirs) = (ends[0], ends[1])
        async let served: Void = server.serve(input: theirs, output: theirs)
        try await blocking {
            let client = RawClient(adopting: ours)
            try client.go("")
            #expect(try client.ask(0, length: 512).type == 1)
            try client.request(2, cookie: 0)
            #expect(client.isClosed())
        }
        try await served
        #expect(directory.attaches == 1 && directory.attachedCount == 0)
    }

    /// nbdsh runs a command and speaks with it over pipes or a socket: here two pipes, as a shell would connect them.
    @Test(arguments: [true, false]) func twoPipesAreAConnection(now: Bool) async throws {
        var request: [Int32] = [0, 0]
        var response: [Int32] = [0, 0]
        #expect(pipe(&request) == 0 && pipe(&response) == 0)
        let device = MemoryDevice()
        device.behave { $0.answersNow = now }
        let server = NBDServer(MemoryDirectory(device))
        let (input, output, to, from) = (request[0], response[1], request[1], response[0])
        async let served: Void = server.serve(input: input, output: output)
        try await blocking {
            func receive(_ count: Int) -> [UInt8] {
                var bytes = [UInt8](repeating: 0, count: count)
                var filled = 0
                while filled < count {
                    let got = bytes.withUnsafeMutableBytes { read(from, $0.baseAddress! + filled, count - filled) }
                    guard got > 0 else { break }
                    filled += got
                }
                return Array(bytes[..<filled])
            }
            #expect(receive(18).starts(with: "NBDMAGIC".utf8))
            let hello =
                number(3 as UInt32) + number(Magic.option) + number(1 as UInt32) + number(4 as UInt32)
                + Array("disk".utf8)
            _ = write(to, hello, hello.count)
            #expect(receive(10).starts(with: number(16 << 20 as UInt64)))
            let query =
                number(0x2560_9513 as UInt32) + number(0 as UInt32) + number(1 as UInt64) + number(0 as UInt64)
                + number(1 << 20 as UInt32)
            _ = write(to, query, query.count)
            #expect(receive(16 + 1 << 20).count == 16 + 1 << 20)
            close(to)
            #expect(receive(1).isEmpty)
            close(from)
        }
        try await served
    }

    @Test func stopReachesAServedPipe() async throws {
        var request: [Int32] = [0, 0]
        var response: [Int32] = [0, 0]
        #expect(pipe(&request) == 0 && pipe(&response) == 0)
        let server = NBDServer(MemoryDirectory(MemoryDevice()))
        let (input, output) = (request[0], response[1])
        async let served: Void = server.serve(input: input, output: output)
        #expect(try await eventually { server.connections().count == 1 })
        await server.stop(draining: .seconds(5))
        try await served
        close(request[1])
        close(response[0])
    }
}

@Suite struct ServiceIsMeasured {
    @Test func everyKindOfRequestIsCounted() async throws {
        let statistics = NBDStatistics()
        try await Served.with(MemoryDevice(), observer: statistics) { served in
            let path = served.path
            try await blocking {
                let client = try RawClient(unix: path)
                try client.go()
                for _ in 0..<3 { _ = try client.ask(0, length: 4096) }
                _ = try client.ask(0, offset: 1 << 40, length: 4096)
                _ = try client.ask(1, length: 512, payload: [UInt8](repeating: 1, count: 512))
                _ = try client.ask(1, flags: 1, length: 512, payload: [UInt8](repeating: 1, count: 512))
                _ = try client.ask(3)
                _ = try client.ask(4, length: 8192)
                _ = try client.ask(6, length: 8192)
                _ = try client.ask(5, length: 8192)
                _ = try client.ask(7, length: 8192)
                try client.request(2, cookie: 0)
                #expect(client.isClosed())
            }
            // A request is counted a moment after its reply.
            #expect(
                try await eventually {
                    statistics.snapshot()["disk"]?.values.reduce(0) { $0 + $1.requests } == 11
                })
            let disk = try #require(statistics.snapshot()["disk"])
            #expect(disk[.read]?.requests == 4 && disk[.read]?.failures == 1 && disk[.read]?.bytes == 12288)
            #expect(disk[.write]?.requests == 2 && disk[.write]?.bytes == 1024 && disk[.write]?.failures == 0)
            for operation in [.flush, .trim, .writeZeroes, .cache, .blockStatus] as [NBDOperation] {
                #expect(disk[operation]?.requests == 1, "\(operation)")
            }
            #expect(disk[.trim]?.bytes == 8192)
            let latency = try #require(disk[.read]?.latency)
            #expect(latency.count == 4 && latency.max < 10_000_000_000)
            statistics.forget(export: "disk")
            #expect(statistics.snapshot().isEmpty)
        }
    }
}
