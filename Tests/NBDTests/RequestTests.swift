import StoreCore
import Testing

@testable import NBD

private func request(
    _ command: UInt16, flags: UInt16 = 0, offset: UInt64 = 0, length: UInt64 = 4096
) -> Request {
    Request(flags: CommandFlags(rawValue: flags), commandNumber: command, cookie: 7, offset: offset, length: length)
}

@Suite struct RequestsAreParsed {
    @Test func compactHeadersHave28Bytes() {
        let bytes =
            number(0x2560_9513 as UInt32) + number(5 as UInt16) + number(1 as UInt16)
            + number(0x0102_0304_0506_0708 as UInt64) + number(1 << 40 as UInt64) + number(512 as UInt32)
        #expect(bytes.count == ReplyMode.simple.requestHeaderBytes)
        bytes.withUnsafeBytes {
            let base = $0.baseAddress!
            let parsed = RequestParser.parse(base, .structured)
            #expect(
                parsed
                    == Request(
                        flags: [.fua, .dontFragment], commandNumber: 1, cookie: 0x0102_0304_0506_0708, offset: 1 << 40,
                        length: 512))
            #expect(RequestParser.parse(base, .extended) == nil)
        }
    }
    @Test func extendedHeadersHave32Bytes() {
        let bytes =
            number(0x21e4_1c71 as UInt32) + number(0x20 as UInt16) + number(7 as UInt16) + number(9 as UInt64)
            + number(0 as UInt64) + number(1 << 33 as UInt64)
        #expect(bytes.count == ReplyMode.extended.requestHeaderBytes)
        bytes.withUnsafeBytes {
            let base = $0.baseAddress!
            #expect(RequestParser.parse(base, .extended)?.length == 1 << 33)
            #expect(RequestParser.parse(base, .simple) == nil)
        }
    }
    @Test func payloadsAreThoseOfTheMode() {
        #expect(RequestParser.payloadBytes(request(1), .simple) == 4096)
        #expect(RequestParser.payloadBytes(request(0, flags: 0x20), .structured) == 0)
        #expect(RequestParser.payloadBytes(request(1), .extended) == 0)
        #expect(RequestParser.payloadBytes(request(1, flags: 0x20), .extended) == 4096)
        #expect(RequestParser.payloadBytes(request(77, flags: 0x20), .extended) == 4096)
    }
}

@Suite struct RequestsAreJudged {
    private let size: UInt64 = 1 << 20
    private func code(
        _ request: Request, mode: ReplyMode = .structured, isReadOnly: Bool = false, context: Bool = true
    ) -> NBDErrorCode? {
        let terms = ExportTerms(mode: mode, isReadOnly: isReadOnly, hasAllocationContext: context)
        return RequestCheck.refusal(request, terms, size: size)?.code
    }

    @Test func ordinaryRequestsPass() {
        for command in [0, 1, 4, 5, 6, 7] as [UInt16] {
            #expect(code(request(command)) == nil)
            #expect(code(request(command, flags: 1, offset: size - 1, length: 1)) == nil, "FUA is valid with all")
        }
        #expect(code(request(3, length: 0)) == nil)
        #expect(code(request(6, flags: 0b1_0011)) == nil)
        #expect(code(request(7, flags: 0b1000)) == nil)
        #expect(code(request(0, flags: 0b100)) == nil)
    }
    @Test func unknownCommandsAndForeignFlagsAreInvalid() {
        for command in [8, 9, 0xffff] as [UInt16] { #expect(code(request(command)) == .invalid) }
        let foreign: [(UInt16, UInt16)] = [
            (0, 2), (0, 8), (1, 4), (3, 2), (4, 2), (5, 4), (6, 4), (6, 8), (7, 4), (7, 0x10), (0, 0x40), (1, 0x8000),
            (0, 0x20), (1, 0x20), (7, 0x20),
        ]
        for (command, flags) in foreign {
            #expect(
                code(request(command, flags: flags, length: command == 3 ? 0 : 4096)) == .invalid, "\(command) \(flags)"
            )
        }
        #expect(code(request(0, flags: 4), mode: .simple) == .invalid, "DF needs structured replies")
    }
    @Test func whatLiesBeyondTheEndGetsTheErrorOfItsCommand() {
        let beyond: [(offset: UInt64, length: UInt64)] = [
            (size, 1), (size - 1, 2), (.max, 1), (0, size + 1), (.max - 1, .max), (1, .max), (size + 1, 0),
        ]
        for (offset, length) in beyond where length <= 32 << 20 {
            #expect(code(request(0, offset: offset, length: length)) == .invalid)
            #expect(code(request(1, offset: offset, length: length)) == .noSpace)
        }
        for (offset, length) in beyond {
            #expect(code(request(4, offset: offset, length: length)) == .invalid)
            #expect(code(request(5, offset: offset, length: length)) == .invalid)
            #expect(code(request(6, offset: offset, length: length)) == .noSpace)
            #expect(code(request(7, offset: offset, length: length)) == .invalid)
        }
    }
    @Test func readOnlyExportsPermitNoChange() {
        for command in [1, 4, 6] as [UInt16] {
            #expect(code(request(command), isReadOnly: true) == .notPermitted)
        }
        for command in [0, 5, 7] as [UInt16] { #expect(code(request(command), isReadOnly: true) == nil) }
        #expect(code(request(3, length: 0), isReadOnly: true) == nil)
    }
    @Test func lengthsBeyondTheMaximumAreInvalid() {
        let long: UInt64 = 32 << 20 + 1
        #expect(code(request(0, length: long)) == .invalid)
        #expect(code(request(0, flags: 4, length: long)) == .overflow)
        #expect(code(request(1, length: long)) == .invalid)
    }
    @Test func flushesHaveNoRange() {
        #expect(code(request(3, length: 1)) == .invalid)
        #expect(code(request(3, offset: 1, length: 0)) == .invalid)
    }
    @Test func blockStatusNeedsAContextAndALength() {
        #expect(code(request(7), context: false) == .invalid)
        #expect(code(request(7, length: 0)) == .invalid)
    }
    @Test func extendedWritesNeedTheirFlag() {
        #expect(code(request(1), mode: .extended) == .invalid)
        #expect(code(request(1, flags: 0x20), mode: .extended) == nil)
        #expect(code(request(0, flags: 0x20), mode: .extended) == .invalid)
    }
    @Test func statusPayloadsListKnownContextsOnce() {
        func parse(_ bytes: [UInt8]) -> StatusPayload? { bytes.withUnsafeBytes { StatusPayload($0) } }
        let length = number(1 << 34 as UInt64)
        #expect(parse(length)?.wantsAllocation == false)
        #expect(parse(length + number(1 as UInt32))?.wantsAllocation == true)
        #expect(parse(length + number(1 as UInt32))?.effectLength == 1 << 34)
        for bad in [
            [], [0], Array(length.dropLast()), length + [0], length + number(2 as UInt32),
            length + number(1 as UInt32) + number(1 as UInt32),
        ] {
            #expect(parse(bad) == nil)
        }
    }
    @Test func deviceErrorsHaveOneMeaning() {
        let meanings: [ErrorCode: NBDErrorCode] = [
            .full: .noSpace, .invalid: .invalid, .denied: .notPermitted, .cancelled: .shutdown, .fenced: .inputOutput,
            .corrupt: .inputOutput, .unavailable: .inputOutput, .busy: .inputOutput, .notFound: .inputOutput,
            .alreadyExists: .inputOutput, .unsupported: .inputOutput,
        ]
        for code in ErrorCode.allCases { #expect(NBDErrorCode(code) == meanings[code]) }
        #expect(Refusal(CancellationError()).code == .shutdown)
    }
}

@Suite struct RepliesAreFramed {
    private let read = Request(flags: [], commandNumber: 0, cookie: 0x11, offset: 0x1000, length: 0x2000)
    private func bytes(_ mode: ReplyMode, _ write: (ReplyEncoder, UnsafeMutableRawPointer) -> Int) -> [UInt8] {
        let encoder = ReplyEncoder(mode: mode)
        return encoder.bytes(capacity: 1024) { write(encoder, $0) }
    }

    @Test func success() {
        let simple = number(0x6744_6698 as UInt32) + number(0 as UInt32) + number(0x11 as UInt64)
        #expect(bytes(.simple) { $0.success(read, at: $1) } == simple)
        #expect(bytes(.structured) { $0.success(read, at: $1) } == simple)
        let extended =
            number(0x6e8a_278c as UInt32) + [0, 1, 0, 0] + number(0x11 as UInt64) + number(0x1000 as UInt64)
            + number(0 as UInt64)
        #expect(bytes(.extended) { $0.success(read, at: $1) } == extended)
        #expect(
            bytes(.structured) { $0.emptyRead(read, at: $1) } == number(0x668e_33ef as UInt32) + [0, 1, 0, 0]
                + number(0x11 as UInt64) + [0, 0, 0, 0])
    }
    @Test func data() {
        func header(_ mode: ReplyMode) -> [UInt8] {
            bytes(mode) { $0.dataHeader(read, offset: 0x1800, count: 512, isLast: false, at: $1) }
        }
        #expect(header(.simple) == number(0x6744_6698 as UInt32) + [0, 0, 0, 0] + number(0x11 as UInt64))
        #expect(
            header(.structured) == number(0x668e_33ef as UInt32) + [0, 0, 0, 1] + number(0x11 as UInt64)
                + number(520 as UInt32) + number(0x1800 as UInt64))
        #expect(
            header(.extended) == number(0x6e8a_278c as UInt32) + [0, 0, 0, 1] + number(0x11 as UInt64)
                + number(0x1000 as UInt64) + number(520 as UInt64) + number(0x1800 as UInt64))
        for mode in [.simple, .structured, .extended] as [ReplyMode] {
            #expect(header(mode).count == ReplyEncoder(mode: mode).dataHeaderBytes)
        }
    }
    @Test func hole() {
        let hole = bytes(.structured) { $0.hole(read, offset: 0x1800, count: 0x800, isLast: true, at: $1) }
        #expect(
            hole == number(0x668e_33ef as UInt32) + [0, 1, 0, 2] + number(0x11 as UInt64) + number(12 as UInt32)
                + number(0x1800 as UInt64) + number(0x800 as UInt32))
        #expect(hole.count == ReplyEncoder(mode: .structured).holeBytes)
    }
    @Test func errors() {
        let refusal = Refusal(.noSpace, "full")
        #expect(
            bytes(.simple) { $0.error(read, refusal, at: $1) } == number(0x6744_6698 as UInt32) + number(28 as UInt32)
                + number(0x11 as UInt64))
        #expect(
            bytes(.structured) { $0.error(read, refusal, at: $1) } == number(0x668e_33ef as UInt32) + [0, 1, 0x80, 1]
                + number(0x11 as UInt64) + number(10 as UInt32) + number(28 as UInt32) + [0, 4] + Array("full".utf8))
        let long = bytes(.extended) {
            $0.error(read, Refusal(.invalid, String(repeating: "é", count: 600) + "\0"), at: $1)
        }
        #expect(long.count == ReplyEncoder.errorBytesMax)
    }
    @Test func status() {
        let extents = [DeviceExtent(byteCount: 4096, isHole: false), DeviceExtent(byteCount: 8192, isHole: true)]
        #expect(
            ReplyEncoder(mode: .structured).status(read, extents) == number(0x668e_33ef as UInt32) + [0, 1, 0, 5]
                + number(0x11 as UInt64) + number(20 as UInt32) + number(1 as UInt32) + number(4096 as UInt32)
                + number(0 as UInt32) + number(8192 as UInt32) + number(3 as UInt32))
        #expect(
            ReplyEncoder(mode: .extended).status(read, extents) == number(0x6e8a_278c as UInt32) + [0, 1, 0, 6]
                + number(0x11 as UInt64) + number(0x1000 as UInt64) + number(40 as UInt64) + number(1 as UInt32)
                + number(2 as UInt32) + number(4096 as UInt64) + number(0 as UInt64) + number(8192 as UInt64)
                + number(3 as UInt64))
    }
    @Test func textsAreCutBetweenCharacters() {
        #expect(ErrorText.cut("aé", 3) == Array("aé".utf8))
        #expect(ErrorText.cut("aé", 2) == Array("a".utf8))
        #expect(ErrorText.cut("aéb", 3) == Array("aé".utf8))
        #expect(ErrorText.cut("a😀b", 4) == Array("a".utf8))
        #expect(ErrorText.cut("a\0b", 9) == Array("ab".utf8))
    }
}

@Suite struct HolesAreFound {
    private let kib = 1024

    @Test func shortReadsAndDataAreOneChunk() {
        #expect(chunks(zeroes: 0..<(63 * kib), count: 63 * kib).isEmpty)
        #expect(chunks(zeroes: 0..<0, count: 128 * kib).isEmpty)
        #expect(chunks(zeroes: 4096..<(12 * kib), count: 128 * kib).isEmpty, "too short to be worth it")
    }
    @Test func longZeroesAreHoles() {
        #expect(chunks(zeroes: 0..<(128 * kib), count: 128 * kib) == [ReadChunk(range: 0..<(128 * kib), isHole: true)])
        #expect(
            chunks(zeroes: (16 * kib)..<(48 * kib), count: 64 * kib) == [
                ReadChunk(range: 0..<(16 * kib), isHole: false),
                ReadChunk(range: (16 * kib)..<(48 * kib), isHole: true),
                ReadChunk(range: (48 * kib)..<(64 * kib), isHole: false),
            ])
    }
    @Test func blocksAreThoseOfTheDevice() {
        let found = chunks(zeroes: 1000..<(64 * kib), count: 64 * kib, offset: 4096 - 1000)
        #expect(
            found == [ReadChunk(range: 0..<1000, isHole: false), ReadChunk(range: 1000..<(64 * kib), isHole: true)])
    }
    /// Chunks cover the read without gap or overlap, and every hole is zero.
    @Test(arguments: 0..<100 as Range<UInt64>) func chunksCoverTheRead(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        let count = NBDLimits.holeReadBytesMin + Int(generator.next() % 200_000)
        var data = [UInt8](repeating: 0, count: count)
        for _ in 0..<(generator.next() % 6) { data[Int(generator.next() % UInt64(count))] = 1 }
        let found = data.withUnsafeBytes { ReadLayout.chunks($0, offset: generator.next() % 10_000) }
        guard !found.isEmpty else { return }
        var position = 0
        for chunk in found {
            #expect(chunk.range.lowerBound == position && !chunk.range.isEmpty)
            #expect(!chunk.isHole || data[chunk.range].allSatisfy { $0 == 0 })
            position = chunk.range.upperBound
        }
        #expect(position == count)
    }

    private func chunks(zeroes: Range<Int>, count: Int, offset: UInt64 = 0) -> [ReadChunk] {
        var data = [UInt8](repeating: 0xaa, count: count)
        for index in zeroes { data[index] = 0 }
        return data.withUnsafeBytes { ReadLayout.chunks($0, offset: offset) }
    }
}
