import Glibc
public import NBD
public import ObjectStorage
public import StoreCore
public import Volumes

/// All of a server's figures at one moment. Statistics and metrics are two ways to show it.
public struct ServerSnapshot: Sendable {
    public var version: String
    public var pid: Int32
    public var uptimeSeconds: Double
    public var memory: ProcessMemory
    /// The store's URL.
    public var storeLocation: String
    public var requests: RequestCounts
    public var requestLatencies: [RequestKind: LatencyHistogram]
    /// By export, then by operation.
    public var exports: [String: [NBDOperation: OperationStatistics]]
    public var connections: [NBDConnectionInfo]
    public var engine: EngineStatistics

    public init(
        version: String, pid: Int32, uptimeSeconds: Double, memory: ProcessMemory, storeLocation: String,
        requests: RequestCounts, requestLatencies: [RequestKind: LatencyHistogram],
        exports: [String: [NBDOperation: OperationStatistics]], connections: [NBDConnectionInfo],
        engine: EngineStatistics
    ) {
        self.version = version
        self.pid = pid
        self.uptimeSeconds = uptimeSeconds
        self.memory = memory
        self.storeLocation = storeLocation
        self.requests = requests
        self.requestLatencies = requestLatencies
        self.exports = exports
        self.connections = connections
        self.engine = engine
    }
}

/// What the kernel says of this process (proc(5)); zeroes where it says nothing.
public struct ProcessMemory: Codable, Sendable, Equatable {
    public var residentBytes: UInt64 = 0
    public var residentBytesPeak: UInt64 = 0
    public var virtualBytes: UInt64 = 0
    public var openFiles: Int = 0
    public var cpuSeconds: Double = 0

    public init() {}

    public static func current() -> ProcessMemory {
        var memory = ProcessMemory()
        for line in procLines("/proc/self/status") {
            let parts = line.split(whereSeparator: { $0 == "\t" || $0 == " " })
            guard parts.count >= 2, let kibibytes = UInt64(parts[1]) else { continue }
            switch parts[0] {
            case "VmRSS:": memory.residentBytes = kibibytes << 10
            case "VmHWM:": memory.residentBytesPeak = kibibytes << 10
            case "VmSize:": memory.virtualBytes = kibibytes << 10
            default: break
            }
        }
        var usage = rusage()
        if getrusage(RUSAGE_SELF.rawValue, &usage) == 0 {
            memory.cpuSeconds = seconds(usage.ru_utime) + seconds(usage.ru_stime)
        }
        memory.openFiles = openFileCount()
        return memory
    }

    private static func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }

    private static func openFileCount() -> Int {
        guard let directory = opendir("/proc/self/fd") else { return 0 }
        defer { closedir(directory) }
        var count = 0
        while readdir(directory) != nil { count += 1 }
        // `.`, `..` and the directory itself.
        return max(count - 3, 0)
    }
    private static func procLines(_ path: String) -> [Substring] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 16 << 10)
        let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
        return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self).split(separator: "\n")
    }
}
