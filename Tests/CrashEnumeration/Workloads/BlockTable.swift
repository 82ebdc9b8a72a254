import Glibc
import StoreCore

/// Every content that a block has ever had, by number: 0 is zeroes. So a volume's contents are a short list of numbers.
final class BlockTable: @unchecked Sendable {
    private var contents: [[UInt8]] = [[UInt8](repeating: 0, count: blockBytes)]
    private var numbers: [UInt64: [Int32]] = [:]
    private var seed: UInt64 = 0

    /// What recoveries write, to see that a volume goes on working.
    let afterRecovery = [UInt8](repeating: 0x5a, count: blockBytes)

    init() { numbers[Self.fingerprint(contents[0][...])] = [0] }

    /// New content for a block, unlike all others.
    func make() -> [UInt8] {
        seed += 1
        var random = SplitMix64(seed: seed)
        return [UInt8](unsafeUninitializedCapacity: blockBytes) { target, count in
            let words = UnsafeMutableRawBufferPointer(target).bindMemory(to: UInt64.self)
            // Half of it compresses.
            for index in words.indices { words[index] = index % 2 == 0 ? random.next() : seed }
            count = blockBytes
        }
    }
    func number(of block: ArraySlice<UInt8>) -> Int32? {
        numbers[Self.fingerprint(block)]?.first { isEqual(contents[Int($0)], block) }
    }
    /// The number of a content that a client is about to write.
    func enter(_ block: ArraySlice<UInt8>) -> Int32 {
        if let known = number(of: block) { return known }
        contents.append(Array(block))
        let number = Int32(contents.count - 1)
        numbers[Self.fingerprint(block), default: []].append(number)
        return number
    }
    func bytes(_ number: Int32) -> [UInt8] { contents[Int(number)] }

    private func isEqual(_ a: [UInt8], _ b: ArraySlice<UInt8>) -> Bool {
        a.withUnsafeBytes { a in
            b.withUnsafeBytes { b in
                guard let a = a.baseAddress, let b = b.baseAddress else { return false }
                return memcmp(a, b, blockBytes) == 0
            }
        }
    }
    private static func fingerprint(_ block: ArraySlice<UInt8>) -> UInt64 {
        block.withUnsafeBytes { bytes in
            var hash: UInt64 = 0
            for offset in stride(from: 0, to: bytes.count, by: 8) {
                hash = (hash ^ bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) &* 0x9e37_79b9_7f4a_7c15
                hash ^= hash >> 29
            }
            return hash
        }
    }
}

/// What a volume or snapshot holds: a number for each block. -1: a content that nobody ever wrote.
typealias Contents = [Int32]
