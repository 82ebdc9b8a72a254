import StoreCore

/// A small mutator with a fixed seed: the same inputs on every machine.
struct Mutator {
    private var generator: SplitMix64
    private let corpus: [[UInt8]]
    private let words: [[UInt8]]
    private static let bytesMax = 8192
    private static let numbers: [UInt64] = [
        0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
        0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000, 0xffff_ffff_ffff_ffff, 1 << 38, 1 << 50,
    ]

    init(seed: UInt64, corpus: [[UInt8]], words: [String]) {
        generator = SplitMix64(seed: seed)
        self.corpus = corpus.isEmpty ? [[]] : corpus
        self.words = words.map { Array($0.utf8) }
    }

    mutating func next() -> [UInt8] {
        var input = corpus[Int.random(in: 0..<corpus.count, using: &generator)]
        for _ in 0..<(1 << Int.random(in: 0...3, using: &generator)) { mutate(&input) }
        return Array(input.prefix(Self.bytesMax))
    }

    private mutating func mutate(_ input: inout [UInt8]) {
        let place = Int.random(in: 0...input.count, using: &generator)
        let end = min(input.count, place + Int.random(in: 0...16, using: &generator))
        switch Int.random(in: 0..<9, using: &generator) {
        case 0 where place < input.count: input[place] ^= 1 << UInt8.random(in: 0...7, using: &generator)
        case 1 where place < input.count: input[place] = .random(in: 0...255, using: &generator)
        case 2: input.removeSubrange(place..<end)
        case 3: input.insert(contentsOf: input[place..<end], at: place)
        case 4: replace(&input, at: place, with: number())
        case 5: input.insert(contentsOf: word(), at: place)
        case 6:
            let other = corpus[Int.random(in: 0..<corpus.count, using: &generator)]
            input = input.prefix(place) + other.suffix(Int.random(in: 0...other.count, using: &generator))
        case 7: input.removeSubrange(place...)
        default: input.insert(.random(in: 0...255, using: &generator), at: place)
        }
    }

    private mutating func replace(_ input: inout [UInt8], at place: Int, with bytes: [UInt8]) {
        input.replaceSubrange(place..<min(input.count, place + bytes.count), with: bytes)
    }
    private mutating func word() -> [UInt8] { words.randomElement(using: &generator) ?? number() }
    /// 1, 2, 4 or 8 bytes of a number at some edge, in either order; or as a varint.
    private mutating func number() -> [UInt8] {
        let value = Self.numbers.randomElement(using: &generator) ?? 0
        let change = UInt64(bitPattern: Int64.random(in: -1...1, using: &generator))
        guard Int.random(in: 0..<3, using: &generator) > 0 else {
            var writer = ByteWriter()
            writer.varint(value &+ change)
            return writer.finish()
        }
        let count = 1 << Int.random(in: 0...3, using: &generator)
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: (value &+ change) >> UInt64(8 * $0)) }
        return Bool.random(using: &generator) ? bytes : bytes.reversed()
    }
}
