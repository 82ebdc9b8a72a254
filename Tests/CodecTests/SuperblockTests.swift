import Glibc
import StoreCore
import Testing

@testable import Codec

@Suite struct SuperblockGuardsTheKeys {
    private static let cheap = ScryptCost(logN: 4)
    private static let passphrase = Unlock.passphrase(Array("correct horse".utf8))
    private static let keyFile = Unlock.keyFile(noise(32))

    private func create(
        _ unlock: Unlock, algorithm: CipherAlgorithm = .chaCha20Poly1305
    ) throws -> (Superblock, KeyRing) {
        try Superblock.create(unlock: unlock, algorithm: algorithm, cost: Self.cheap)
    }
    private func isSame(_ a: KeyRing, _ b: KeyRing) throws -> Bool {
        let object = try Envelope.seal([1, 2, 3], kind: .fence, identity: "x", keys: a)
        return try Envelope.open(object, kind: .fence, identity: "x", keys: b) == [1, 2, 3]
    }

    @Test(arguments: [passphrase, keyFile], [CipherAlgorithm.chaCha20Poly1305, .aes256GCM])
    func theRightKeyOpensWhatWasStored(unlock: Unlock, algorithm: CipherAlgorithm) throws {
        let (superblock, keys) = try create(unlock, algorithm: algorithm)
        let read = try Superblock(decoding: superblock.encode())
        #expect(read.storeID == superblock.storeID)
        #expect(read.created == superblock.created)
        #expect(read.method == superblock.method)
        #expect(read.algorithm == algorithm)
        #expect(read.encode() == superblock.encode())
        #expect(try isSame(keys, try read.unlock(unlock)))
    }

    @Test(arguments: [
        (passphrase, Unlock.passphrase(Array("wrong".utf8)), "wrong passphrase for this store"),
        (passphrase, keyFile, "this store is opened by a passphrase, not by a key file: give its passphrase"),
        (keyFile, passphrase, "this store is opened by a key file, not by a passphrase: give its key file"),
    ])
    func theWrongKeyIsDeniedInOneLine(right: Unlock, wrong: Unlock, message: String) throws {
        let superblock = try create(right).0
        let error = #expect(throws: StorageError.self) { try superblock.unlock(wrong) }
        #expect(error?.code == .denied)
        #expect(error?.description == message)
    }

    @Test func anotherStoresKeyFileIsDenied() throws {
        let superblock = try create(Self.keyFile).0
        let error = #expect(throws: StorageError.self) { try superblock.unlock(.keyFile(noise(32, seed: 2))) }
        #expect(error?.message == "wrong key file: it does not open store \(superblock.storeID.hex)")
    }

    @Test func everyFlippedBitAndTruncationIsNoticed() throws {
        let bytes = try create(Self.keyFile).0.encode()
        for bit in 0..<bytes.count * 8 {
            var damaged = bytes
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            let error = #expect(throws: StorageError.self, "bit \(bit)") { try Superblock(decoding: damaged) }
            // A version with more bits set is a newer one.
            #expect(error?.code == ((32..<48).contains(bit) && bit != 32 ? .unsupported : .corrupt))
        }
        for count in 0..<bytes.count {
            #expect(throws: StorageError.self) { try Superblock(decoding: Array(bytes[..<count])) }
        }
        #expect(throws: StorageError.self) { try Superblock(decoding: bytes + [0]) }
    }

    /// An attacker fixes the checksum; without the key, nothing authenticates what he changed.
    @Test func everyForgedBitIsRefused() throws {
        let bytes = try create(Self.keyFile).0.encode()
        for bit in 0..<(bytes.count - 8) * 8 {
            var forged = bytes
            forged[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: StorageError.self, "bit \(bit)") {
                try Superblock(decoding: resealed(forged)).unlock(Self.keyFile)
            }
        }
    }

    @Test(arguments: [(63, 8, 1), (23, 8, 1), (20, 8, 1), (19, 16, 1), (0, 8, 1), (17, 0, 1), (17, 8, 0), (17, 8, 255)])
    func hostileScryptCostTakesNoMemory(logN: UInt8, blockSize: UInt8, parallelism: UInt8) throws {
        var bytes = try create(Self.passphrase).0.encode()
        bytes.replaceSubrange(65..<68, with: [logN, blockSize, parallelism])
        let error = #expect(throws: StorageError.self) { try Superblock(decoding: resealed(bytes)) }
        #expect(error?.code == .corrupt)
    }

    /// The next number is under the authenticator like all the rest (`everyForgedBitIsRefused`).
    @Test func eachChangeHasTheNextNumber() throws {
        let (first, _) = try create(Self.keyFile)
        let second = try first.addingKey(Self.keyFile).0
        let third = try second.retiring([DataKeyID(1)], Self.keyFile).0
        let fourth = try third.rewrapped(from: Self.keyFile, to: Self.passphrase, cost: Self.cheap)
        let read = try Superblock(decoding: fourth.encode())
        #expect([first, second, third, fourth, read].map(\.number) == [1, 2, 3, 4, 4])
    }

    @Test(arguments: [0, UInt64.max]) func aNumberThatNothingCanFollowIsRefused(number: UInt64) throws {
        var bytes = try create(Self.keyFile).0.encode()
        bytes.replaceSubrange(48..<56, with: (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * UInt64($0))) })
        let error = #expect(throws: StorageError.self) { try Superblock(decoding: resealed(bytes)) }
        #expect(error?.code == .corrupt)
    }

    @Test func aNewerFormatIsUnsupported() throws {
        var bytes = try create(Self.keyFile).0.encode()
        bytes[4] = 2
        let error = #expect(throws: StorageError.self) { try Superblock(decoding: bytes + [1, 2, 3]) }
        #expect(error?.code == .unsupported)
        #expect(error?.message.contains("newer zerofs") == true)
    }

    @Test func aChangedPassphraseOpensTheSameKeys() throws {
        let (superblock, keys) = try create(Self.passphrase)
        let changed = try superblock.rewrapped(from: Self.passphrase, to: Self.keyFile)
        #expect(changed.storeID == superblock.storeID)
        #expect(changed.method == .keyFile)
        #expect(try isSame(keys, try changed.unlock(Self.keyFile)))
        #expect(throws: StorageError.self) { try changed.unlock(Self.passphrase) }
        #expect(throws: StorageError.self) { try superblock.rewrapped(from: Self.keyFile, to: Self.keyFile) }
    }

    @Test func anAddedKeyIsCurrentAndOlderObjectsStayReadable() throws {
        let (first, old) = try create(Self.passphrase)
        let (second, new) = try first.addingKey(Self.passphrase, algorithm: .aes256GCM)
        #expect(second.keyIDs == [DataKeyID(1), DataKeyID(2)])
        #expect(second.method == .passphrase(Self.cheap))
        #expect(new.currentAlgorithm == .aes256GCM)
        let read = try Superblock(decoding: second.encode()).unlock(Self.passphrase)
        #expect(read.currentKeyID == DataKeyID(2))
        #expect(try isSame(old, read))
        #expect(try isSame(new, read))
        let error = #expect(throws: StorageError.self) { try isSame(new, old) }
        #expect(error?.code == .denied)
    }

    /// A change of these bytes is a change of format.
    @Test func goldenBytes() throws {
        let superblock = try Superblock(
            wrapping: fixedRing(), for: .keyFile([UInt8](repeating: 7, count: 32)), cost: .standard,
            storeID: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff, number: 5,
            created: Timestamp(nanoseconds: 1_700_000_000_000_000_000),
            salt: Salt(0xa0a1_a2a3_a4a5_a6a7_a8a9_aaab_acad_aeaf),
            keySalt: { Salt(0xb0b1_b2b3_b4b5_b6b7_b8b9_babb_bcbd_bebf + UInt128($0.value)) })
        let bytes = """
            5a524653010000010100000000000000a0a1a2a3a4a5a6a7a8a9aaabacadaeaf
            00112233445566778899aabbccddeeff
            0500000000000000
            00002a36fe9c9717
            0200000001000000
            0100000001000000
            b0b1b2b3b4b5b6b7b8b9babbbcbdbec0
            1de57bfcfda4aad50d15bd943fc5330693605f804da68b2ada518c0b71565133f4d93106fd7bccd890bfee54825a0cbe
            ce583bd8f16e7c128a2d97b11c85e0e78bb81e12d041b42c704459a3bf46e3dd
            f47cec17a1e95d3c
            """
        #expect(superblock.encode() == hex(bytes))
    }

    private func resealed(_ bytes: [UInt8]) -> [UInt8] {
        var writer = ByteWriter()
        writer.raw(bytes.dropLast(8))
        writer.littleEndian(XXH3.hash(writer.bytes))
        return writer.finish()
    }
}

@Suite struct KeyFilesAsPeopleKeepThem {
    @Test func whatIsPrintedReadsBack() throws {
        let key = try KeyFile.generate()
        let same = Unlock.keyFile(key)
        #expect(try KeyFile.parse(Array(KeyFile.text(of: key).utf8), path: "k").isSame(as: same))
        #expect(try KeyFile.parse(Array(" \(hex(key).uppercased())\t\r\n".utf8), path: "k").isSame(as: same))
        #expect(!same.isSame(as: .passphrase(key)))
    }

    @Test(arguments: [
        "", "# only a comment\n", "abc", String(repeating: "0", count: 63), String(repeating: "0", count: 65),
        String(repeating: "g", count: 64), "+" + String(repeating: "0", count: 63),
        String(repeating: "0", count: 64) + "\n" + String(repeating: "1", count: 64),
    ])
    func whatIsNoKeyIsRefusedByName(text: String) {
        let error = #expect(throws: StorageError.self) { try KeyFile.parse(Array(text.utf8), path: "/etc/k") }
        #expect(error?.code == .invalid)
        #expect(error?.message.contains("/etc/k") == true)
    }

    @Test func aPassphraseFilesLineEndIsNoPartOfIt() throws {
        for text in ["secret", "secret\n", "secret\r\n"] {
            let unlock = try Unlock.readingPassphrase(Array(text.utf8), path: "p")
            #expect(unlock.isSame(as: .passphrase(Array("secret".utf8))), "\(text) reads otherwise")
        }
        #expect(throws: StorageError.self) { try Unlock.readingPassphrase([10], path: "p") }
    }
}

@Suite struct KeysComeAndGo {
    private let unlock = Unlock.keyFile(noise(32))

    @Test func aRingLearnsAndNeverGoesBack() throws {
        let (first, ring) = try Superblock.create(unlock: unlock)
        let old = try Envelope.seal([1], kind: .manifest, identity: "a", keys: ring)
        let (second, newer) = try first.addingKey(unlock)
        #expect(try ring.adopt(newer))
        #expect(try !ring.adopt(newer))
        #expect(ring.currentKeyID == DataKeyID(2) && ring.keyIDs == [DataKeyID(1), DataKeyID(2)])
        // An older superblock, put back.
        #expect(try !ring.adopt(try first.unlock(unlock)))
        #expect(ring.currentKeyID == DataKeyID(2))
        let (third, retired) = try second.retiring([DataKeyID(1)], unlock)
        #expect(third.keyIDs == [DataKeyID(2)] && third.currentKeyID == DataKeyID(2))
        #expect(try retired.keyIDs == third.unlock(unlock).keyIDs)
        // What a process has in the making under the retired key must open there; nowhere else.
        try ring.adopt(retired)
        #expect(try Envelope.open(old, kind: .manifest, identity: "a", keys: ring) == [1])
        #expect { try Envelope.open(old, kind: .manifest, identity: "a", keys: retired) } throws: {
            ($0 as? StorageError)?.code == .denied
        }
        // Numbers are not given twice.
        #expect(try third.addingKey(unlock).0.currentKeyID == DataKeyID(3))
    }

    @Test func aKeyOfAnotherHistoryIsRefused() throws {
        let (first, ring) = try Superblock.create(unlock: unlock)
        let (_, one) = try first.addingKey(unlock)
        let (_, other) = try first.addingKey(unlock)
        try ring.adopt(one)
        #expect { try ring.adopt(other) } throws: { ($0 as? StorageError)?.code == .corrupt }
    }

    @Test func aNewKeyKeepsTheCipher() throws {
        let (first, _) = try Superblock.create(unlock: unlock, algorithm: .aes256GCM)
        #expect(try first.addingKey(unlock).1.currentAlgorithm == .aes256GCM)
    }
}

@Suite struct SecretsStayUnseen {
    @Test func theyPrintWithoutTheirContent() {
        let secret = Unlock.passphrase(Array("correct horse".utf8))
        for text in ["\(secret)", String(reflecting: secret), "\(String(describing: secret.secret))"] {
            #expect(!text.contains("horse") && !text.contains("99"), "\(text)")
        }
    }

    /// `VmFlags` of the mapping: `lo` locked, `dd` not dumped.
    @Test func lockedOnesAreOutOfSwapAndDumps() throws {
        let secret = SecretBytes(copying: noise(32), placement: .locked)
        let address = secret.withBytes { UInt(bitPattern: $0.baseAddress) }
        let maps = try #require(fopen("/proc/self/smaps", "r"))
        defer { fclose(maps) }
        var line = [CChar](repeating: 0, count: 4096)
        var isInside = false
        while fgets(&line, 4096, maps) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
            let bounds =
                text.split(separator: " ").first?.split(separator: "-").compactMap { UInt($0, radix: 16) } ?? []
            if bounds.count == 2 { isInside = (bounds[0]..<bounds[1]).contains(address) }
            guard isInside, text.hasPrefix("VmFlags:") else { continue }
            let flags = text.split(separator: " ").map(String.init).map { $0.filter { !$0.isWhitespace } }
            #expect(flags.contains("dd"))
            if SecretMemory.advice == nil { #expect(flags.contains("lo")) }
            return
        }
        Issue.record("no mapping holds the secret")
    }
}
