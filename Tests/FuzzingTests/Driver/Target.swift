import Glibc
import Synchronization

/// The harness under test, and the memory that it takes.
enum Target {
    nonisolated(unsafe) private static var harness: Harness?

    static func prepare(_ harness: Harness) throws {
        Self.harness = harness
        // What is made once is made before anything is counted.
        for seed in try harness.seeds() { harness.run(seed) }
        Memory.watch()
    }

    static func test(_ input: [UInt8]) {
        guard let harness else { return }
        let before = Memory.begin()
        harness.run(input)
        let taken = Memory.most - before
        require(
            taken <= harness.memory(input.count),
            "\(harness.name): \(input.count) bytes of input took \(taken) bytes of memory")
    }
}

/// Bytes that the process holds, by the sanitizer's hooks.
enum Memory {
    private static let now = Atomic<Int>(0)
    private static let peak = Atomic<Int>(0)

    static var most: Int { peak.load(ordering: .relaxed) }

    /// Forgets the highest mark, and tells what is held.
    static func begin() -> Int {
        let held = now.load(ordering: .relaxed)
        peak.store(held, ordering: .relaxed)
        return held
    }

    static func watch() {
        _ = installHooks(
            { pointer, count in
                let held = Memory.now.add(count, ordering: .relaxed).newValue
                if held > Memory.peak.load(ordering: .relaxed) { Memory.peak.store(held, ordering: .relaxed) }
            },
            { pointer in
                guard let pointer else { return }
                Memory.now.subtract(allocatedBytes(pointer), ordering: .relaxed)
            })
    }
}

@_silgen_name("__sanitizer_install_malloc_and_free_hooks")
private func installHooks(
    _ allocated: @convention(c) (UnsafeRawPointer?, Int) -> Void, _ freed: @convention(c) (UnsafeRawPointer?) -> Void
) -> Int32

@_silgen_name("__sanitizer_get_allocated_size")
private func allocatedBytes(_ pointer: UnsafeRawPointer) -> Int
