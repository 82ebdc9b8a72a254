import NBD
import StoreCore
import Synchronization
import TLS

extension Harness {
    /// A client that asks for TLS, up to its last byte: plain bytes before STARTTLS and behind it, then either anything
    /// at all in the place of a handshake, or OpenSSL's client, whose protected bytes are changed on their way.
    ///
    /// Keys are made up anew each time, so that one input gives other bytes under encryption; what the server makes of
    /// it is the same.
    ///
    /// Input: what server and client are (`TLSScene`), pace, what comes plain before STARTTLS and behind it; then, of a
    /// raw client, pieces; of a genuine one, changes and what it does within TLS (`TLSClient`).
    static let nbdTLS = Harness(
        name: "nbd-tls", memory: { (64 << 20) + 64 * 1024 * $0 }, isSlow: true,
        words: ["IHAVEOPT", "IHAVEOPT\0\0\0\u{5}\0\0\0\0", "\u{16}\u{3}\u{1}", "disk"],
        seeds: {
            let talk = Client.option(3) + Client.start(mode: 1).dropFirst(4)
            let write = [0] + talk.asPart, flush = [1] + Client.requests(isExtended: false).asPart
            let none: [UInt8] = [0, 0]
            // A genuine client of each kind, with either version and each proof.
            let honest: [[UInt8]] = [1, 7, 11, 15, 23, 27, 35, 43, 51, 67, 75, 91].map { scene in
                [scene, 0] + none + none + [0] + write + flush
            }
            let spoilt: [[UInt8]] = [
                [11, 3] + Client.option(8).asPart + none + [0] + write,
                [11, 0] + none + Client.option(8).asPart + [0] + write,
                [11, 0] + none + Client.option(3).asPart + [0] + write,
                [11, 5] + none + none + [1, 40, 1, 1] + write,
                [11, 0] + none + none + [0] + [4, 9] + write + [5] + Client.option(3).asPart + write + [6],
                [2, 0] + none + none + Client.option(3).asPart, [0, 0] + none + none + Client.option(7).asPart,
            ]
            return honest + spoilt
        },
        body: { input in
            var choices = Choices(input)
            let scene = TLSScene(choices.byte())
            let pace = choices.byte()
            let (before, behind) = (choices.part(), choices.part())
            let plain: [UInt8] = [0, 0, 0, 3] + before + Client.option(5) + behind
            if scene.isGenuine {
                let client = try TLSClient(scene, &choices)
                let observed = try TLSTarget(scene, pace).serve(plain, then: client)
                try client.judge(observed, isTampered: !before.isEmpty || !behind.isEmpty)
            } else {
                let observed = try TLSTarget(scene, pace).serve(plain, then: PieceByPiece(choices))
                require(!scene.isRequired || observed.isEmpty, "who cannot speak TLS learns nothing: \(observed)")
            }
        })
}

/// What server and client are.
struct TLSScene {
    enum Proof: UInt8 { case none, certificate, key, wrongKey }
    let isGenuine: Bool
    let isRequired: Bool
    let proof: Proof
    /// 1.2 instead of 1.3.
    let isOld: Bool
    let server: TLSServers.Kind

    init(_ byte: UInt8) {
        isGenuine = byte & 1 != 0
        isRequired = byte & 2 != 0
        proof = Proof(rawValue: byte >> 2 & 3) ?? .none
        isOld = byte & 16 != 0
        server = TLSServers.Kind(rawValue: byte >> 5 & 3) ?? .anyone
    }

    /// Whether the server lets the client in, where nobody interferes.
    var isWelcome: Bool {
        switch (server, proof) {
        // Of TLS 1.2 a client with a key speaks nothing else.
        case (.anyone, .key), (.anyone, .wrongKey): !isOld
        case (.anyone, _), (.careful, .certificate), (.careful, .key), (.keysOnly, .key): true
        default: false
        }
    }
}

/// The pieces of an input, as they are.
private final class PieceByPiece: StreamClient {
    private let choices: Mutex<Choices>
    init(_ choices: Choices) { self.choices = Mutex(choices) }

    func answer(_ sent: [UInt8]) -> [UInt8] {
        choices.withLock { choices in
            while !choices.isEmpty {
                let piece = choices.part()
                if !piece.isEmpty { return piece }
            }
            return []
        }
    }
}

/// A server with TLS, for one input.
private struct TLSTarget {
    private let scene: TLSScene
    private let target: NBDTarget

    init(_ scene: TLSScene, _ pace: UInt8) {
        self.scene = scene
        target = NBDTarget(pace: pace)
    }

    /// What the server asked its directory.
    func serve(_ plain: [UInt8], then client: any StreamClient) throws -> [String] {
        let security = WatchedSecurity(try TLSServers.shared.security(scene.server))
        let demand: NBDSecurity.Demand = scene.isRequired ? .required : .offered
        let stream = try target.serve(
            plain, then: client, security: NBDSecurity(security, remote: demand, local: demand))
        if let start = security.start { requireRecords(stream.sent.dropFirst(start)) }
        return target.directory.questions.withLock { $0 }
    }

    /// Once TLS has begun nothing leaves the server but records of TLS; a stream that was cut ends in the midst of one.
    private func requireRecords(_ sent: ArraySlice<UInt8>) {
        var rest = sent
        while rest.count >= 5 {
            let head = Array(rest.prefix(5))
            let count = Int(head[3]) << 8 | Int(head[4])
            require(
                (20...23).contains(head[0]) && head[1] == 3 && count <= (16 << 10) + 256, "plain bytes behind STARTTLS")
            rest = rest.dropFirst(5 + count)
        }
    }
}

/// Notes when TLS begins.
private final class WatchedSecurity: TransportSecurity {
    private let security: TLSSecurity
    private let noted = Mutex<Int?>(nil)
    init(_ security: TLSSecurity) { self.security = security }

    /// How much the server had sent by then; nil where it never began.
    var start: Int? { noted.withLock { $0 } }

    func secure(_ transport: any Transport, within nanoseconds: UInt64) throws -> SecuredTransport {
        guard let stream = transport as? MemoryStream else { preconditionFailure("the stream is the harness's own") }
        let isFirst = noted.withLock { noted in
            defer { noted = stream.skipReplies() }
            return noted == nil
        }
        require(isFirst, "TLS begins once")
        return try security.secure(transport, within: nanoseconds)
    }
    func noteRefusal(of peer: String, _ reason: String) { security.noteRefusal(of: peer, reason) }
}
