// The harnesses under libFuzzer. `scripts/fuzz` builds and runs it.
//
//     zerofs-fuzz list                      names of the harnesses
//     zerofs-fuzz seeds HARNESS DIRECTORY   writes well-formed inputs
//     zerofs-fuzz words HARNESS             libFuzzer's dictionary
//     zerofs-fuzz run HARNESS ...           libFuzzer, with its options

import Glibc

@_silgen_name("LLVMFuzzerRunDriver")
func runFuzzer(
    _ count: UnsafeMutablePointer<Int32>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

private func usage() -> Never {
    fputs(
        "usage: zerofs-fuzz list | seeds HARNESS DIRECTORY | words HARNESS | run HARNESS [libFuzzer's options]\n",
        stderr)
    exit(2)
}

private func write(_ bytes: [UInt8], to path: String) {
    guard let file = fopen(path, "w") else { preconditionFailure("cannot write \(path)") }
    fwrite(bytes, 1, bytes.count, file)
    fclose(file)
}

/// As a dictionary quotes it.
private func quoted(_ word: String) -> String {
    let bytes = word.utf8.map { byte -> String in
        (0x20..<0x7f).contains(byte) && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
            ? String(UnicodeScalar(byte)) : "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }
    return "\"\(bytes.joined())\""
}

private func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count > 1 else { usage() }
    if arguments[1] == "list" {
        for harness in Harness.all { print(harness.name) }
        return
    }
    guard arguments.count > 2, let harness = Harness.named(arguments[2]) else { usage() }
    switch arguments[1] {
    case "seeds" where arguments.count == 4:
        for (number, seed) in try harness.seeds().enumerated() { write(seed, to: "\(arguments[3])/seed-\(number)") }
    case "words": for word in harness.words { print(quoted(word)) }
    case "run": exit(Target.run(harness, [arguments[0]] + arguments.dropFirst(3)))
    default: usage()
    }
}

try main()
