import Glibc
import Synchronization

/// A few named threads for system calls that block, so that the cooperative pool never waits for a disk.
///
/// Threads start when work first needs them and end after the pool is released and its queue is empty. Jobs begin in
/// the order of their submission. Each waiting job is a suspended task of the caller, whose own limits bound the queue.
/// A job that was submitted runs to its end: cancelling the task that waits for it does not stop it.
/// Thread-safe.
public final class BlockingPool: Sendable {
    /// nil where the caller's own thread does the work.
    private let queue: JobQueue?

    /// - Parameters:
    ///   - name: of the threads, as `top` and `gdb` show it; the kernel keeps 15 bytes, the number included.
    ///   - threads: how many jobs run at once, at most.
    public init(name: String, threads: Int) {
        precondition(threads > 0, "a pool needs a thread")
        queue = JobQueue(name: name, threadsMax: threads)
    }
    private init() { queue = nil }
    deinit { queue?.close() }

    /// A pool without threads, for a simulation: work runs where its caller does, between two suspensions, so that
    /// others run before and after it as they would.
    public static func inline() -> BlockingPool { BlockingPool() }

    /// Runs `body` on a thread of the pool and returns what it returns. Throws what it throws, or `unavailable` when
    /// the system gives no thread.
    public func run<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
        guard let queue else { return try await runHere(body) }
        return try await withCheckedThrowingContinuation { continuation in
            queue.submit(
                JobQueue.Job(
                    run: { continuation.resume(with: Result(catching: body)) },
                    refuse: { continuation.resume(throwing: $0) }))
        }
    }

    private func runHere<R: Sendable>(_ body: @Sendable () throws -> R) async throws -> R {
        await Task.yield()
        let result = Result(catching: body)
        await Task.yield()
        return try result.get()
    }
}

/// What the threads share. They hold it, not the pool, so that the pool can go while they finish.
private final class JobQueue: @unchecked Sendable {
    struct Job: Sendable {
        var run: @Sendable () -> Void
        var refuse: @Sendable (StorageError) -> Void
    }
    private struct State {
        var incoming: [Job] = []
        /// Reversed, so that the next one is popped off the end.
        var outgoing: [Job] = []
        var threads = 0
        var idle = 0

        var waiting: Int { incoming.count + outgoing.count }
        mutating func next() -> Job? {
            if outgoing.isEmpty {
                swap(&incoming, &outgoing)
                outgoing.reverse()
            }
            return outgoing.popLast()
        }
    }

    private let name: String
    private let threadsMax: Int
    /// Guards the queue and the counts of threads.
    private let state = Mutex(State())
    /// One post for each job, and one for each thread at the end.
    private let wakeups: UnsafeMutablePointer<sem_t>

    init(name: String, threadsMax: Int) {
        self.name = name
        self.threadsMax = threadsMax
        wakeups = .allocate(capacity: 1)
        sem_init(wakeups, 0, 0)
    }
    deinit {
        sem_destroy(wakeups)
        wakeups.deallocate()
    }

    func submit(_ job: Job) {
        let newThread: Int? = state.withLock { state in
            state.incoming.append(job)
            guard state.threads < threadsMax, state.idle < state.waiting else { return nil }
            state.threads += 1
            return state.threads
        }
        sem_post(wakeups)
        if let newThread, !startThread(number: newThread) { threadRefused() }
    }

    /// Without any thread the queue would wait for ever; with one it only goes slower.
    private func threadRefused() {
        let stranded: [Job] = state.withLock { state in
            state.threads -= 1
            guard state.threads == 0 else { return [] }
            defer { (state.incoming, state.outgoing) = ([], []) }
            return state.outgoing.reversed() + state.incoming
        }
        for job in stranded { job.refuse(StorageError(.unavailable, "the system gives no thread for \(name)")) }
    }

    func close() {
        let threads = state.withLock { $0.threads }
        for _ in 0..<threads { sem_post(wakeups) }
    }

    private func startThread(number: Int) -> Bool {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        let start = ThreadStart(queue: self, name: String("\(name)-\(number)".prefix(15)))
        let context = Unmanaged.passRetained(start)
        var thread = pthread_t()
        let status = pthread_create(
            &thread, &attributes,
            { context in
                guard let context else { return nil }
                let start = Unmanaged<ThreadStart>.fromOpaque(context).takeRetainedValue()
                nameThisThread(start.name)
                start.queue.work()
                return nil
            }, context.toOpaque())
        if status != 0 { context.release() }
        return status == 0
    }

    /// A thread's life: one wake-up, one job. A wake-up without a job says that the pool is gone, or that its job was
    /// refused; the thread ends, and the next submission starts another.
    private func work() {
        while true {
            state.withLock { $0.idle += 1 }
            while sem_wait(wakeups) != 0 {}
            let job = state.withLock { state in
                state.idle -= 1
                let job = state.next()
                if job == nil { state.threads -= 1 }
                return job
            }
            guard let job else { return }
            job.run()
        }
    }
}

private final class ThreadStart {
    let queue: JobQueue
    let name: String
    init(queue: JobQueue, name: String) {
        self.queue = queue
        self.name = name
    }
}

/// Through /proc, because glibc declares `pthread_setname_np` for GNU sources only. Names serve people: a failure is
/// harmless.
private func nameThisThread(_ name: String) {
    let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    _ = write(file, name, name.utf8.count)
    close(file)
}
