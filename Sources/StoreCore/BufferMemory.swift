import Synchronization

/// Memory of `IOBuffer`s between two uses. Fresh pages cost a fault and a zeroing each, which for large requests is
/// more than all else a server does with them; so released memory waits for the next buffer of its size class, up to a
/// bound.
enum BufferMemory {
    /// What lies unused, at most; beyond that memory is freed.
    static let keptBytesMax = 64 << 20
    static let classBytesMax = 32 << 20

    private struct Kept: @unchecked Sendable {
        /// By class: the last one in is the next one out, while its pages are warm.
        var classes: [[UnsafeMutableRawPointer]] = Array(
            repeating: [], count: SizeClass(bytes: classBytesMax).index + 1)
        var bytes = 0
    }
    private static let kept = Mutex(Kept())

    /// Page-aligned memory of the class.
    static func take(_ size: SizeClass) -> UnsafeMutableRawPointer {
        let known: UnsafeMutableRawPointer? = kept.withLock { kept in
            guard size.bytes <= classBytesMax, let memory = kept.classes[size.index].popLast() else { return nil }
            kept.bytes -= size.bytes
            return memory
        }
        return known ?? .allocate(byteCount: size.bytes, alignment: blockBytes)
    }

    static func give(_ memory: UnsafeMutableRawPointer, _ size: SizeClass) {
        let isKept = kept.withLock { kept in
            guard size.bytes <= classBytesMax, kept.bytes + size.bytes <= keptBytesMax else { return false }
            kept.classes[size.index].append(memory)
            kept.bytes += size.bytes
            return true
        }
        if !isKept { memory.deallocate() }
    }

    static var keptBytes: Int { kept.withLock { $0.bytes } }
}

/// Sizes are rounded up to four steps for each doubling, in whole blocks: at most a quarter is wasted.
struct SizeClass: Equatable {
    let bytes: Int
    let index: Int

    init(bytes count: Int) {
        let blocks = max(1, (count + blockBytes - 1) / blockBytes)
        guard blocks > 4 else {
            bytes = blocks * blockBytes
            index = blocks - 1
            return
        }
        let power = Int.bitWidth - 1 - (blocks - 1).leadingZeroBitCount
        let step = 1 << (power - 2)
        let steps = (blocks + step - 1) / step
        bytes = steps * step * blockBytes
        index = 4 * (power - 1) + steps - 5
    }
}
