import COpenSSL
import Glibc
import StoreCore

/// Key material in memory of its own, zeroed when the last reference goes. Immutable once made, so any thread may read.
///
/// `.locked` secrets (data keys, key-encryption keys) lie on pages of their own that neither swap nor core dumps see,
/// as far as the process's memlock limit allows: a machine without that privilege must still be able to serve, so a
/// refused mlock is accepted. `.plain` is for the short-lived keys of single objects, of which there may be thousands.
final class SecretBytes: @unchecked Sendable {
    enum Placement { case locked, plain }

    let count: Int
    private let base: UnsafeMutableRawPointer
    private let mappedBytes: Int

    /// Memory that `fill` must write whole.
    init<E: Error>(
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
    convenience init(copying bytes: some Collection<UInt8>, placement: Placement = .plain) {
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

    func withBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        try body(UnsafeRawBufferPointer(start: base, count: count))
    }

    /// nil where the kernel gives no pages at all; then ordinary memory must do.
    private static func lockedPages(for count: Int) -> (UnsafeMutableRawPointer, Int)? {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let bytes = (count + page - 1) / page * page
        let base = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let base, base != MAP_FAILED else { return nil }
        _ = mlock(base, bytes)
        _ = madvise(base, bytes, Int32(MADV_DONTDUMP))
        return (base, bytes)
    }
}
