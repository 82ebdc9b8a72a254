import CZstd
import StoreCore

/// zstd's working state for compression; its tables are kept from call to call.
final class Compressor {
    private let context: OpaquePointer
    private let probe = CompressionProbe()

    init() {
        guard let context = ZSTD_createCCtx() else { preconditionFailure("no memory for a zstd context") }
        self.context = context
    }
    deinit { ZSTD_freeCCtx(context) }

    /// What a sample says; see `CompressionProbe`.
    func expectsGain(_ input: UnsafeRawBufferPointer) throws(StorageError) -> Bool {
        try probe.expectsGain(input, self)
    }

    /// The bytes written to `output`; nil where they do not fit.
    func compress(
        _ input: UnsafeRawBufferPointer, level: Int32, into output: UnsafeMutableRawBufferPointer
    ) throws(StorageError) -> Int? {
        let result = ZSTD_compressCCtx(
            context, output.baseAddress, output.count, input.baseAddress, input.count, level)
        guard ZSTD_isError(result) != 0 else { return result }
        guard ZSTD_getErrorCode(result) == ZSTD_error_dstSize_tooSmall else {
            throw StorageError(.unavailable, "zstd cannot compress: \(String(cString: ZSTD_getErrorName(result)))")
        }
        return nil
    }
}

/// zstd's working state for decompression.
final class Decompressor {
    private let context: OpaquePointer

    init() {
        guard let context = ZSTD_createDCtx() else { preconditionFailure("no memory for a zstd context") }
        self.context = context
    }
    deinit { ZSTD_freeDCtx(context) }

    /// The bytes written to `output`, or what is wrong with the input. Never writes beyond `output`, whatever comes in.
    func decompress(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) -> Result<Int, Failure> {
        let result = ZSTD_decompressDCtx(context, output.baseAddress, output.count, input.baseAddress, input.count)
        guard ZSTD_isError(result) != 0 else { return .success(result) }
        return .failure(Failure(reason: String(cString: ZSTD_getErrorName(result))))
    }
    struct Failure: Error { let reason: String }
}
