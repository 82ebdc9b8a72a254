import COpenSSL
import Glibc
import StoreCore
import Synchronization

/// Key material in memory of its own, zeroed when the last reference goes. Immutable once made, so any thread may read.
/// Prints without its content.
///
/// `.locked` secrets (passphrases, data keys, key-encryption keys) lie on pages of their own that neither swap nor core
/// dumps see, as far as the process's memlock limit allows: a machine without that privilege must still be able to
/// serve, so a refused mlock is accepted and told (`SecretMemory`). `.plain` is for the short-lived keys of single
/// objects, of which there may be thousands.
public final class SecretBytes: @unchecked Sendable {
    public enum Placement: Sendable { case locked, plain }

    public let count: Int
    private let base: UnsafeMutableRawPointer
    private let mappedBytes: Int

    /// Memory that `fill` must write whole. Traps where `count` is not positive.
    public init<E: Error>(
        count: Int, placement: Placement = .plain, fill: (UnsafeMutableRawBufferPointer) throws(E) -> Void
    ) throws(E) {
        precondition(count > 0, "a secret has bytes")
        self.count = count
        if placement == .locked, let pages = Self.lockedPages(for: count) {
            (base, mappedBytes) = pages
        } else {
            (base, mappedBytes) = (.allocate(byteCount: count, alignment: 16), 0)
        }
        base.initializeMemory(as: UInt8.self, repeating: 0, count: count)
        try fill(UnsafeMutableRawBufferPointer(start: base, count: count))
    }
    public convenience init(copying bytes: some Collection<UInt8>, placement: Placement = .plain) {
        self.init(count: bytes.count, placement: placement) { $0.copyBytes(from: bytes) }
    }
    static func random(count: Int, placement: Placement) throws(StorageError) -> SecretBytes {
        try SecretBytes(count: count, placement: placement, fill: SecureRandom.fill)
    }

    deinit {
        OPENSSL_cleanse(base, count)
        if mappedBytes > 0 {
            munmap(base, mappedBytes)
        } else {
            base.deallocate()
        }
    }

    public func withBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        try body(UnsafeRawBufferPointer(start: base, count: count))
    }
    /// In time that does not depend on where the two differ.
    func equals(_ other: SecretBytes) -> Bool { count == other.count && CRYPTO_memcmp(base, other.base, count) == 0 }

    /// nil where the kernel gives no pages at all; then ordinary memory must do.
    private static func lockedPages(for count: Int) -> (UnsafeMutableRawPointer, Int)? {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let bytes = (count + page - 1) / page * page
        let base = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let base, base != MAP_FAILED else { return nil }
        if mlock(base, bytes) != 0 { SecretMemory.noteRefusal() }
        _ = madvise(base, bytes, Int32(MADV_DONTDUMP))
        return (base, bytes)
    }
}

extension SecretBytes: CustomStringConvertible, CustomReflectable {
    public var description: String { "secret" }
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// How this process keeps its secrets out of swap and of core dumps.
public enum SecretMemory {
    private static let refusals = Atomic<Int>(0)

    static func noteRefusal() { refusals.add(1, ordering: .relaxed) }

    /// What to do where the kernel refused to keep secrets out of swap; nil where it did not.
    public static var advice: String? {
        guard refusals.load(ordering: .relaxed) > 0 else { return nil }
        return """
            keys may be written to swap, because the limit of locked memory is too low: raise it (LimitMEMLOCK=64M in \
            the systemd unit, or `ulimit -l`), or encrypt the swap
            """
    }

    /// Neither core dumps nor other processes of the same user show this process's memory from here on.
    /// - Returns: false where the kernel refused.
    public static func forbidDumps() -> Bool {
        var limit = rlimit(rlim_cur: 0, rlim_max: 0)
        guard getrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit) == 0 else { return false }
        limit.rlim_cur = 0
        let isLimited = setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit) == 0
        return zerofs_forbid_dumps() == 0 && isLimited
    }

    /// Takes `forbidDumps` back, as far as the limits of the process allow.
    public static func allowDumps() {
        var limit = rlimit(rlim_cur: 0, rlim_max: 0)
        guard zerofs_allow_dumps() == 0, getrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit) == 0 else {
            return
        }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit)
    }

    /// Zeroes bytes that were read on the way to a secret.
    public static func wipe(_ bytes: inout [UInt8]) {
        bytes.withUnsafeMutableBytes { buffer in
            guard let base = buffer.baseAddress else { return }
            OPENSSL_cleanse(base, buffer.count)
        }
        bytes = []
    }
}
