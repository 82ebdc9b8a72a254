import StoreCore
import Testing

@testable import Codec

/// Published vectors: what other implementations compute.
@Suite struct KnownAnswers {
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
    ])
    func sha256OfFIPS180(message: String, digest: String) {
        #expect(Digest.sha256(Array(message.utf8)).description == digest)
        var hasher = SHA256Hasher()
        for byte in message.utf8 { hasher.update([byte]) }
        #expect(hasher.finish().description == digest)
    }

    @Test func hmacOfRFC4231() {
        #expect(
            hex(HMACSHA256.authenticate(Array("Hi There".utf8), key: [UInt8](repeating: 0x0b, count: 20)))
                == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
        #expect(
            hex(HMACSHA256.authenticate(Array("what do ya want for nothing?".utf8), key: Array("Jefe".utf8)))
                == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        #expect(
            hex(
                HMACSHA256.authenticate(
                    Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8),
                    key: [UInt8](repeating: 0xaa, count: 131)))
                == "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
        #expect(
            hex(HMACSHA256.authenticate([], key: []))
                == "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad")
    }

    @Test func hkdfOfRFC5869() throws {
        let first = try HKDF.derive(
            from: SecretBytes(copying: [UInt8](repeating: 0x0b, count: 22)), salt: hex("000102030405060708090a0b0c"),
            info: hex("f0f1f2f3f4f5f6f7f8f9"), count: 42)
        #expect(
            first.withBytes { hex($0) }
                == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
        let second = try HKDF.derive(
            from: SecretBytes(copying: (0x00...0x4f).map { UInt8($0) }), salt: (0x60...0xaf).map { UInt8($0) },
            info: (0xb0...0xff).map { UInt8($0) }, count: 82)
        #expect(
            second.withBytes { hex($0) }
                == "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
                + "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87")
        let third = try HKDF.derive(
            from: SecretBytes(copying: [UInt8](repeating: 0x0b, count: 22)), salt: [], info: [], count: 42)
        #expect(
            third.withBytes { hex($0) }
                == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8")
    }

    @Test func scryptOfRFC7914() throws {
        let key = try Scrypt.derive(
            passphrase: SecretBytes(copying: "pleaseletmein".utf8), salt: Array("SodiumChloride".utf8),
            cost: ScryptCost(logN: 14), count: 64)
        #expect(
            key.withBytes { hex($0) }
                == "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
                + "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887")
    }

    /// Section 2.8.2. Its nonce begins with 07, ours with four zeros: the vector runs below `ObjectCipher`.
    @Test func chaCha20Poly1305OfRFC8439() throws {
        let plaintext = """
            Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
            sunscreen would be it.
            """
        let sealed = try sealed(
            .chaCha20Poly1305, key: (0x80...0x9f).map { UInt8($0) },
            nonce: Nonce(words: (0x0000_0007, 0x4342_4140, 0x4746_4544)), data: hex("50515253c0c1c2c3c4c5c6c7"),
            plaintext: Array(plaintext.utf8))
        let expected = """
            d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e06
            0b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d265
            86cec64b61161ae10b594f09e26a7e902ecbd0600691
            """
        #expect(hex(sealed) == hex(hex(expected)))
    }

    /// Test case 14 of the GCM specification (McGrew and Viega).
    @Test func aes256GCM() throws {
        let sealed = try sealed(
            .aes256GCM, key: [UInt8](repeating: 0, count: 32), nonce: Nonce(position: 0), data: [],
            plaintext: [UInt8](repeating: 0, count: 16))
        #expect(hex(sealed) == "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919")
    }

    @Test func nonceIsThePositionLittleEndian() {
        let nonce = Nonce(position: 0x0807_0605_0403_0201)
        #expect(withUnsafeBytes(of: nonce.words) { hex($0) } == "000000000102030405060708")
    }

    private func sealed(
        _ algorithm: CipherAlgorithm, key: [UInt8], nonce: Nonce, data: [UInt8], plaintext: [UInt8]
    ) throws -> [UInt8] {
        var output = [UInt8](repeating: 0, count: plaintext.count + AEADContext.tagBytes)
        let key = ObjectKey(SecretBytes(copying: key))
        let context = try AEADContext(algorithm, .seal)
        try plaintext.withUnsafeBytes {
            try context.seal($0, under: key, nonce: nonce, authenticating: data, into: &output)
        }
        return output
    }

    @Test func md5OfRFC1321() throws {
        #expect(hex(try MD5.digest(Array("message digest".utf8))) == "f96b697d7cb7938d525a2f31aaf161d0")
        #expect(try MD5.base64([]) == "1B2M2Y8AsgTpgAmY7PhCfg==")
    }

    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ])
    func base64OfRFC4648(text: String, encoded: String) { #expect(Base64.encode(Array(text.utf8)) == encoded) }

    @Test func xxh3IsTheFrozenOne() {
        #expect(XXH3.hash([]) == 0x2d06_8005_38d3_94c2)
        #expect(XXH3.hash([], seed: 1) != XXH3.hash([]))
    }
}
