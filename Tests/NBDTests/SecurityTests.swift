import StoreCore
import Synchronization
import Testing

@testable import NBD

/// Feeds options to a handshake whose upgrade always succeeds.
private struct Haggling {
    var handshake = Handshake()
    var upgrades = 0

    init(_ security: Handshake.Security, clientFlags: UInt32 = 3) {
        handshake.security = security
        handshake.receive(number(clientFlags))
        guard case .send = handshake.next() else { preconditionFailure("the greeting comes first") }
    }

    mutating func option(
        _ code: UInt32, _ data: [UInt8] = [], behind: [UInt8] = []
    ) -> (sent: [UInt8], steps: [Handshake.Step]) {
        handshake.receive(number(Magic.option) + number(code) + number(UInt32(data.count)) + data + behind)
        return run()
    }
    /// Oversized data, which is skipped.
    mutating func longOption(_ code: UInt32) -> (sent: [UInt8], steps: [Handshake.Step]) {
        option(code, [UInt8](repeating: 0, count: NBDLimits.optionBytesMax + 1))
    }
    mutating func run() -> (sent: [UInt8], steps: [Handshake.Step]) {
        var (sent, steps): ([UInt8], [Handshake.Step]) = ([], [])
        while true {
            let step = handshake.next()
            switch step {
            case .send(let bytes): sent += bytes
            case .ask(let question):
                steps.append(step)
                switch question {
                case .names: handshake.answer(.names(["disk"]))
                case .describe(let name), .attach(let name):
                    handshake.answer(
                        .description(DeviceDescription(name: name, summary: "", size: 4096, isReadOnly: false)))
                }
            case .startTLS:
                steps.append(step)
                upgrades += 1
                handshake.secured()
            case .noteInjection: steps.append(step)
            case .needBytes, .close, .transmit: return (sent, steps + [step])
            }
        }
    }
}

private func code(_ sent: [UInt8]) -> UInt32? {
    sent.count < 20 ? nil : sent[12..<16].reduce(0) { $0 << 8 | UInt32($1) }
}
private let ack: UInt32 = 1
private let tlsRequired: UInt32 = 0x8000_0005
private let goDisk = text("disk") + [0, 0]

@Suite struct NothingIsSaidBeforeARequiredUpgrade {
    @Test(arguments: [0, 3, 4, 6, 7, 8, 9, 10, 11, 99, .max] as [UInt32])
    func everyOptionIsRefused(option: UInt32) {
        var haggling = Haggling(.required)
        for _ in 0..<2 {
            let (sent, steps) = haggling.option(option, option == 6 || option == 7 ? goDisk : [])
            #expect(code(sent) == tlsRequired && steps == [.needBytes])
        }
        #expect(code(haggling.longOption(option).sent) == tlsRequired)
        #expect(code(haggling.option(5).sent) == ack && haggling.upgrades == 1)
    }
    @Test func exportNameEndsTheSession() {
        var haggling = Haggling(.required)
        let (sent, steps) = haggling.option(1, Array("disk".utf8))
        #expect(sent.isEmpty && steps == [.close])
    }
    @Test func abortIsAcknowledged() {
        var haggling = Haggling(.required)
        let (sent, steps) = haggling.option(2)
        #expect(code(sent) == ack && steps == [.close])
    }
    @Test func aClientWithoutFixedNewstyleIsSentAway() {
        var haggling = Haggling(.required, clientFlags: 2)
        #expect(haggling.run().steps == [.close])
    }
    @Test func afterTheUpgradeEverythingIsServed() {
        var haggling = Haggling(.required)
        _ = haggling.option(5)
        #expect(code(haggling.option(8).sent) == ack)
        #expect(haggling.option(3).steps == [.ask(.names), .needBytes])
        let agreement = Handshake.Agreement(export: "disk", mode: .structured, hasAllocationContext: false)
        #expect(haggling.option(7, goDisk).steps == [.ask(.attach("disk")), .transmit(agreement)])
    }
}

@Suite struct TheUpgrade {
    @Test func isRefusedWhereThereIsNoTLS() {
        var haggling = Haggling(.unavailable)
        #expect(code(haggling.option(5).sent) == 0x8000_0001 && haggling.upgrades == 0)
        #expect(haggling.option(3).steps == [.ask(.names), .needBytes])
    }
    @Test func isTheClientsChoiceWhereItIsOffered() {
        var plain = Haggling(.offered)
        #expect(plain.option(7, goDisk).steps.first == .ask(.attach("disk")))
        var careful = Haggling(.offered)
        #expect(code(careful.option(5).sent) == ack && careful.upgrades == 1)
    }
    @Test func isNotOfferedToAClientWithoutFixedNewstyle() {
        var haggling = Haggling(.offered, clientFlags: 2)
        #expect(code(haggling.option(5).sent) == 0x8000_0001 && haggling.upgrades == 0)
    }
    @Test func happensOnce() {
        var haggling = Haggling(.offered)
        _ = haggling.option(5)
        #expect(code(haggling.option(5).sent) == 0x8000_0003 && haggling.upgrades == 1)
    }
    @Test func takesNoData() {
        var haggling = Haggling(.required)
        #expect(code(haggling.option(5, [0]).sent) == 0x8000_0003 && haggling.upgrades == 0)
    }
    @Test func forgetsWhatWasAgreedBefore() {
        var haggling = Haggling(.offered)
        _ = haggling.option(11)
        _ = haggling.option(10, text("disk") + number(1 as UInt32) + text("base:allocation"))
        _ = haggling.option(5)
        let agreement = Handshake.Agreement(export: "disk", mode: .simple, hasAllocationContext: false)
        #expect(haggling.option(7, goDisk).steps == [.ask(.attach("disk")), .transmit(agreement)])
    }
    @Test(arguments: [Handshake.Security.offered, .required])
    func takesNoBytesThatWereSentBeforeItBegan(security: Handshake.Security) {
        var haggling = Haggling(security)
        let injected = number(Magic.option) + number(3 as UInt32) + number(0 as UInt32)
        let (sent, steps) = haggling.option(5, behind: injected)
        #expect(sent.isEmpty && steps == [.noteInjection, .close] && haggling.upgrades == 0)
    }
}

/// Hands the stream on as it is, and says who the client is.
private final class Introduction: TransportSecurity {
    let client: NBDClient
    let refusals = Mutex<[String]>([])
    init(_ client: NBDClient) { self.client = client }
    func secure(_ transport: any Transport, within nanoseconds: UInt64) throws -> SecuredTransport {
        SecuredTransport(transport, client: client)
    }
    func noteRefusal(of peer: String, _ reason: String) { refusals.withLock { $0.append(reason) } }
}

@Suite struct HandshakesEnd {
    /// Whose replies fill the socket must not keep a connection for ever.
    @Test func whenAClientTakesNoReplies() async throws {
        let devices = (0..<20).map { MemoryDevice("\($0)" + String(repeating: "n", count: 4000), size: 4096) }
        var limits = NBDLimits()
        limits.handshakeDuration = .seconds(1)
        try await Served.with(MemoryDirectory(devices), limits: limits) { served in
            let client = try RawClient(tcp: served.port)
            try client.greet()
            let list = number(Magic.option) + number(3 as UInt32) + number(0 as UInt32)
            try client.send((0..<600).flatMap { _ in list })
            #expect(try await eventually { served.server.connections().count == 1 })
            #expect(try await eventually(within: 15) { served.server.connections().isEmpty })
            withExtendedLifetime(client) {}
        }
    }
}

@Suite struct ExportsAreForThoseWhoMayUseThem {
    private static let db1 = NBDClient(.preSharedKey(user: "db1"), isSecured: true)
    private static let host = NBDClient(.certificate(names: ["db2", "db2.example.com"]), isSecured: true)
    private static let anyone = NBDClient(.none, isSecured: false)
    private static let user = NBDClient(.userID(4242), isSecured: false)
    private static let root = NBDClient(.userID(0), isSecured: false)

    @Test func noRulesOpenEverything() {
        #expect(ExportRules().access(of: Self.anyone, to: "pg-prod") == .full)
    }

    @Test func theFirstRuleOfAnExportDecides() {
        let rules = ExportRules([
            ExportRule(name: "pg-*@*", clients: ["backup", "cert:db2*"], isReadOnly: true),
            ExportRule(name: "pg-prod", clients: ["db1"]),
            ExportRule(name: "pg-prod", clients: ["*.example.com"], isReadOnly: true),
            ExportRule(name: "scratch", clients: ["uid:4242", "psk:*"]),
            ExportRule(name: "public?", isReadOnly: true),
            ExportRule(name: "*", clients: ["db2"]),
        ])
        let expected: [(NBDClient, String, ExportAccess)] = [
            (Self.db1, "pg-prod", .full), (Self.host, "pg-prod", .readOnly), (Self.anyone, "pg-prod", .hidden),
            (Self.user, "pg-prod", .hidden), (Self.root, "pg-prod", .full),
            // A snapshot is its volume's data, unless a rule of its own stands above.
            (Self.db1, "pg-prod@monday", .hidden), (Self.host, "pg-prod@monday", .readOnly),
            (Self.db1, "scratch@a", .full), (Self.user, "scratch@a", .full), (Self.anyone, "scratch@a", .hidden),
            (Self.host, "scratch", .hidden),
            (Self.anyone, "public1", .readOnly), (Self.root, "public1", .readOnly), (Self.anyone, "public", .hidden),
            // The general rule at the end does not open what stands above it.
            (Self.host, "other", .full), (Self.db1, "other", .hidden), (Self.anyone, "other@x", .hidden),
        ]
        for (client, export, access) in expected {
            #expect(rules.access(of: client, to: export) == access, "\(client) and \(export)")
        }
    }

    @Test func whatNoRuleCoversIsHidden() {
        let rules = ExportRules([ExportRule(name: "pg-prod")])
        #expect(rules.access(of: Self.anyone, to: "pg-prod2") == .hidden)
        #expect(rules.access(of: Self.anyone, to: "pg-prod@x") == .full)
    }

    @Test func patternsOfOneKindMeanNoOther() {
        func admits(_ pattern: String, _ client: NBDClient) -> Bool {
            ExportRules([ExportRule(name: "*", clients: [pattern])]).access(of: client, to: "x") == .full
        }
        #expect(admits("db1", Self.db1) && admits("psk:db1", Self.db1) && !admits("cert:db1", Self.db1))
        #expect(!admits("uid:4242", NBDClient(.preSharedKey(user: "4242"), isSecured: true)))
        #expect(!admits("uid:4242", NBDClient(.certificate(names: ["uid:4242", "4242"]), isSecured: true)))
        #expect(!admits("*", Self.user) && !admits("*", Self.anyone) && admits("*", Self.host))
        #expect(!admits("", Self.db1) && !admits("db", Self.db1) && !admits("db11", Self.db1))
    }

    @Test func patternsWithManyStarsEndSoon() {
        let pattern = String(repeating: "*a", count: 60) + "b"
        #expect(!NamePattern.matches(pattern, String(repeating: "a", count: 400)))
        #expect(NamePattern.matches("*a*b*", "xxaxxbxx") && NamePattern.matches("", "") && NamePattern.matches("*", ""))
    }

    private func served(
        as client: NBDClient, _ rules: [ExportRule], _ body: @escaping @Sendable (UInt16) throws -> Void
    ) async throws -> [String] {
        let refused = Mutex<[String]>([])
        let directory = MemoryDirectory(MemoryDevice("a"), MemoryDevice("b"), MemoryDevice("c", isReadOnly: true))
        let server = NBDServer(
            directory, listeningOn: [.tcp(host: "127.0.0.1", port: 0)],
            security: NBDSecurity(Introduction(client), remote: .offered, local: .offered),
            access: AccessControl(ExportRules(rules)) { client, _, export in
                refused.withLock { $0.append("\(client) \(export)") }
            })
        guard case .tcp(_, let port) = try server.start()[0] else { throw StorageError(.invalid, "no port") }
        do { try await blocking { try body(port) } } catch {
            await server.stop(draining: .zero)
            throw error
        }
        await server.stop(draining: .seconds(1))
        #expect(directory.attachedCount == 0)
        return refused.withLock { $0 }
    }

    @Test func aClientSeesOnlyItsExports() async throws {
        let rules = [ExportRule(name: "a", clients: ["db1"]), ExportRule(name: "b", clients: ["db2"])]
        let refused = try await served(as: Self.db1, rules) { port in
            let client = try RawClient(tcp: port)
            try client.greet()
            #expect(try client.option(3).map(\.type) == [1], "nobody, so nothing")
            #expect(try client.option(5).last?.type == ack)
            #expect(
                try client.option(3).dropLast().map { String(decoding: $0.data.dropFirst(4), as: UTF8.self) } == ["a"])
            // What is hidden and what does not exist look alike.
            let hidden = try client.option(7, text("b") + [0, 0])
            let missing = try client.option(7, text("z") + [0, 0])
            #expect(hidden.map(\.type) == [0x8000_0006] && missing.map(\.type) == [0x8000_0006])
            #expect(
                String(decoding: hidden[0].data, as: UTF8.self).replacing("'b'", with: "'z'")
                    == String(decoding: missing[0].data, as: UTF8.self))
            // The default export is the only one that it sees.
            #expect(try client.option(7, text("") + [0, 0]).last?.type == ack)
            #expect(try client.ask(1, length: 512, payload: [UInt8](repeating: 1, count: 512)).errorCode == nil)
        }
        #expect(refused == ["psk:db1 b", "psk:db1 z"])
    }

    @Test func aReadOnlyRuleRefusesWrites() async throws {
        _ = try await served(as: Self.db1, [ExportRule(name: "*", isReadOnly: true)]) { port in
            let client = try RawClient(tcp: port)
            try client.greet()
            let info = try client.option(7, text("a") + [0, 0])
            let flags = info[0].data[10..<12].reduce(0 as UInt16) { $0 << 8 | UInt16($1) }
            #expect(flags & 2 != 0, "READ_ONLY")
            #expect(flags & (1 << 5 | 1 << 6) == 0, "neither TRIM nor WRITE_ZEROES")
            let payload = [UInt8](repeating: 1, count: 512)
            #expect(try client.ask(1, length: 512, payload: payload).errorCode == 1)
            #expect(try client.ask(1, flags: 1, length: 512, payload: payload).errorCode == 1)
            #expect(try client.ask(4, length: 512).errorCode == 1)
            #expect(try client.ask(6, length: 512).errorCode == 1)
            try client.request(0, cookie: 5, length: 512)
            #expect(try client.receive(16 + 512).suffix(512).allSatisfy { $0 == 0 })
        }
    }
}
