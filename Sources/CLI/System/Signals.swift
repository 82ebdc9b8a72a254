import Dispatch
import Glibc
import Logging
import StoreCore
import TLS

/// SIGTERM and SIGINT as a stream: how often a person wants the server to stop.
final class StopSignals: Sendable {
    let requests: AsyncStream<Int32>
    private let continuation: AsyncStream<Int32>.Continuation
    /// Kept alive; never touched after they were started.
    private nonisolated(unsafe) let sources: [any DispatchSourceSignal]

    init() {
        let (requests, continuation) = AsyncStream<Int32>.makeStream()
        self.requests = requests
        self.continuation = continuation
        sources = [SIGTERM, SIGINT].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: DispatchQueue(label: "signals"))
            source.setEventHandler { continuation.yield(number) }
            source.resume()
            return source
        }
    }

    /// Asks for the same without a signal.
    func request() { continuation.yield(0) }
}

/// SIGHUP reads the files of TLS anew. What cannot be used is told, and changes nothing.
final class ReloadSignal: Sendable {
    /// Kept alive; never touched after it was started.
    private nonisolated(unsafe) let source: any DispatchSourceSignal

    init(_ tls: TLSSecurity?, _ log: Logger) {
        signal(SIGHUP, SIG_IGN)
        source = DispatchSource.makeSignalSource(signal: SIGHUP, queue: DispatchQueue(label: "reload"))
        source.setEventHandler {
            guard let tls else { return log.notice("SIGHUP: TLS is off, there is nothing to read anew") }
            do throws(StorageError) {
                try tls.reload()
                log.notice("SIGHUP: new connections use the certificates and keys as they are now")
            } catch { log.error("SIGHUP: certificates and keys stay as they were: \(error)") }
        }
        source.resume()
    }
}

enum ProcessLimits {
    /// Each connection and each upload has a descriptor; the customary soft limit of 1024 is a relic of select(2).
    static func raiseOpenFiles() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
