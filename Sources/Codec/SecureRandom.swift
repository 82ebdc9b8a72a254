import Glibc
public import StoreCore

/// The kernel's random source (getentropy(3)), for keys and salts.
public enum SecureRandom {
    /// Throws `unavailable` where the kernel gives none (a sandbox that forbids the call).
    public static func bytes(_ count: Int) throws(StorageError) -> [UInt8] {
        try [UInt8](capacity: count) { (output: inout OutputSpan<UInt8>) throws(StorageError) in
            try output.withUnsafeMutableBufferPointer { (buffer, initialized) throws(StorageError) in
                try fill(UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: count))
                initialized = count
            }
        }
    }

    /// getentropy(3) gives at most this much per call.
    private static let callBytesMax = 256

    static func fill(_ buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
        var rest = buffer[...]
        while !rest.isEmpty {
            let part = UnsafeMutableRawBufferPointer(rebasing: rest.prefix(callBytesMax))
            guard getentropy(part.baseAddress, part.count) == 0 else {
                throw StorageError(
                    .unavailable, "the kernel's random source fails: \(String(cString: strerror(errno)))")
            }
            rest = rest.dropFirst(part.count)
        }
    }
}
