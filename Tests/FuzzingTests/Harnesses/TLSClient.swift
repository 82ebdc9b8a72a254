import CLibSSL
import StoreCore
import Synchronization

/// OpenSSL's client in memory, which does what an input says, and somebody on the way who changes what it sends.
///
/// Input: how many changes (at most 3); of each a position in the client's protected bytes, 16 bits, and the bits that
/// are flipped there; then what the client does, one after the other.
final class TLSClient: StreamClient, @unchecked Sendable {
    private enum Act: UInt8 {
        case write, writeToo, writeAgain, writeMore, updateKeys, plain, close, pause
    }

    // The stream's lock guards all of it.
    private let scene: TLSScene
    private let ssl: OpaquePointer
    private let incoming: OpaquePointer
    private let outgoing: OpaquePointer
    private var acts: Choices
    private var changes: [(position: Int, bits: UInt8)] = []
    private var position = 0
    private var isSecured = false
    private var isTampered = false
    /// What it has said within TLS.
    private var said: [UInt8] = []

    init(_ scene: TLSScene, _ choices: inout Choices) throws {
        self.scene = scene
        for _ in 0..<(choices.byte() & 3) { changes.append((choices.number16(), choices.byte())) }
        acts = choices
        let context = try TLSServers.shared.client(scene)
        guard let ssl = SSL_new(context), let incoming = BIO_new(BIO_s_mem()), let outgoing = BIO_new(BIO_s_mem())
        else { preconditionFailure("OpenSSL has a client") }
        (self.ssl, self.incoming, self.outgoing) = (ssl, incoming, outgoing)
        SSL_set_bio(ssl, incoming, outgoing)
        SSL_set_connect_state(ssl)
    }
    deinit { SSL_free(ssl) }

    func answer(_ sent: [UInt8]) -> [UInt8] {
        ERR_clear_error()
        BIO_write(incoming, sent, Int32(sent.count))
        if !isSecured { isSecured = SSL_do_handshake(ssl) == 1 }
        guard isSecured else { return changed(protected()) }
        takeReplies()
        var out = changed(protected())
        while out.isEmpty, !acts.isEmpty {
            switch Act(rawValue: acts.byte() & 7) ?? .pause {
            case .write, .writeToo, .writeAgain, .writeMore: say(acts.part())
            case .updateKeys: updateKeys(times: Int(acts.byte()))
            case .plain:
                isTampered = true
                out = acts.part()
            case .close: SSL_shutdown(ssl)
            case .pause: continue
            }
            out = changed(protected()) + out
        }
        return out
    }

    private func takeReplies() {
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        var count = 0
        while SSL_read_ex(ssl, &buffer, buffer.count, &count) == 1 {}
    }
    private func say(_ bytes: [UInt8]) {
        var count = 0
        if !bytes.isEmpty, SSL_write_ex(ssl, bytes, bytes.count, &count) == 1 { said += bytes }
    }
    /// Each wants an answer.
    private func updateKeys(times: Int) {
        var count = 0
        for _ in 0..<times where SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 {
            isTampered = true
            SSL_write_ex(ssl, nil, 0, &count)
            SSL_do_handshake(ssl)
        }
    }

    private func protected() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: zerofs_bio_pending(outgoing))
        guard !bytes.isEmpty else { return [] }
        let count = BIO_read(outgoing, &bytes, Int32(bytes.count))
        return Array(bytes.prefix(Int(max(count, 0))))
    }
    private func changed(_ bytes: [UInt8]) -> [UInt8] {
        defer { position += bytes.count }
        var bytes = bytes
        for change in changes where change.bits != 0 && bytes.indices.contains(change.position - position) {
            bytes[change.position - position] ^= change.bits
            isTampered = true
        }
        return bytes
    }

    /// Whatever was done to the stream: what the server took is what the client said within TLS, or a beginning of it.
    /// - Parameter isTampered: whether something was sent before TLS began.
    func judge(_ observed: [String], isTampered: Bool) throws {
        let plain = NBDTarget(pace: 0)
        try plain.serve([0, 0, 0, 3] + said)
        let expected = plain.directory.questions.withLock { $0 }
        guard isTampered || self.isTampered else {
            require(observed == (scene.isWelcome ? expected : []), "within TLS as without: \(observed), \(expected)")
            return
        }
        // Where TLS is the client's choice, what came before was answered.
        guard scene.isRequired else { return }
        require(
            expected.starts(with: observed) && (scene.isWelcome || observed.isEmpty),
            "nothing from outside of TLS counts: \(observed), \(expected)")
    }
}
