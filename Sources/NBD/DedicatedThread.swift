import Glibc
import StoreCore

/// Threads for blocking system calls, so that the cooperative pool never blocks.
enum DedicatedThread {
    private final class Start {
        let name: String
        let body: @Sendable () -> Void
        init(_ name: String, _ body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    private static let stackBytes = 1 << 20

    /// Runs `body` on a new detached thread, named for debuggers (15 bytes). SIGPIPE is blocked in it: a closed peer is
    /// an error of the call, not the death of the process.
    static func run(_ name: String, _ body: @escaping @Sendable () -> Void) throws(StorageError) {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        pthread_attr_setstacksize(&attributes, stackBytes)
        let start = Unmanaged.passRetained(Start(name, body))
        var thread = pthread_t()
        let code = pthread_create(
            &thread, &attributes,
            { argument in
                guard let argument else { return nil }
                let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                DedicatedThread.blockPipeSignal()
                DedicatedThread.nameThisThread(start.name)
                start.body()
                return nil
            }, start.toOpaque())
        guard code == 0 else {
            start.release()
            throw StorageError(.unavailable, "a thread could not be started: \(SystemCall.text(code))")
        }
    }

    /// Names serve people: a failure is harmless.
    private static func nameThisThread(_ name: String) {
        let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        _ = write(file, name, min(name.utf8.count, 15))
        close(file)
    }

    private static func blockPipeSignal() {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    /// Blocks this thread until the task is done. For dedicated threads only.
    static func wait<R: Sendable>(for work: @escaping @Sendable () async -> R) -> R {
        let result = Monitor<R?>(nil)
        Task {
            let value = await work()
            result.withLock { $0 = value }
            result.wakeAll()
        }
        return result.wait { $0 }
    }
}

enum SystemCall {
    static func text(_ code: Int32) -> String {
        guard let text = strerror(code) else { return "error \(code)" }
        return String(cString: text)
    }
    /// An error that names the call's purpose and errno.
    static func failure(_ what: String, _ code: Int32 = errno) -> StorageError {
        StorageError(.unavailable, "\(what): \(text(code))")
    }
}
