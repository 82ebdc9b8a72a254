import StoreCore
import Testing

@testable import S3

/// The worked examples of the Amazon S3 API Reference, "Signature Calculations for the Authorization Header".
@Suite struct SignaturesMatchAmazonsExamples {
    private static let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    private let signer = SignatureV4(
        credentials: S3Credentials(
            accessKeyID: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        region: "us-east-1", time: Timestamp(nanoseconds: 1_369_353_600_000_000_000))
    private let host = HTTPHeader("Host", "examplebucket.s3.amazonaws.com")

    private func authorization(_ request: SignatureV4.Request) -> String? {
        signer.signedHeaders(request).first { $0.name == "Authorization" }?.value
    }

    @Test func getObject() {
        let request = SignatureV4.Request(
            method: "GET", path: "/test.txt", query: [], headers: [host, HTTPHeader("Range", "bytes=0-9")],
            payloadHash: Self.empty)
        #expect(
            authorization(request)
                == "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
                + "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
                + "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
    }

    @Test func putObject() {
        let request = SignatureV4.Request(
            method: "PUT", path: "/" + PercentEncoding.path("test$file.text"), query: [],
            headers: [
                host, HTTPHeader("Date", "Fri, 24 May 2013 00:00:00 GMT"),
                HTTPHeader("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            payloadHash: "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072")
        #expect(
            authorization(request)?.hasSuffix(
                "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,"
                    + "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd") == true)
    }

    @Test func aQueryWithoutAValue() {
        let request = SignatureV4.Request(
            method: "GET", path: "/", query: [(name: "lifecycle", value: "")], headers: [host],
            payloadHash: Self.empty)
        #expect(
            authorization(request)?.hasSuffix("fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")
                == true)
    }

    @Test func listObjects() {
        let request = SignatureV4.Request(
            method: "GET", path: "/", query: [(name: "prefix", value: "J"), (name: "max-keys", value: "2")],
            headers: [host], payloadHash: Self.empty)
        #expect(
            authorization(request)?.hasSuffix("34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")
                == true)
    }

    @Test func credentialsPrintWithoutSecrets() {
        let credentials = S3Credentials(accessKeyID: "id", secretAccessKey: "hush", sessionToken: "hushhush")
        var text = "\(credentials) \(String(reflecting: credentials)) \([credentials])"
        dump(credentials, to: &text)
        dump(FixedCredentials(credentials), to: &text)
        #expect(!text.contains("hush"))
    }
}

@Suite struct PercentEncodingRoundTrips {
    @Test func everythingButUnreservedCharactersIsEscaped() {
        #expect(PercentEncoding.path("a b/c+d~e_f.g-h$ü") == "a%20b/c%2Bd~e_f.g-h%24%C3%BC")
        #expect(PercentEncoding.query("a/b=c&d") == "a%2Fb%3Dc%26d")
    }
    @Test func decodingUndoesIt() {
        for text in ["", "a b/c+d", "ü😀", "100%", "a=b&c"] {
            #expect(PercentEncoding.decode(PercentEncoding.query(text)) == text)
        }
        #expect(PercentEncoding.decode("a+b") == "a b")
        #expect(PercentEncoding.decode("%e4%bd%a0") == "你")
    }
    @Test(arguments: ["%", "%1", "%zz", "%ff", "a%2"])
    func brokenEscapesAreNotDecoded(text: String) { #expect(PercentEncoding.decode(text) == nil) }
}

@Suite struct TimesOfS3 {
    @Test func compactForm() {
        #expect(CivilTime.compact(Timestamp(nanoseconds: 0)) == "19700101T000000Z")
        #expect(CivilTime.compact(Timestamp(nanoseconds: 951_827_696_123_456_789)) == "20000229T123456Z")
        #expect(CivilTime.compact(Timestamp(nanoseconds: -1)) == "19691231T235959Z")
    }
    @Test func iso8601() {
        #expect(CivilTime.parseISO8601("2009-10-12T17:50:30.000Z")?.nanoseconds == 1_255_369_830_000_000_000)
        #expect(CivilTime.parseISO8601("2009-10-12T17:50:30Z")?.nanoseconds == 1_255_369_830_000_000_000)
        #expect(CivilTime.parseISO8601("1970-01-01T00:00:00.25Z")?.nanoseconds == 250_000_000)
        for text in ["", "2009-10-12", "2009-13-12T17:50:30Z", "2009-10-12T17:50:30+01:00", "2009-10-12T17:5x:30.000Z"]
        {
            #expect(CivilTime.parseISO8601(text) == nil)
        }
    }
    @Test func httpDate() {
        #expect(CivilTime.parseHTTPDate("Mon, 12 Oct 2009 17:50:30 GMT")?.nanoseconds == 1_255_369_830_000_000_000)
        #expect(CivilTime.parseHTTPDate("yesterday") == nil)
    }
}
