// The harnesses under libFuzzer. `scripts/fuzz` builds and runs it.
//
//     zerofs-fuzz list                      names of the harnesses
//     zerofs-fuzz seeds HARNESS DIRECTORY   writes well-formed inputs
//     zerofs-fuzz words HARNESS             libFuzzer's dictionary
//     zerofs-fuzz run HARNESS ...           libFuzzer, with its options

import Glibc

/// libFuzzer's own `main` calls this before anything else, with the command line, of which it then reads the rest.
@_cdecl("LLVMFuzzerInitialize")
func initialize(
    _ count: UnsafeMutablePointer<Int32>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>
) -> Int32 {
    // A merge starts the program again, with libFuzzer's arguments alone.
    if let name = getenv(Program.chosen), let harness = Harness.named(String(cString: name)) {
        do { try Target.prepare(harness) } catch { preconditionFailure("\(error)") }
        if count.pointee < 2 || arguments.pointee[1].map({ String(cString: $0) }) != "run" { return 0 }
    }
    let words = (0..<Int(count.pointee)).map { arguments.pointee[$0].map { String(cString: $0) } ?? "" }
    do { try Program.run(words) } catch { preconditionFailure("\(error)") }
    // What is left is libFuzzer's: the program's name takes the place of the harness's.
    arguments.pointee[2] = arguments.pointee[0]
    arguments.pointee += 2
    count.pointee -= 2
    return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
func testOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    Target.test(Array(UnsafeBufferPointer(start: bytes, count: count)))
    return 0
}

enum Program {
    /// The variable that tells the program's own children which harness is meant.
    static let chosen = "ZEROFS_FUZZ_HARNESS"

    private static func usage() -> Never {
        print("usage: zerofs-fuzz list | seeds HARNESS DIRECTORY | words HARNESS | run HARNESS [libFuzzer's options]")
        exit(2)
    }

    private static func write(_ bytes: [UInt8], to path: String) {
        guard let file = fopen(path, "w") else { preconditionFailure("cannot write \(path)") }
        fwrite(bytes, 1, bytes.count, file)
        fclose(file)
    }

    /// Those next to which sums and conversions go wrong, in either order.
    private static var numbers: [[UInt8]] {
        let edges: [UInt64] = [1 << 31, 1 << 32, 1 << 38, 1 << 50, 1 << 63]
        return edges.flatMap { [$0 - 1, $0] + ($0 == 1 << 63 ? [.max] : []) }.flatMap { number -> [[UInt8]] in
            let bytes = withUnsafeBytes(of: number.littleEndian, Array.init)
            return [bytes, bytes.reversed()]
        }
    }

    /// As a dictionary quotes it.
    private static func quoted(_ word: [UInt8]) -> String {
        let bytes = word.map { byte -> String in
            (0x20..<0x7f).contains(byte) && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
                ? String(UnicodeScalar(byte)) : "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
        return "\"\(bytes.joined())\""
    }

    /// Returns where libFuzzer shall go on, and else ends the process.
    static func run(_ arguments: [String]) throws {
        guard arguments.count > 1 else { usage() }
        if arguments[1] == "list" {
            for harness in Harness.all { print(harness.name) }
            exit(0)
        }
        guard arguments.count > 2, let harness = Harness.named(arguments[2]) else { usage() }
        switch arguments[1] {
        case "run":
            setenv(chosen, harness.name, 1)
            return try Target.prepare(harness)
        case "words":
            for word in harness.words.map({ Array($0.utf8) }) + numbers { print(quoted(word)) }
        case "seeds" where arguments.count == 4:
            for (number, seed) in try harness.seeds().enumerated() { write(seed, to: "\(arguments[3])/seed-\(number)") }
        default: usage()
        }
        exit(0)
    }
}
