import StoreCore
import Testing

@testable import NBD

/// Drives a handshake with bytes and canned answers.
private struct Haggling {
    var handshake = Handshake()
    let devices: [DeviceDescription]
    var questions: [Handshake.Question] = []

    init(_ devices: [DeviceDescription] = [Haggling.disk], clientFlags: UInt32? = 3) {
        self.devices = devices
        guard let clientFlags else { return }
        handshake.receive(number(clientFlags))
        guard case .send = handshake.next() else { preconditionFailure("the greeting comes first") }
    }

    static let disk = DeviceDescription(name: "disk", summary: "a disk", size: 1 << 20, isReadOnly: false)

    /// Feeds an option; what the server sends, and the step it ends with.
    mutating func option(_ code: UInt32, _ data: [UInt8] = []) -> (sent: [UInt8], last: Handshake.Step) {
        handshake.receive(number(Magic.option) + number(code) + number(UInt32(data.count)) + data)
        return run()
    }
    mutating func run() -> (sent: [UInt8], last: Handshake.Step) {
        var sent: [UInt8] = []
        while true {
            switch handshake.next() {
            case .send(let bytes): sent += bytes
            case .ask(let question):
                questions.append(question)
                handshake.answer(answer(question))
            case let step: return (sent, step)
            }
        }
    }
    private func answer(_ question: Handshake.Question) -> Handshake.Answer {
        switch question {
        case .names: return .names(devices.map(\.name))
        case .describe(let name), .attach(let name):
            if name == "held" { return .refused(StorageError(.busy, "held by host b")) }
            guard let device = devices.first(where: { $0.name == name }) else {
                return .refused(StorageError(.notFound, "no '\(name)'"))
            }
            return .description(device)
        }
    }
}

func number<T: FixedWidthInteger>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }
func text(_ value: String) -> [UInt8] { number(UInt32(value.utf8.count)) + Array(value.utf8) }
/// A reply to an option.
func reply(_ option: UInt32, _ type: UInt32, _ data: [UInt8] = []) -> [UInt8] {
    number(0x0003_e889_0455_65a9 as UInt64) + number(option) + number(type) + number(UInt32(data.count)) + data
}
/// An option's error code in what was sent, whatever its text.
private func errorCode(_ sent: [UInt8], _ option: UInt32) -> UInt32? {
    guard sent.count >= 20, Array(sent[0..<12]) == Array(reply(option, 0)[0..<12]) else { return nil }
    return sent[12..<16].reduce(0) { $0 << 8 | UInt32($1) }
}
private func goData(_ name: String, _ types: [UInt16] = []) -> [UInt8] {
    text(name) + number(UInt16(types.count)) + types.flatMap { number($0) }
}
private func contextData(_ name: String, _ queries: [String]) -> [UInt8] {
    text(name) + number(UInt32(queries.count)) + queries.flatMap { text($0) }
}
private let ack: UInt32 = 1
private let unsupported: UInt32 = 0x8000_0001
private let policy: UInt32 = 0x8000_0002
private let invalid: UInt32 = 0x8000_0003
private let unknown: UInt32 = 0x8000_0006
private let shutdown: UInt32 = 0x8000_0007
private let tooBig: UInt32 = 0x8000_0009
private let extendedRequired: UInt32 = 0x8000_000a
/// HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, MULTI_CONN, CACHE, FAST_ZERO.
private let writableFlags: UInt16 = 0x0d6d

@Suite struct HandshakeGreets {
    @Test func theGreetingOffersFixedNewstyle() {
        var handshake = Handshake()
        #expect(handshake.next() == .send(Array("NBDMAGICIHAVEOPT".utf8) + [0, 3]))
        #expect(handshake.next() == .needBytes)
    }
    @Test(arguments: [4, 0x8000_0000, 7] as [UInt32]) func unknownClientFlagsEndTheSession(flags: UInt32) {
        var haggling = Haggling(clientFlags: flags)
        #expect(haggling.run().last == .close)
    }
    @Test func bytesMayComeOneByOne() {
        var handshake = Handshake()
        _ = handshake.next()
        for byte in number(3 as UInt32) + number(Magic.option) + number(2 as UInt32) + number(0 as UInt32) {
            #expect(handshake.next() == .needBytes)
            handshake.receive([byte])
        }
        #expect(handshake.next() == .send(reply(2, ack)))
        #expect(handshake.next() == .close)
    }
    @Test func aWrongOptionMagicEndsTheSession() {
        var haggling = Haggling()
        haggling.handshake.receive([UInt8](repeating: 0x20, count: 16))
        #expect(haggling.run().last == .close)
    }
}

@Suite struct OptionsAreAnswered {
    @Test func unknownOptionsAreUnsupportedAndHagglingGoesOn() {
        var haggling = Haggling()
        for option in [0, 4, 12, 99, .max] as [UInt32] {
            let (sent, last) = haggling.option(option, [1, 2, 3])
            #expect(errorCode(sent, option) == unsupported && last == .needBytes)
        }
        #expect(haggling.option(8).sent == reply(8, ack))
    }
    @Test func abortIsAcknowledgedWhateverItCarries() {
        var haggling = Haggling()
        let (sent, last) = haggling.option(2, [9, 9])
        #expect(sent == reply(2, ack) && last == .close)
    }
    @Test func listNamesEveryExport() {
        var haggling = Haggling([Haggling.disk, DeviceDescription(name: "b@x", summary: "", size: 0, isReadOnly: true)])
        #expect(
            haggling.option(3).sent == reply(3, 2, text("b@x").isEmpty ? [] : text("disk")) + reply(3, 2, text("b@x"))
                + reply(3, ack))
        #expect(errorCode(haggling.option(3, [0]).sent, 3) == invalid)
    }
    @Test func startTLSIsUnsupported() {
        var haggling = Haggling()
        #expect(errorCode(haggling.option(5).sent, 5) == unsupported)
    }
    @Test func structuredRepliesAndExtendedHeadersExcludeEachOther() {
        var haggling = Haggling()
        #expect(errorCode(haggling.option(8, [0]).sent, 8) == invalid)
        #expect(haggling.option(8).sent == reply(8, ack))
        #expect(errorCode(haggling.option(11, [0]).sent, 11) == invalid)
        #expect(haggling.option(11).sent == reply(11, ack))
        #expect(errorCode(haggling.option(11).sent, 11) == invalid)
        #expect(errorCode(haggling.option(8).sent, 8) == extendedRequired)
    }
    @Test func overlongOptionsAreSkippedAndRefused() {
        var haggling = Haggling()
        let huge = [UInt8](repeating: 7, count: NBDLimits.optionBytesMax + 1)
        #expect(errorCode(haggling.option(6, huge).sent, 6) == tooBig)
        #expect(errorCode(haggling.option(77, huge).sent, 77) == unsupported)
        #expect(haggling.option(8).sent == reply(8, ack))
        let (sent, last) = haggling.option(1, huge)
        #expect(sent.isEmpty && last == .close)
    }
    @Test func aServerThatShutsDownRefusesAllButAbort() {
        var haggling = Haggling()
        haggling.handshake.isShuttingDown = true
        #expect(errorCode(haggling.option(3).sent, 3) == shutdown)
        #expect(errorCode(haggling.option(7, goData("disk")).sent, 7) == shutdown)
        #expect(haggling.option(2).sent == reply(2, ack))
    }
    @Test func aClientCannotHaggleForEver() {
        var haggling = Haggling()
        var last = Handshake.Step.needBytes
        for _ in 0...NBDLimits.optionsMax where last == .needBytes { last = haggling.option(8).last }
        #expect(last == .close)
    }
}

@Suite struct ExportsAreChosen {
    private func infos(_ option: UInt32, flags: UInt16) -> [UInt8] {
        reply(option, 3, number(0 as UInt16) + number(1 << 20 as UInt64) + number(flags))
    }
    private func blockSizes(_ option: UInt32) -> [UInt8] {
        reply(
            option, 3, number(3 as UInt16) + number(1 as UInt32) + number(4096 as UInt32) + number(32 << 20 as UInt32))
    }

    @Test func infoTellsAndGoEnters() {
        var haggling = Haggling()
        let (sent, last) = haggling.option(6, goData("disk", [3, 1, 2, 99]))
        let name = reply(6, 3, number(1 as UInt16) + Array("disk".utf8))
        let description = reply(6, 3, number(2 as UInt16) + Array("a disk".utf8))
        #expect(sent == infos(6, flags: writableFlags) + name + description + blockSizes(6) + reply(6, ack))
        #expect(last == .needBytes && haggling.questions == [.describe("disk")])
        let go = haggling.option(7, goData("disk"))
        #expect(go.sent == infos(7, flags: writableFlags) + blockSizes(7) + reply(7, ack))
        #expect(go.last == .transmit(.init(export: "disk", mode: .simple, hasAllocationContext: false)))
        #expect(haggling.questions == [.describe("disk"), .attach("disk")])
    }
    @Test func readOnlyDevicesSaySo() {
        var haggling = Haggling([DeviceDescription(name: "disk", summary: "", size: 1 << 20, isReadOnly: true)])
        _ = haggling.option(8)
        #expect(haggling.option(7, goData("disk")).sent.starts(with: infos(7, flags: 0x058f)))
    }
    @Test func exportNameAnswersWithoutFraming() {
        for (flags, zeroes) in [(1, 124), (3, 0), (0, 124)] as [(UInt32, Int)] {
            var haggling = Haggling(clientFlags: flags)
            let (sent, last) = haggling.option(1, Array("disk".utf8))
            let padding = [UInt8](repeating: 0, count: zeroes)
            #expect(sent == number(1 << 20 as UInt64) + number(writableFlags) + padding)
            #expect(last == .transmit(.init(export: "disk", mode: .simple, hasAllocationContext: false)))
        }
    }
    @Test func exportNameThatFailsEndsTheSession() {
        for name in ["none", "held", "a\0b", String(repeating: "x", count: 4097)] {
            var haggling = Haggling()
            let (sent, last) = haggling.option(1, Array(name.utf8))
            #expect(sent.isEmpty && last == .close)
        }
        var extended = Haggling()
        _ = extended.option(11)
        #expect(extended.option(1, Array("disk".utf8)).last == .close)
    }
    @Test func theEmptyNameMeansTheOnlyExport() {
        var one = Haggling()
        #expect(
            one.option(7, goData("")).last
                == .transmit(.init(export: "disk", mode: .simple, hasAllocationContext: false)))
        #expect(one.questions == [.names, .attach("disk")])
        var two = Haggling([Haggling.disk, Haggling.disk])
        #expect(errorCode(two.option(7, goData("")).sent, 7) == unknown)
        #expect(two.option(1, []).last == .close)
        var none = Haggling([])
        #expect(errorCode(none.option(6, goData("")).sent, 6) == unknown)
    }
    @Test func refusalsNameTheirReason() {
        var haggling = Haggling()
        #expect(errorCode(haggling.option(7, goData("none")).sent, 7) == unknown)
        let (sent, last) = haggling.option(7, goData("held"))
        #expect(sent == reply(7, policy, Array("held by host b".utf8)) && last == .needBytes)
    }
    @Test(
        arguments: [
            [], [0, 0, 0], number(5 as UInt32) + Array("disk".utf8) + [0, 0], text("disk"), text("disk") + [0],
            text("disk") + [0, 1], text("disk") + [0, 0, 0], text("disk") + [0, 1, 0, 3, 0], text("\u{0}") + [0, 0],
            number(2 as UInt32) + [0xff, 0xfe, 0, 0], number(UInt32.max) + [0, 0],
        ] as [[UInt8]])
    func malformedGoIsInvalidAndHagglingGoesOn(data: [UInt8]) {
        var haggling = Haggling()
        for option in [6, 7] as [UInt32] {
            let (sent, last) = haggling.option(option, data)
            #expect(errorCode(sent, option) == invalid && last == .needBytes)
        }
        #expect(haggling.questions.isEmpty)
    }
    @Test func bytesAfterGoBelongToTransmission() {
        var haggling = Haggling()
        let go = goData("disk")
        let option = number(Magic.option) + number(7 as UInt32) + number(UInt32(go.count)) + go
        haggling.handshake.receive(option + [1, 2, 3])
        #expect(haggling.run().last == .transmit(.init(export: "disk", mode: .simple, hasAllocationContext: false)))
        #expect(haggling.handshake.takeRemaining() == [1, 2, 3])
    }
}

@Suite struct MetaContextsAreNegotiated {
    private func context(_ option: UInt32, id: UInt32) -> [UInt8] {
        reply(option, 4, number(id) + Array("base:allocation".utf8))
    }

    @Test func listingKnowsWildcards() {
        var haggling = Haggling()
        let found = context(9, id: 0) + reply(9, ack)
        for queries in [[], ["base:"], ["base:allocation"], ["x:y", "base:"]] {
            #expect(haggling.option(9, contextData("disk", queries)).sent == found)
        }
        for queries in [["base:other"], ["qemu:"], [":"]] {
            #expect(haggling.option(9, contextData("disk", queries)).sent == reply(9, ack))
        }
    }
    @Test func selectingTakesFullNamesOnly() {
        var haggling = Haggling()
        _ = haggling.option(8)
        #expect(
            haggling.option(10, contextData("disk", ["x:y", "base:allocation"])).sent == context(10, id: 1)
                + reply(10, ack))
        for queries in [[], ["base:"], ["base:other"], ["qemu:dirty"]] {
            #expect(haggling.option(10, contextData("disk", queries)).sent == reply(10, ack))
        }
    }
    @Test func theLastSelectionForTheSameExportCounts() {
        func agreed(_ selections: [[UInt8]], export: String = "disk") -> Bool? {
            var haggling = Haggling([Haggling.disk])
            _ = haggling.option(8)
            for selection in selections { _ = haggling.option(10, selection) }
            guard case .transmit(let agreement) = haggling.option(7, goData(export)).last else { return nil }
            return agreement.hasAllocationContext
        }
        let good = contextData("disk", ["base:allocation"])
        #expect(agreed([]) == false)
        #expect(agreed([good]) == true)
        #expect(agreed([good], export: "") == true)
        #expect(agreed([contextData("", ["base:allocation"])]) == true)
        #expect(agreed([good, contextData("disk", [])]) == false)
        #expect(agreed([good, [1, 2]]) == false)
        #expect(agreed([good, contextData("none", ["base:allocation"])]) == false)
    }
    @Test func selectingNeedsStructuredReplies() {
        var haggling = Haggling()
        #expect(errorCode(haggling.option(10, contextData("disk", ["base:allocation"])).sent, 10) == invalid)
        _ = haggling.option(11)
        #expect(
            haggling.option(10, contextData("disk", ["base:allocation"])).sent == context(10, id: 1) + reply(10, ack))
        // HAS_FLAGS … and NBD_FLAG_BLOCK_STATUS_PAYLOAD and DF.
        let (sent, _) = haggling.option(7, goData("disk"))
        #expect(
            sent.starts(
                with: reply(7, 3, number(0 as UInt16) + number(1 << 20 as UInt64) + number(writableFlags | 0x1080))))
    }
    @Test func unknownExportsAreRefused() {
        var haggling = Haggling()
        #expect(errorCode(haggling.option(9, contextData("none", [])).sent, 9) == unknown)
    }
    @Test(
        arguments: [
            [], text("disk"), text("disk") + number(1 as UInt32), contextData("disk", ["nocolon"]),
            contextData("disk", ["base:"]) + [0], text("disk") + number(UInt32.max),
            text("disk") + number(1 as UInt32) + number(9 as UInt32) + [0x62],
        ] as [[UInt8]])
    func malformedQueriesAreInvalid(data: [UInt8]) {
        var haggling = Haggling()
        _ = haggling.option(8)
        for option in [9, 10] as [UInt32] { #expect(errorCode(haggling.option(option, data).sent, option) == invalid) }
    }
}

@Suite struct HandshakeSurvivesNoise {
    /// Any bytes end in a reply or a close, never in a trap.
    @Test(arguments: 0..<200 as Range<UInt64>) func randomOptions(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        var haggling = Haggling()
        for _ in 0..<20 {
            let option = UInt32(generator.next() % 14)
            let length = Int(generator.next() % 40)
            var data = (0..<length).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            if generator.next() % 2 == 0 { data = goData("disk", [3]) + data.prefix(Int(generator.next() % 3)) }
            if haggling.option(option, data).last != .needBytes { return }
        }
    }
}
