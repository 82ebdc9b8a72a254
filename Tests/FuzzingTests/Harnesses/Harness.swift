import StoreCore

/// One place where bytes come in that somebody else may have made: what is done with them, and what must hold.
///
/// An input passes when the code under test takes it or throws a `StorageError`. A trap, another error, an unkept
/// promise (`require`) or too much memory is a finding. Pure and repeatable: the same input does the same again.
struct Harness: Sendable {
    let name: String
    /// Bytes that an input of `count` bytes may have allocated at any time, beyond what was there before.
    var memory: @Sendable (_ count: Int) -> Int = { (1 << 20) + 256 * $0 }
    /// A server that runs, or another's parser: a tenth of the executions will do where time is short.
    var isSlow = false
    /// Words of the format, for mutations.
    var words: [String] = []
    /// Well-formed inputs, made by the code itself, so that they follow the format.
    let seeds: @Sendable () throws -> [[UInt8]]
    let body: @Sendable ([UInt8]) throws -> Void

    /// Returns whether the input was taken, and not refused.
    @discardableResult
    func run(_ input: [UInt8]) -> Bool {
        do {
            try body(input)
            return true
        } catch let error as StorageError {
            require(Self.refusals.contains(error.code), "\(name): \(error.code) is no answer to bad bytes: \(error)")
            return false
        } catch {
            preconditionFailure("\(name): an error that is no StorageError: \(error)")
        }
    }

    private static let refusals: Set<ErrorCode> = [
        .corrupt, .unsupported, .denied, .invalid, .unavailable, .notFound, .full,
    ]

    static let all: [Harness] =
        nbd + superblocks + catalogs + volumeStates + maps + segments + journals + cleaning + dataDirectory + s3
        + settings + control

    static func named(_ name: String) -> Harness? { all.first { $0.name == name } }
}

func require(_ condition: Bool, _ what: @autoclosure () -> String) {
    if !condition { preconditionFailure(what()) }
}

/// Takes an input apart: a fuzzer's bytes decide.
struct Choices {
    private(set) var rest: ArraySlice<UInt8>
    init(_ input: [UInt8]) { rest = input[...] }

    var isEmpty: Bool { rest.isEmpty }
    /// 0 at the end.
    mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }
    mutating func number16() -> Int { Int(byte()) | Int(byte()) << 8 }
    mutating func bytes(_ count: Int) -> [UInt8] {
        defer { rest = rest.dropFirst(count) }
        return Array(rest.prefix(count))
    }
    /// 16 bits of length, then as many bytes, or what is left.
    mutating func part() -> [UInt8] { bytes(number16()) }
    mutating func all() -> [UInt8] {
        defer { rest = [] }
        return Array(rest)
    }
}

extension [UInt8] {
    /// As `Choices.part` reads it.
    var asPart: [UInt8] { [UInt8(truncatingIfNeeded: count), UInt8(truncatingIfNeeded: count >> 8)] + self }
}
