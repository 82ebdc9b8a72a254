internal import CCurl
import Glibc
import StoreCore
import Synchronization

/// HTTP/1.1 over libcurl's multi interface: one named thread drives all transfers and owns every libcurl handle; tasks
/// hand it requests and are resumed with answers.
///
/// Connections are kept and used again. At most `connectionsMax` requests run at once, later ones wait in order.
/// `state` guards the mailbox between tasks and thread; all else belongs to the thread.
final class CurlEngine: Sendable {
    private struct Mailbox {
        var submitted: [CurlTransfer] = []
        var cancelled: [CurlTransfer] = []
        var isStopping = false
    }

    private let mailbox = Mutex(Mailbox())
    // Freed with the engine, after its thread has ended and nobody can call `wakeUp` any more.
    private let multi: MultiHandle

    /// - Throws: `full` when there is no memory or no thread to be had.
    init(connectionsMax: Int) throws(StorageError) {
        precondition(connectionsMax > 0, "at least one connection")
        guard CurlLibrary.ready, let multi = MultiHandle() else {
            throw StorageError(.full, "libcurl cannot start: out of memory")
        }
        multi.set(CURLMOPT_MAXCONNECTS, connectionsMax)
        self.multi = multi
        let started = startThread(named: "zerofs-s3") { [self] in
            self.multi.drive(self, connectionsMax: connectionsMax)
        }
        guard started else { throw StorageError(.full, "no thread can be started for S3 requests") }
    }

    /// Ends the thread once it has nothing under way. No request may follow.
    func stop() {
        mailbox.withLock { $0.isStopping = true }
        multi.wakeUp()
    }

    /// Sends a request and returns its whole answer, whatever the status.
    /// - Parameter isAbandonable: whether cancelling the task stops the transfer.
    /// - Throws: `TransferFailure`, `CancellationError`.
    func perform(_ request: HTTPRequest, isAbandonable: Bool) async throws -> HTTPResponse {
        let transfer = CurlTransfer(request)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                guard transfer.wait(continuation) else { return }
                mailbox.withLock { $0.submitted.append(transfer) }
                multi.wakeUp()
            }
        } onCancel: {
            guard isAbandonable, transfer.cancel() else { return }
            mailbox.withLock { $0.cancelled.append(transfer) }
            multi.wakeUp()
        }
    }

    /// What tasks have asked for since the last call.
    fileprivate func takeMail() -> (submitted: [CurlTransfer], cancelled: [CurlTransfer], isStopping: Bool) {
        mailbox.withLock { mail in
            defer {
                mail.submitted = []
                mail.cancelled = []
            }
            return (mail.submitted, mail.cancelled, mail.isStopping)
        }
    }
}

extension MultiHandle {
    /// The transfer thread's life.
    fileprivate borrowing func drive(_ engine: CurlEngine, connectionsMax: Int) {
        var loop = CurlLoop(connectionsMax: connectionsMax)
        while true {
            let mail = engine.takeMail()
            loop.enqueue(mail.submitted)
            for transfer in mail.cancelled { loop.abandon(transfer, self) }
            loop.startQueued(self)
            loop.advance(self)
            if mail.isStopping && loop.isIdle { return }
            // Transfers just finished may have made room for queued ones.
            let pause: Int32 = loop.canStart ? 0 : 60_000
            _ = curl_multi_poll(pointer, nil, 0, pause, nil)
        }
    }
}

/// Starts a detached thread that takes no signals: they are for the main thread, and a SIGPIPE raised by TLS on a
/// closed connection must come back as an error of the write.
private func startThread(named name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
    final class Start {
        let name: String
        let body: @Sendable () -> Void
        init(_ name: String, _ body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }
    let start = Unmanaged.passRetained(Start(name, body))
    var thread = pthread_t()
    let code = pthread_create(
        &thread, nil,
        { argument in
            guard let argument else { return nil }
            let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
            var all = sigset_t()
            sigfillset(&all)
            pthread_sigmask(SIG_BLOCK, &all, nil)
            nameThisThread(start.name)
            start.body()
            return nil
        }, start.toOpaque())
    guard code == 0 else {
        start.release()
        return false
    }
    pthread_detach(thread)
    return true
}

/// Through /proc, because glibc declares `pthread_setname_np` for GNU sources only. Names serve people: a failure is
/// harmless.
private func nameThisThread(_ name: String) {
    let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    _ = write(file, name, name.utf8.count)
    close(file)
}
