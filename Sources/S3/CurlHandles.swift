internal import CCurl

/// libcurl's process-wide state; made once, never undone.
enum CurlLibrary {
    static let ready: Bool = ccurl_global_init() == CURLE_OK
}

/// An easy handle: one request and its answer, again and again.
struct EasyHandle: ~Copyable {
    let pointer: UnsafeMutableRawPointer

    /// nil when there is no memory.
    init?() {
        guard let pointer = curl_easy_init() else { return nil }
        self.pointer = pointer
    }
    deinit { curl_easy_cleanup(pointer) }

    // An option that this libcurl does not take is a mistake of ours, or no memory: neither can be gone on from.
    private func check(_ code: CURLcode, _ option: CURLoption) {
        precondition(code == CURLE_OK, "libcurl refused option \(option.rawValue): \(code.rawValue)")
    }
    func set(_ option: CURLoption, _ value: Int) { check(ccurl_set_long(pointer, option, value), option) }
    func set(_ option: CURLoption, offset: Int) { check(ccurl_set_offset(pointer, option, offset), option) }
    func set(_ option: CURLoption, _ text: String) { check(ccurl_set_string(pointer, option, text), option) }
    func set(_ option: CURLoption, _ target: UnsafeMutableRawPointer) {
        check(ccurl_set_pointer(pointer, option, target), option)
    }
}

/// A multi handle: the connections, and the transfers that run over them. Used by one thread but for `wakeUp`.
struct MultiHandle: ~Copyable, @unchecked Sendable {
    let pointer: UnsafeMutableRawPointer

    init?() {
        guard let pointer = curl_multi_init() else { return nil }
        self.pointer = pointer
    }
    deinit { _ = curl_multi_cleanup(pointer) }

    func set(_ option: CURLMoption, _ value: Int) { _ = ccurl_multi_set_long(pointer, option, value) }
    /// Ends a `poll` of the transfer thread, now or the next; callable from any thread.
    func wakeUp() { _ = curl_multi_wakeup(pointer) }
}

/// Header lines for one request.
struct HeaderList: ~Copyable {
    private(set) var pointer: UnsafeMutablePointer<curl_slist>?

    init(_ lines: [String]) {
        for line in lines {
            guard let longer = curl_slist_append(pointer, line) else { preconditionFailure("out of memory") }
            pointer = longer
        }
    }
    deinit { curl_slist_free_all(pointer) }
}
