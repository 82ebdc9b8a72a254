internal import CCurl
import Glibc

/// An easy handle with all that its callbacks need, used for one transfer after another. Touched by the transfer
/// thread alone.
final class CurlSlot {
    private static let bufferBytes = 256 << 10

    let easy: EasyHandle
    private(set) var transfer: CurlTransfer?
    fileprivate var collector = ResponseCollector(answerBytesMax: 0)
    fileprivate var bodyBytesSent = 0
    private var headers = HeaderList([])
    private let errorText: UnsafeMutablePointer<CChar>

    init?() {
        guard let easy = EasyHandle() else { return nil }
        self.easy = easy
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
    }
    deinit { errorText.deallocate() }

    func begin(_ transfer: CurlTransfer) {
        self.transfer = transfer
        collector = ResponseCollector(answerBytesMax: transfer.request.answerBytesMax)
        bodyBytesSent = 0
        errorText[0] = 0
        curl_easy_reset(easy.pointer)
        setOptions(transfer.request)
        setCallbacks()
    }

    /// Forgets the transfer; the slot is free for the next one.
    func end() -> CurlTransfer? {
        defer {
            transfer = nil
            collector = ResponseCollector(answerBytesMax: 0)
        }
        return transfer
    }

    func result(_ code: CURLcode) -> Result<HTTPResponse, TransferFailure> {
        if code == CURLE_OK { return .success(collector.response) }
        if collector.isTooLarge {
            // The error is known by its beginning.
            guard (200...299).contains(collector.status) else { return .success(collector.response) }
            return .failure(
                TransferFailure(
                    kind: .bodyTooLarge,
                    description: "the answer holds more than the \(collector.answerBytesMax) bytes asked for"))
        }
        let detail = String(cString: errorText)
        let text = detail.isEmpty ? String(cString: curl_easy_strerror(code)) : detail
        return .failure(TransferFailure(kind: Self.kind(of: code), description: text))
    }

    private static func kind(of code: CURLcode) -> TransferFailure.Kind {
        switch code {
        case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY, CURLE_COULDNT_CONNECT: .unreachable
        case CURLE_OPERATION_TIMEDOUT: .timedOut
        case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_INVALIDCERTSTATUS: .untrusted
        case CURLE_SSL_CACERT_BADFILE, CURLE_URL_MALFORMAT: .unusable
        default: .broken
        }
    }

    private func setOptions(_ request: HTTPRequest) {
        easy.set(CURLOPT_URL, request.url)
        _ = ccurl_allow_only_http(easy.pointer)
        easy.set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        // The path is signed byte for byte: libcurl must not tidy it up.
        easy.set(CURLOPT_PATH_AS_IS, 1)
        easy.set(CURLOPT_NOSIGNAL, 1)
        easy.set(CURLOPT_TCP_KEEPALIVE, 1)
        easy.set(CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))
        if let file = request.caFile { easy.set(CURLOPT_CAINFO, file) }
        if request.bypassesProxy { easy.set(CURLOPT_NOPROXY, "*") }
        setTimeouts(request.timeouts)
        setMethod(request)
        // No `Expect: 100-continue`: it costs every large upload a round trip.
        headers = HeaderList(request.headers.map { "\($0.name): \($0.value)" } + ["Expect:"])
        _ = ccurl_set_headers(easy.pointer, headers.pointer)
    }

    private func setTimeouts(_ timeouts: S3Timeouts) {
        easy.set(CURLOPT_CONNECTTIMEOUT_MS, timeouts.connect.milliseconds)
        easy.set(CURLOPT_TIMEOUT_MS, timeouts.total.milliseconds)
        easy.set(CURLOPT_LOW_SPEED_LIMIT, 1)
        easy.set(CURLOPT_LOW_SPEED_TIME, max(1, (timeouts.idle.milliseconds + 999) / 1000))
    }

    private func setMethod(_ request: HTTPRequest) {
        switch request.method {
        case .get: easy.set(CURLOPT_HTTPGET, 1)
        case .head: easy.set(CURLOPT_NOBODY, 1)
        case .delete: easy.set(CURLOPT_CUSTOMREQUEST, request.method.rawValue)
        case .put, .post:
            easy.set(CURLOPT_UPLOAD, 1)
            easy.set(CURLOPT_CUSTOMREQUEST, request.method.rawValue)
            easy.set(CURLOPT_INFILESIZE_LARGE, offset: request.body.count)
        }
        if request.body.count > 64 << 10 { easy.set(CURLOPT_UPLOAD_BUFFERSIZE, Self.bufferBytes) }
        if request.answerBytesMax > 64 << 10 { easy.set(CURLOPT_BUFFERSIZE, Self.bufferBytes) }
        // With no body there is no rewinding that would stop libcurl from sending again: see `isRepeatable`.
        if !request.isRepeatable && request.body.isEmpty { easy.set(CURLOPT_FRESH_CONNECT, 1) }
    }

    private func setCallbacks() {
        let this = Unmanaged.passUnretained(self).toOpaque()
        easy.set(CURLOPT_ERRORBUFFER, UnsafeMutableRawPointer(errorText))
        easy.set(CURLOPT_WRITEDATA, this)
        easy.set(CURLOPT_HEADERDATA, this)
        easy.set(CURLOPT_READDATA, this)
        easy.set(CURLOPT_SEEKDATA, this)
        _ = ccurl_set_write_function(easy.pointer, receiveBody)
        _ = ccurl_set_header_function(easy.pointer, receiveHeader)
        _ = ccurl_set_read_function(easy.pointer, sendBody)
        _ = ccurl_set_seek_function(easy.pointer, rewindBody)
    }
}

// The callbacks: libcurl calls them on the transfer thread, within curl_multi_perform. A count other than the one
// offered stops the transfer.

private func slot(_ pointer: UnsafeMutableRawPointer?) -> CurlSlot {
    guard let pointer else { preconditionFailure("libcurl lost the callback's argument") }
    return Unmanaged<CurlSlot>.fromOpaque(pointer).takeUnretainedValue()
}

private func receiveBody(
    _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int, _ user: UnsafeMutableRawPointer?
) -> Int {
    slot(user).collector.addBody(UnsafeRawBufferPointer(start: bytes, count: size * count)) ? size * count : 0
}

private func receiveHeader(
    _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int, _ user: UnsafeMutableRawPointer?
) -> Int {
    slot(user).collector.addHeader(line: UnsafeRawBufferPointer(start: bytes, count: size * count)) ? size * count : 0
}

private func sendBody(
    _ target: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int, _ user: UnsafeMutableRawPointer?
) -> Int {
    let slot = slot(user)
    guard let target, let body = slot.transfer?.request.body else { return Int(CURL_READFUNC_ABORT) }
    let piece = min(size * count, body.count - slot.bodyBytesSent)
    body.withUnsafeBytes { bytes in
        if let base = bytes.baseAddress { memcpy(target, base + slot.bodyBytesSent, piece) }
    }
    slot.bodyBytesSent += piece
    return piece
}

private func rewindBody(_ user: UnsafeMutableRawPointer?, _ offset: curl_off_t, _ origin: Int32) -> Int32 {
    let slot = slot(user)
    guard let request = slot.transfer?.request, request.isRepeatable, origin == SEEK_SET,
        (0...request.body.count).contains(offset)
    else { return CURL_SEEKFUNC_FAIL }
    slot.bodyBytesSent = offset
    return CURL_SEEKFUNC_OK
}
