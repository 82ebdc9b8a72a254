import NBD
import StoreCore
import Synchronization

extension Harness {
    static let nbd: [Harness] = [
        Harness(
            // Everything from the client's first byte on.
            name: "nbd-handshake", memory: { (16 << 20) + 4096 * $0 }, words: optionWords,
            seeds: {
                let flags: [UInt8] = [0, 0, 0, 3]
                let all = (0...3).map { Client.start(mode: UInt8($0)) }
                let options = [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 77].map { Client.option($0, Client.inquiry) }
                // One that is longer than any may be.
                let long =
                    [64] + flags + Array("IHAVEOPT".utf8) + Client.number(UInt32(7)) + Client.number(70_000 as UInt32)
                return (all + options.map { flags + $0 }).map { [0] + $0 } + [long]
            },
            body: { input in
                var choices = Choices(input)
                let pace = choices.byte()
                try NBDTarget(pace: pace).serve(choices.all())
            }),
        Harness(
            // A handshake that succeeds, then whatever comes.
            name: "nbd-transmission", memory: { (96 << 20) + 64 * 1024 * $0 }, isSlow: true,
            seeds: {
                let simple = Client.requests(isExtended: false), extended = Client.requests(isExtended: true)
                return [
                    [0, 0] + simple, [1, 0] + simple, [2, 0] + extended, [3, 128] + extended, [5, 0] + simple,
                    [14, 0] + extended,
                ]
                    + [[16, 64], [17, 64], [18, 192], [19, 64], [26, 192]].map { (mode: [UInt8]) in
                        mode + Client.largeRequests(isExtended: mode[0] & 2 != 0)
                    }
            },
            body: { input in
                var choices = Choices(input)
                let mode = choices.byte()
                let pace = choices.byte()
                try NBDTarget(pace: pace).serve(Client.start(mode: mode) + choices.all())
            }),
        nbdTLS,
    ]

    private static let optionWords = ["IHAVEOPT", "disk", "fixed", "base:allocation", "base:", "qemu:dirty-bitmap:x"]
}

/// Bytes as a client sends them.
enum Client {
    static func number<T: FixedWidthInteger>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value.bigEndian, Array.init) }
    static func text(_ text: String) -> [UInt8] { number(UInt32(text.utf8.count)) + Array(text.utf8) }
    static func option(_ code: UInt32, _ data: [UInt8] = []) -> [UInt8] {
        Array("IHAVEOPT".utf8) + number(code) + number(UInt32(data.count)) + data
    }
    static let inquiry = text("disk") + number(UInt16(2)) + number(UInt16(1)) + number(UInt16(3))

    /// Bits 0 and 1: simple, structured, extended twice; bit 2: the read-only export; 3: without the context; 4: the
    /// large export.
    static func start(mode: UInt8) -> [UInt8] {
        let name = mode & 16 != 0 ? "large" : mode & 4 == 0 ? "disk" : "fixed"
        var bytes: [UInt8] = [0, 0, 0, 3]
        switch mode & 3 {
        case 1: bytes += option(8)
        case 2, 3: bytes += option(11)
        default: break
        }
        if mode & 3 != 0, mode & 8 == 0 {
            bytes += option(10, text(name) + number(UInt32(1)) + text("base:allocation"))
        }
        return bytes + option(7, text(name) + number(UInt16(0)))
    }

    static func request(
        _ command: UInt16, _ flags: UInt16, _ offset: UInt64, _ length: UInt32, _ data: [UInt8] = [],
        isExtended: Bool
    ) -> [UInt8] {
        let magic = isExtended ? number(UInt32(0x21e4_1c71)) : number(UInt32(0x2560_9513))
        let lengthBytes = isExtended ? number(UInt64(length)) : number(length)
        let payload: UInt16 = isExtended && (command == 1 || !data.isEmpty) ? 32 : 0
        return magic + number(flags | payload) + number(command) + number(UInt64(command)) + number(offset)
            + lengthBytes + data
    }

    /// One of each command, with data where it has some, and the end.
    static func requests(isExtended: Bool) -> [UInt8] {
        func request(_ command: UInt16, _ flags: UInt16, _ offset: UInt64, _ length: UInt32, _ data: [UInt8] = [])
            -> [UInt8]
        { Self.request(command, flags, offset, length, data, isExtended: isExtended) }
        let block = [UInt8](repeating: 0x5a, count: 600)
        return request(1, 0, 4000, 600, block) + request(0, 0, 3000, 2000) + request(3, 0, 0, 0)
            + request(4, 1, 0, 4096) + request(6, 2, 8192, 100) + request(5, 0, 0, 65536) + request(7, 8, 0, 1 << 18)
            + request(1, 1, 0, 600, block) + request(0, 4, 0, 1 << 17) + request(9, 0, 0, 0)
            + (isExtended ? request(7, 0, 0, 12, number(UInt64(8192)) + number(UInt32(1))) : [])
            + request(2, 0, 0, 0)
    }

    /// Beyond what goes through a connection's fixed buffers; the data of the last write goes on as the input ends.
    static func largeRequests(isExtended: Bool) -> [UInt8] {
        let block = [UInt8](repeating: 0x5a, count: 600)
        return request(1, 0, 90_000, 600, block, isExtended: isExtended)
            + request(0, 0, 100, 512 << 10, isExtended: isExtended)
            + request(0, 1, 4096, 80 << 10, isExtended: isExtended)
            + request(1, 0, 4096, 300 << 10, [1, 2, 3], isExtended: isExtended)
    }
}
