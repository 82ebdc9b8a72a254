import Glibc

/// What the engine takes from the machine that it runs on: time, disks, threads, a name. A simulation brings its own;
/// beside this only the object store stands between the engine and the world.
public struct Machine: Sendable {
    public var time: any TimeSource
    /// Holds the journals and the marks of the highest numbers seen.
    public var disk: any LocalDisk
    /// Holds the disk cache; its threads are its own, so that no flush waits behind it.
    public var cacheDisk: any LocalDisk
    /// Threads that compress, encrypt and derive keys.
    public var workers: BlockingPool
    /// Written into claims, for the error that a rival reads.
    public var host: String

    public init(
        time: any TimeSource, disk: any LocalDisk, cacheDisk: any LocalDisk, workers: BlockingPool, host: String
    ) {
        self.time = time
        self.disk = disk
        self.cacheDisk = cacheDisk
        self.workers = workers
        self.host = host
    }

    /// This machine. All engines of a process share its threads.
    public static let system = Machine(
        time: SystemTime(), disk: SystemDisk.shared, cacheDisk: SystemDisk(workerThreads: 8, syncThreads: 1),
        workers: BlockingPool(name: "zerofs-work", threads: 2), host: systemHostName())
}

private func systemHostName() -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard gethostname(&buffer, buffer.count - 1) == 0 else { return "unknown" }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
