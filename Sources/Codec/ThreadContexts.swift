import Glibc
import StoreCore

/// The working state of OpenSSL and zstd of one thread: made at the thread's first use, freed when the thread ends.
///
/// Codec's functions never suspend, so that whoever takes a context has it alone to the end of the call: nothing here
/// is shared and nothing is locked. A thread that compresses holds about 1 MiB; the number of threads bounds the sum.
final class ThreadContexts {
    let sha256 = DigestContext(.sha256)
    lazy var compressor = Compressor()
    lazy var decompressor = Decompressor()
    private var ciphers: [AEADContext?] = Array(repeating: nil, count: 4)

    func cipher(_ algorithm: CipherAlgorithm, _ direction: AEADContext.Direction) throws(StorageError) -> AEADContext {
        let slot = (algorithm == .chaCha20Poly1305 ? 0 : 2) + (direction == .seal ? 0 : 1)
        if let context = ciphers[slot] { return context }
        let context = try AEADContext(algorithm, direction)
        ciphers[slot] = context
        return context
    }

    static var current: ThreadContexts {
        if let known = pthread_getspecific(slot) {
            return Unmanaged<ThreadContexts>.fromOpaque(known).takeUnretainedValue()
        }
        let contexts = ThreadContexts()
        let result = pthread_setspecific(slot, Unmanaged.passRetained(contexts).toOpaque())
        precondition(result == 0, "no memory for thread-local storage")
        return contexts
    }
    private static let slot: pthread_key_t = {
        var key = pthread_key_t()
        let result = pthread_key_create(&key) { Unmanaged<ThreadContexts>.fromOpaque($0!).release() }
        precondition(result == 0, "no thread-local storage is left")
        return key
    }()
}
