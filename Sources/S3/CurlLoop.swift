internal import CCurl

/// The transfer thread's own state: what runs, what waits, and the handles to run it with.
struct CurlLoop {
    private let connectionsMax: Int
    private var queue: [CurlTransfer] = []
    /// Of `queue`, those before this place have been started; removed now and then, all at once.
    private var queueStart = 0
    private var active: [UnsafeMutableRawPointer: CurlSlot] = [:]
    private var pool: [CurlSlot] = []

    init(connectionsMax: Int) { self.connectionsMax = connectionsMax }

    var isIdle: Bool { active.isEmpty && queueStart == queue.count }
    var canStart: Bool { queueStart < queue.count && active.count < connectionsMax }

    mutating func enqueue(_ transfers: [CurlTransfer]) { queue += transfers }

    mutating func startQueued(_ multi: borrowing MultiHandle) {
        while canStart {
            let transfer = queue[queueStart]
            queueStart += 1
            start(transfer, multi)
        }
        if queueStart == queue.count || queueStart > 1024 {
            queue.removeFirst(queueStart)
            queueStart = 0
        }
    }

    private mutating func start(_ transfer: CurlTransfer, _ multi: borrowing MultiHandle) {
        guard let slot = pool.popLast() ?? CurlSlot() else { return transfer.answer(.failure(Self.noMemory)) }
        slot.begin(transfer)
        guard curl_multi_add_handle(multi.pointer, slot.easy.pointer) == CURLM_OK else {
            _ = slot.end()
            return transfer.answer(.failure(Self.noMemory))
        }
        active[slot.easy.pointer] = slot
    }

    /// Moves every transfer as far as it goes without waiting, and answers those that ended.
    mutating func advance(_ multi: borrowing MultiHandle) {
        var running: Int32 = 0
        let code = curl_multi_perform(multi.pointer, &running)
        precondition(code == CURLM_OK, "curl_multi_perform: \(String(cString: curl_multi_strerror(code)))")
        var left: Int32 = 0
        while let message = curl_multi_info_read(multi.pointer, &left) {
            guard message.pointee.msg == CURLMSG_DONE, let easy = message.pointee.easy_handle else { continue }
            finish(easy, message.pointee.data.result, multi)
        }
    }

    private mutating func finish(
        _ easy: UnsafeMutableRawPointer, _ code: CURLcode, _ multi: borrowing MultiHandle
    ) {
        guard let slot = active.removeValue(forKey: easy) else { preconditionFailure("a transfer nobody started") }
        let result = slot.result(code)
        _ = curl_multi_remove_handle(multi.pointer, easy)
        let transfer = slot.end()
        pool.append(slot)
        transfer?.answer(result.mapError { $0 })
    }

    /// Stops a transfer that nobody waits for any more; its connection is closed.
    mutating func abandon(_ transfer: CurlTransfer, _ multi: borrowing MultiHandle) {
        if let slot = active.values.first(where: { $0.transfer === transfer }) {
            active[slot.easy.pointer] = nil
            _ = curl_multi_remove_handle(multi.pointer, slot.easy.pointer)
            _ = slot.end()
            pool.append(slot)
        } else if let place = queue[queueStart...].firstIndex(where: { $0 === transfer }) {
            queue.remove(at: place)
        }
        transfer.answer(.failure(CancellationError()))
    }

    private static let noMemory = TransferFailure(kind: .unusable, description: "out of memory for another request")
}
