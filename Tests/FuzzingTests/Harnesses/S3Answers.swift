import ObjectStorage
import StoreCore

@testable import S3

extension Harness {
    private static let xmlWords = [
        "<?xml version=\"1.0\"?>", "<ListBucketResult>", "</ListBucketResult>", "<Contents>", "</Contents>", "<Key>",
        "</Key>", "<Size>", "</Size>", "<LastModified>", "</LastModified>", "<IsTruncated>true</IsTruncated>",
        "<NextContinuationToken>", "<EncodingType>url</EncodingType>", "<Error>", "</Error>", "<Code>", "</Code>",
        "<Message>", "</Message>", "<DeleteResult>", "</DeleteResult>", "&lt;", "&#0;", "&#x110000;", "<![CDATA[",
        "<!DOCTYPE a [<!ENTITY b \"c\">]>", "<!--", "xmlns=\"x\"", "%2F", "%00", "+",
    ]
    private static let location: S3URL = {
        do { return try S3URL(bucket: "bucket", prefix: "p") } catch { preconditionFailure("\(error)") }
    }()
    /// Foundation's parser, and a tree of what it found.
    private static let xmlMemory: @Sendable (Int) -> Int = { (8 << 20) + 4096 * $0 }

    static let s3: [Harness] = [
        Harness(
            name: "s3-list", memory: xmlMemory, words: xmlWords,
            seeds: {
                [
                    """
                    <?xml version="1.0" encoding="UTF-8"?>
                    <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
                    <Name>bucket</Name><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
                    <NextContinuationToken>abc=</NextContinuationToken><Contents><Key>p/catalog/1</Key>
                    <LastModified>2026-01-02T03:04:05.678Z</LastModified><Size>123</Size></Contents>
                    <Contents><Key>p/catalog%2F2</Key><LastModified>x</LastModified><Size>0</Size></Contents>
                    </ListBucketResult>
                    """, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
                ].map { Array($0.utf8) }
            },
            body: { input in
                let message = try ServerXML.decode(ListMessage.self, root: "ListBucketResult", from: input)
                let page = try ListReader(location: location).page(message, prefix: "catalog/", after: "catalog/0")
                var last: ObjectKey = "catalog/0"
                for object in page.objects {
                    require(last < object.key && object.key.text.utf8.starts(with: "catalog/".utf8), "keys ascend")
                    last = object.key
                }
            }),
        Harness(
            name: "s3-delete", memory: xmlMemory, words: xmlWords,
            seeds: {
                [
                    Array(
                        """
                        <DeleteResult><Error><Key>p/a</Key><Code>AccessDenied</Code><Message>No</Message></Error>
                        <Error><Key>p/b</Key></Error></DeleteResult>
                        """.utf8)
                ]
            },
            body: { input in
                let message = try ServerXML.decode(DeleteMessage.self, root: "DeleteResult", from: input)
                for refusal in message.refusals { _ = ServerXML.escape(refusal.key ?? "") }
            }),
        Harness(
            name: "s3-answer", memory: xmlMemory,
            words: xmlWords + [
                "HTTP/1.1 ", "HTTP/2 200", "Content-Length: ", "Date: ", "Transfer-Encoding: chunked",
                "x-amz-bucket-region: ", "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT",
                "RequestTimeTooSkewed", "SlowDown", "\r\n", "18446744073709551615",
            ],
            seeds: {
                let error = Array("<Error><Code>SlowDown</Code><Message>Slow</Message></Error>".utf8)
                return [
                    answer(
                        ["HTTP/1.1 503 Slow Down", "Date: Wed, 12 Oct 2009 17:50:00 GMT", "Content-Length: 60"], error),
                    answer(
                        ["HTTP/1.1 100 Continue", "HTTP/1.1 200 OK", "content-length: 5", "ETag: \"x\""],
                        [1, 2, 3, 4, 5]
                    ), answer(["HTTP/1.1 301 Moved", "x-amz-bucket-region: eu-west-1"], []),
                ]
            },
            body: { input in
                var choices = Choices(input)
                var collector = ResponseCollector(answerBytesMax: 4096)
                var goesOn = true
                while goesOn, !choices.isEmpty {
                    let isHeader = choices.byte() & 1 == 0
                    goesOn = choices.part().withUnsafeBytes {
                        isHeader ? collector.addHeader(line: $0) : collector.addBody($0)
                    }
                }
                let response = collector.response
                require(
                    response.body.count <= max(ResponseCollector.errorBytesMax, 4096), "a body stays in its bounds")
                let refusal = S3Refusal(response)
                _ = refusal.concernsClock(localTime: Fixtures.time)
                _ = (refusal.concernsCredentials, refusal.lacksOperation, response.hasMarkedEnd)
                if let server = refusal.serverTime { _ = server.nanoseconds - Fixtures.time.nanoseconds }
                let error = refusal.error("list 'x'", location: location)
                require(!error.description.contains("\n"), "an error is one line")
                _ = S3Credentials(accessKeyID: "key", secretAccessKey: "secretsecret").redacting(response)
            }),
        Harness(
            name: "s3-settings", memory: { (4 << 20) + 1024 * $0 },
            words: [
                "[default]", "[profile ", "aws_access_key_id", " = ", "\n", " # ", "s3://", "https://", "[::1]",
                "{\"AccessKeyId\":\"", "\"Expiration\":\"2261-12-31T23:59:60.999999999Z\"",
            ],
            seeds: {
                [
                    "[default]\naws_access_key_id = AKIA\naws_secret_access_key = x # y\n[profile  other]\nregion=eu\n",
                    #"{"AccessKeyId":"a","SecretAccessKey":"b","Token":"c","Expiration":"2026-01-02T03:04:05Z"}"#,
                    "s3://bucket/some/prefix", "https://s3.example.com:9000/base", "2009-10-12T17:50:30.123456789Z",
                    "catalog%2F1%C3%A4+",
                ].map { Array($0.utf8) }
            },
            body: { input in
                let text = String(decoding: input, as: UTF8.self)
                _ = SettingsFile.parse(text)
                if let plain = PercentEncoding.decode(text) {
                    require(
                        PercentEncoding.decode(PercentEncoding.query(plain)) == plain, "what was escaped comes back")
                }
                if let time = CivilTime.parseISO8601(text) {
                    require(CivilTime.parseISO8601(time.utcText) != nil, "a time that was read can be written")
                    _ = CivilTime.compact(time)
                }
                _ = CivilTime.parseHTTPDate(text)
                _ = try? InstanceMetadata.decode(text)
                if let url = try? S3URL.parse(text) { require(try S3URL.parse("\(url)") == url, "a URL is itself") }
                _ = try S3Endpoint(
                    S3Configuration(
                        location: location, endpoint: text,
                        credentials: FixedCredentials(accessKeyID: "a", secretAccessKey: "b")))
            }),
    ]

    /// Header lines, then a body, as the harness reads them.
    private static func answer(_ lines: [String], _ body: [UInt8]) -> [UInt8] {
        lines.flatMap { [0] + Array("\($0)\r\n".utf8).asPart } + [1] + body.asPart
    }
}
