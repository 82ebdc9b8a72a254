import Foundation
import NBD
import StoreCore
import Testing

private let einval: UInt32 = 22
private let enospc: UInt32 = 28
private let eperm: UInt32 = 1
private let eio: UInt32 = 5
private let eshutdown: UInt32 = 108

@Suite struct RequestsAreServed {
    /// Every framing, answered at once and by tasks: what was written is read, also unaligned and large.
    @Test(arguments: [
        ("simple", true), ("simple", false), ("structured", true), ("structured", false), ("extended", true),
        ("extended", false),
    ])
    func whatWasWrittenIsRead(mode: String, now: Bool) async throws {
        let device = MemoryDevice(size: 8 << 20)
        device.behave { $0.answersNow = now }
        try await Served.with(device) { served in
            let path = served.path
            try await blocking {
                let client = try RawClient(unix: path)
                try client.go(structured: mode == "structured", extended: mode == "extended")
                let writeFlags: UInt16 = mode == "extended" ? 0x20 : 0
                var generator = SplitMix64(seed: 3)
                var model = [UInt8](repeating: 0, count: 8 << 20)
                for length in [1, 511, 4096, 70_000, 262_144, 262_145, 1 << 20, 3 << 20, 4096] as [UInt64] {
                    let offset = generator.next() % (8 << 20 - length)
                    let bytes = generator.bytes(Int(length))
                    model.replaceSubrange(Int(offset)..<Int(offset + length), with: bytes)
                    let flags = writeFlags | (length == 511 ? 1 : 0)
                    let reply = try client.ask(1, flags: flags, offset: offset, length: length, payload: bytes)
                    #expect(reply.errorCode == nil)
                    let from = offset / 2
                    let count = min(length * 2, 8 << 20 - from)
                    try client.request(0, cookie: 5, offset: from, length: count)
                    #expect(try Self.data(client, mode, from, count) == Array(model[Int(from)..<Int(from + count)]))
                }
            }
            #expect(device.calls.fuaWrites == 1)
        }
    }

    /// Assembles a read's reply.
    static func data(_ client: RawClient, _ mode: String, _ offset: UInt64, _ count: UInt64) throws -> [UInt8] {
        if mode == "simple" {
            guard try client.chunk().errorCode == nil else { throw RawClient.Failure(text: "read failed") }
            return try client.receive(Int(count))
        }
        var bytes = [UInt8](repeating: 0xee, count: Int(count))
        var seen = 0
        while true {
            let chunk = try client.chunk()
            if chunk.type == 1 || chunk.type == 2 {
                let at = Int(chunk.payload.prefix(8).reduce(0 as UInt64) { $0 << 8 | UInt64($1) } - offset)
                let rest = Array(chunk.payload.dropFirst(8))
                let part = chunk.type == 1 ? rest : [UInt8](repeating: 0, count: rest.reduce(0) { $0 << 8 | Int($1) })
                bytes.replaceSubrange(at..<at + part.count, with: part)
                seen += part.count
            } else {
                throw RawClient.Failure(text: "chunk \(chunk.type)")
            }
            if chunk.flags & 1 != 0 { break }
        }
        guard seen == count else { throw RawClient.Failure(text: "\(seen) of \(count) bytes") }
        return bytes
    }

    @Test(arguments: [true, false]) func holesAreSentAsHolesUnlessUnfragmented(now: Bool) async throws {
        let device = MemoryDevice()
        device.behave { $0.answersNow = now }
        try await Served.with(device) { served in
            let path = served.path
            try await blocking {
                for length in [128 << 10, 1 << 20] as [UInt64] {
                    let client = try RawClient(unix: path)
                    try client.go()
                    #expect(
                        try client.ask(1, offset: 4096, length: 4096, payload: [UInt8](repeating: 7, count: 4096))
                            .errorCode == nil)
                    try client.request(0, cookie: 1, length: length)
                    let data = try client.chunk()
                    let hole = try client.chunk()
                    #expect(data.type == 1 && data.payload.count == 8 + 8192 && data.flags == 0)
                    #expect(hole.type == 2 && hole.flags == 1)
                    #expect(hole.payload == number(8192 as UInt64) + number(UInt32(length) - 8192))
                    let whole = try client.ask(0, flags: 4, length: length)
                    #expect(whole.type == 1 && whole.payload.count == 8 + Int(length))
                }
            }
        }
    }

    @Test func blockStatusTellsDataFromHoles() async throws {
        try await Served.with(MemoryDevice()) { served in
            let path = served.path
            try await blocking {
                let client = try RawClient(unix: path)
                try client.go(extended: true)
                _ = try client.ask(
                    1, flags: 0x20, offset: 8192, length: 4096, payload: [UInt8](repeating: 7, count: 4096))
                let reply = try client.ask(7, length: 16 << 20)
                let hole = number(8192 as UInt64) + number(3 as UInt64)
                let data = number(4096 as UInt64) + number(0 as UInt64)
                let rest = number(16 << 20 - 12288 as UInt64) + number(3 as UInt64)
                #expect(
                    reply.type == 6 && reply.payload == number(1 as UInt32) + number(3 as UInt32) + hole + data + rest)
                let one = try client.ask(7, flags: 8, offset: 100, length: 16 << 19)
                #expect(
                    one.payload == number(1 as UInt32) + number(1 as UInt32) + number(8092 as UInt64)
                        + number(3 as UInt64))
                // With a payload: an effect length and the wanted contexts.
                let wanted = number(4096 as UInt64) + number(1 as UInt32)
                #expect(try client.ask(7, flags: 0x20, length: 12, payload: wanted).type == 6)
                let nothing = number(4096 as UInt64)
                #expect(try client.ask(7, flags: 0x20, length: 8, payload: nothing).type == 0)
                let foreign = number(4096 as UInt64) + number(2 as UInt32)
                #expect(try client.ask(7, flags: 0x20, length: 12, payload: foreign).errorCode == einval)
                let beyond = number(16 << 20 + 1 as UInt64) + number(1 as UInt32)
                #expect(try client.ask(7, flags: 0x20, length: 12, payload: beyond).errorCode == einval)
                #expect(
                    try client.ask(7, flags: 0x20, length: 400, payload: [UInt8](repeating: 0, count: 400)).errorCode
                        == einval)
                #expect(try client.ask(0, length: 512).type == 1, "the connection goes on")
            }
        }
    }

    @Test func extendedLengthsHave64Bits() async throws {
        let device = MemoryDevice()
        try await Served.with(device) { served in
            let path = served.path
            try await blocking {
                let client = try RawClient(unix: path)
                try client.go(extended: true)
                #expect(try client.ask(4, length: 1 << 33).errorCode == einval)
                #expect(try client.ask(6, offset: 1, length: .max).errorCode == enospc)
                #expect(try client.ask(6, length: 16 << 20).errorCode == nil)
                #expect(
                    try client.ask(1, offset: 0, length: 4096).errorCode == einval,
                    "a write without PAYLOAD_LEN has no payload")
                #expect(try client.ask(0, flags: 0x20, length: 5, payload: [1, 2, 3, 4, 5]).errorCode == einval)
                #expect(try client.ask(3).errorCode == nil)
                try client.request(1, flags: 0x20, cookie: 1, length: 32 << 20 + 1)
                #expect(client.isClosed(), "an overlong payload ends the session")
            }
        }
    }

    /// Lengths that no memory has, with each command and flag: errors of the client's, which end its session at most.
    @Test func noLengthEndsTheServer() async throws {
        try await Served.with(MemoryDevice()) { served in
            let path = served.path
            try await blocking {
                for length in [1 << 31, 1 << 32, 1 << 63 - 1, 1 << 63, .max - 1, .max] as [UInt64] {
                    for command in 0...8 as ClosedRange<UInt16> {
                        for flags in [0, 1, 0x20, 0x28] as [UInt16] {
                            let client = try RawClient(unix: path)
                            try client.go(extended: true)
                            try client.request(command, flags: flags, cookie: 1, offset: 4096, length: length)
                            let reply = try? client.chunk()
                            #expect(reply?.errorCode != nil || client.isClosed(), "\(command) \(flags) \(length)")
                        }
                    }
                }
            }
        }
    }

    @Test func repliesOvertakeWhatWaits() async throws {
        let device = MemoryDevice()
        try await Served.with(device) { served in
            device.behave { $0.isHolding = true }
            let path = served.path
            try await blocking {
                let client = try RawClient(unix: path)
                try client.go()
                try client.request(3, cookie: 1)
                try client.request(0, cookie: 2, length: 512)
                #expect(try client.chunk().cookie == 2)
                device.behave { $0.isHolding = false }
                #expect(try client.chunk().cookie == 1)
            }
        }
    }

    @Test func aGrownDeviceIsServedToItsNewEnd() async throws {
        let device = MemoryDevice(size: 1 << 20)
        try await Served.with(device) { served in
            let path = served.path
            try await blocking {
                let client = try RawClient(unix: path)
                try client.go()
                #expect(try client.ask(0, offset: 1 << 20, length: 512).errorCode == einval)
                device.grow(to: 2 << 20)
                #expect(try client.ask(0, offset: 1 << 20, length: 512).type == 1)
            }
        }
    }

    @Test func emptyRequestsSucceedWithoutTheDevice() async throws {
        let device = MemoryDevice()
        device.behave { $0.failure = { _, _ in StorageError(.corrupt, "asked") } }
        try await Served.with(device) { served in
            let path = served.path
            try await blocking {
                for extended in [false, true] {
                    let client = try RawClient(unix: path)
                    try client.go(extended: extended)
                    for command in [0, 4, 5, 6] as [UInt16] { #expect(try client.ask(command).errorCode == nil) }
                    #expect(try client.ask(1, flags: extended ? 0x20 : 0).errorCode == nil)
                    #expect(try client.ask(1, flags: extended ? 0x21 : 1).errorCode == nil)
                }
            }
        }
    }
}

@Suite struct ErrorsAreAnswered {
    /// Each error leaves the connection usable, in each framing.
    @Test(arguments: ["simple", "structured", "extended"]) func deviceErrorsReachTheClient(mode: String) async throws {
        for now in [true, false] {
            let device = MemoryDevice()
            device.behave {
                $0.answersNow = now
                $0.failure = { _, offset in offset == 4096 ? StorageError(.full, "the disk is full") : nil }
            }
            try await Served.with(device) { served in
                let path = served.path
                try await blocking {
                    let client = try RawClient(unix: path)
                    try client.go(structured: mode == "structured", extended: mode == "extended")
                    let flags: UInt16 = mode == "extended" ? 0x20 : 0
                    for length in [512, 1 << 20] as [UInt64] {
                        let failed = try client.ask(0, offset: 4096, length: length)
                        #expect(failed.errorCode == enospc)
                        if mode != "simple" { #expect(failed.payload.suffix(16) == Array("the disk is full".utf8)) }
                        let bytes = [UInt8](repeating: 1, count: Int(length))
                        #expect(
                            try client.ask(1, flags: flags, offset: 4096, length: length, payload: bytes).errorCode
                                == enospc)
                        #expect(
                            try client.ask(1, flags: flags, offset: 0, length: length, payload: bytes).errorCode == nil)
                    }
                    for command in [4, 5, 6] as [UInt16] {
                        #expect(try client.ask(command, offset: 4096, length: 4096).errorCode == enospc)
                    }
                }
            }
        }
    }

    @Test func oversizedWritesAreConsumedAndRefused() async throws {
        try await Served.with(MemoryDevice(size: 64 << 20)) { served in
            let path = served.path
            try await blocking {
                let client = try RawClient(unix: path)
                try client.go()
                let bytes = [UInt8](repeating: 1, count: 32 << 20 + 1)
                #expect(try client.ask(1, length: UInt64(bytes.count), payload: bytes).errorCode == einval)
                #expect(try client.ask(1, length: 32 << 20, payload: Array(bytes.dropLast())).errorCode == nil)
                #expect(try client.ask(0, flags: 4, length: 32 << 20).payload.count == 32 << 20 + 8)
            }
        }
    }

    @Test func readOnlyExportsRefuseChanges() async throws {
        try await Served.with(MemoryDevice(isReadOnly: true)) { served in
            let path = served.path
            try await blocking {
                let client = try RawClient(unix: path)
                try client.go()
                #expect(try client.ask(1, length: 512, payload: [UInt8](repeating: 1, count: 512)).errorCode == eperm)
                #expect(try client.ask(4, length: 512).errorCode == eperm)
                #expect(try client.ask(6, length: 512).errorCode == eperm)
                #expect(try client.ask(0, length: 512).type == 1)
                #expect(try client.ask(3).errorCode == nil)
            }
        }
    }

    @Test func aBadMagicEndsTheSession() async throws {
        try await Served.with(MemoryDevice()) { served in
            let path = served.path
            try await blocking {
                let client = try RawClient(unix: path)
                try client.go()
                try client.request(0, cookie: 1, length: 512)
                try client.send([UInt8](repeating: 0x55, count: 28))
                #expect(try client.chunk().cookie == 1, "what came before is answered")
                #expect(client.isClosed())
            }
            #expect(try await eventually { served.directory.attachedCount == 0 })
        }
    }

    @Test(arguments: [true, false]) func aFencedDeviceFailsLoudly(now: Bool) async throws {
        let device = MemoryDevice()
        try await Served.with(device) { served in
            let path = served.path
            device.behave {
                $0.answersNow = now
                $0.failure = { _, _ in StorageError(.fenced, "a newer writer owns the volume") }
            }
            try await blocking {
                let client = try RawClient(unix: path)
                try client.go()
                #expect(try client.ask(0, length: 512).errorCode == eio)
                #expect(client.isClosed())
            }
            #expect(try await eventually { served.directory.attachedCount == 0 })
        }
    }

    /// Whatever bytes come after a good start: the server lives, and serves the next client.
    @Test(arguments: 0..<30 as Range<UInt64>) func noiseHarmsOnlyItsOwnConnection(seed: UInt64) async throws {
        try await Served.with(MemoryDevice(size: 1 << 20)) { served in
            let path = served.path
            try await blocking {
                var generator = SplitMix64(seed: seed)
                let client = try RawClient(unix: path)
                try client.go(extended: seed % 2 == 0)
                for _ in 0..<200 {
                    let command = UInt16(generator.next() % 9)
                    let length = generator.next() % 100_000
                    let flags = UInt16(generator.next() % 64)
                    guard command != 2 else { continue }
                    let payload = client.isExtended ? flags & 0x20 != 0 : command == 1
                    let offset = generator.next() % (1 << 21)
                    try client.request(
                        command, flags: flags, cookie: 1, offset: offset, length: length,
                        payload: payload ? [UInt8](repeating: 9, count: Int(length)) : [])
                    while try client.chunk().flags & 1 == 0 {}
                }
                try client.send((0..<64).map { _ in UInt8(truncatingIfNeeded: generator.next()) })
                #expect(client.isClosed())
                let next = try RawClient(unix: path)
                try next.go()
                #expect(try next.ask(0, length: 512).type == 1)
            }
        }
    }
}
