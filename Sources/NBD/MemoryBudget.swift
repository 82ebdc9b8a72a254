/// Bytes that all connections' requests hold together, and who may have more.
final class MemoryBudget: Sendable {
    private let bytesMax: Int
    private let used = Monitor(0)

    init(bytesMax: Int) { self.bytesMax = bytesMax }

    /// Blocks the thread until the bytes may be used, or `isCancelled` says stop (then it returns false).
    /// - Parameter unconditionally: at once, whatever is used already.
    func acquire(_ bytes: Int, unconditionally: Bool, isCancelled: () -> Bool) -> Bool {
        used.wait { used -> Bool? in
            if isCancelled() { return false }
            guard unconditionally || used + bytes <= bytesMax else { return nil }
            used += bytes
            return true
        }
    }
    func isFull(adding bytes: Int) -> Bool { used.withLock { $0 + bytes > bytesMax } }
    func release(_ bytes: Int) {
        guard bytes > 0 else { return }
        used.withLock { $0 -= bytes }
        used.wakeAll()
    }
    /// Makes waiters ask their `isCancelled` again.
    func wakeAll() {
        // The lock orders this after a waiter that has asked already and is about to wait.
        used.withLock { _ in }
        used.wakeAll()
    }
}
