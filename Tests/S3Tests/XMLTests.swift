import ObjectStorage
import StoreCore
import Testing

@testable import S3

@Suite struct ListingsAreChecked {
    private let location: S3URL
    init() throws { location = try S3URL(bucket: "b", prefix: "p") }

    private func page(
        _ entries: String, truncated: String = "false", encoding: String = "<EncodingType>url</EncodingType>",
        prefix: String = "a", after: ObjectKey? = nil
    ) throws -> ObjectPage {
        let text = """
            <?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p/a</Prefix>
            \(encoding)<IsTruncated>\(truncated)</IsTruncated>\(entries)</ListBucketResult>
            """
        let message = try ServerXML.decode(ListMessage.self, root: "ListBucketResult", from: Array(text.utf8))
        return try ListReader(location: location).page(message, prefix: prefix, after: after)
    }
    private func entry(_ key: String, size: String = "5") -> String {
        "<Contents><Key>\(key)</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>&quot;x&quot;</ETag>"
            + "<Size>\(size)</Size><StorageClass>STANDARD</StorageClass></Contents>"
    }

    @Test func aPageIsRead() throws {
        let read = try page(entry("p/a%2F1") + entry("p%2Fa/2%2b"), truncated: "true")
        #expect(read.isTruncated)
        #expect(read.objects.map(\.key) == ["a/1", "a/2+"])
        #expect(read.objects[0].byteCount == 5)
        #expect(read.objects[0].modified.nanoseconds == 1_255_369_830_000_000_000)
    }
    @Test func noneAndOneAreLists() throws {
        #expect(try page("") == ObjectPage(objects: [], isTruncated: false))
        #expect(try page(entry("p/a")).objects.count == 1)
    }
    @Test func keysThatAreNotEncodedAreTakenAsTheyAre() throws {
        #expect(try page(entry("p/a%2F1+"), encoding: "").objects[0].key == "a%2F1+")
        #expect(try page(entry("p/a&lt;&amp;"), encoding: "").objects[0].key == "a<&")
    }

    @Test func whatCannotBeReliedOnIsRefused() throws {
        for entries in [
            entry("p/b"), entry("q/a"), entry("p"), entry("p/a2") + entry("p/a1"), entry("p/a1") + entry("p/a1"),
            entry("p/a%zz"), entry("p/a", size: "-1"), entry("p/a", size: "many"),
        ] {
            #expect(throws: StorageError.self) { try page(entries) }
        }
        #expect(throws: StorageError.self) { try page(entry("p/a1"), after: "a1") }
        #expect(throws: StorageError.self) { try page("", truncated: "perhaps") }
    }
}

@Suite struct HostileXML {
    private func decode(_ text: String) throws -> ListMessage {
        try ServerXML.decode(ListMessage.self, root: "ListBucketResult", from: Array(text.utf8))
    }

    @Test(arguments: [
        "", " ", "<", "<>", "no xml", "<ListBucketResult>", "<ListBucketResult></Other>", "\u{0}",
        "<ListBucketResult><IsTruncated>false</ListBucketResult>", "<!-- no end", "<?xml no end",
        "<ListBucketResult/>", "<Error><Code>x</Code></Error>",
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><IsTruncated>&unknown;</IsTruncated></ListBucketResult>",
        "{\"IsTruncated\": false}",
    ])
    func isAnError(text: String) { #expect(throws: StorageError.self) { try decode(text) } }

    @Test func entitiesAreRefusedUnread() {
        let laughs = (1..<30).map { "<!ENTITY l\($0) \"&l\($0 - 1);&l\($0 - 1);\">" }.joined()
        let text =
            "<?xml version=\"1.0\"?><!DOCTYPE ListBucketResult [<!ENTITY l0 \"ha\">\(laughs)]>"
            + "<ListBucketResult><IsTruncated>&l29;</IsTruncated></ListBucketResult>"
        #expect(throws: StorageError.self) { try decode(text) }
        #expect(XMLGuard.rootName(Array(text.utf8)) == nil)
        let file = "<!DOCTYPE x [<!ENTITY f SYSTEM \"file:///etc/passwd\">]><Error><Code>&f;</Code></Error>"
        #expect(XMLGuard.rootName(Array(file.utf8)) == nil)
    }

    /// Foundation's parser ends the process at an instruction without data, wherever it finds one: also where it goes
    /// on behind an error.
    @Test(arguments: [
        "<?d?>@", "@<?d?>", "<?xml?>@", "\n<?xml?>@", "<?xml version=\"1.0\"?><?d?>@",
        "<?xml version=\"1.0\" \"><?d?>\"?>@", "<?xml version=\"1.0\" encodi><?d?>@",
    ])
    func instructionsAreRefused(form: String) {
        for inside in ["<?d?>", "<x <?d?>", "<x a='<?d?>'>", "<x a=\"<?d?>", ""] {
            let list = "<ListBucketResult>\(inside)<IsTruncated>false</IsTruncated></ListBucketResult>"
            #expect(throws: StorageError.self) { try decode(form.replacing("@", with: list)) }
        }
    }
    @Test(arguments: ["", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", "\u{feff}<?xml version='1.0'?>"])
    func theDeclarationMayStandThere(declaration: String) throws {
        let list = "<ListBucketResult xmlns=\"a>b\"><IsTruncated>false</IsTruncated></ListBucketResult>"
        #expect(try decode(declaration + list).isTruncated == "false")
    }

    /// The last hides closing tags where a careless count would see them.
    @Test(arguments: ["<a>", "<a x='/>'>", "<a x=\"</a>\">", "<a/ >"])
    func deepNestingIsAnErrorAndNoCrash(opening: String) {
        let depth = 100_000
        let text =
            "<ListBucketResult>" + String(repeating: opening, count: depth) + String(repeating: "</a>", count: depth)
            + "</ListBucketResult>"
        #expect(throws: StorageError.self) { try decode(text) }
    }

    @Test func bytesThatAreNotUTF8AreRefused() {
        #expect(throws: StorageError.self) {
            try ServerXML.decode(ErrorMessage.self, root: "Error", from: Array("<Error>".utf8) + [0xff, 0xfe])
        }
    }

    @Test func whatIsWrittenIsEscaped() {
        #expect(ServerXML.escape("a<b>&\"c\n'") == "a&lt;b&gt;&amp;&quot;c&#10;'")
    }
}

@Suite struct ListingRequests {
    @Test func emptyPagesAreFollowedToTheNextKeys() async throws {
        let server = try ScriptedServer { request in
            let entry = "<Contents><Key>p/a</Key><Size>1</Size></Contents>"
            return request.target.contains("continuation-token=t%2B1")
                ? .status("200 OK", "<ListBucketResult><IsTruncated>false</IsTruncated>\(entry)</ListBucketResult>")
                : .status(
                    "200 OK",
                    "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t+1"
                        + "</NextContinuationToken></ListBucketResult>")
        }
        let store = try server.makeStore()
        let page = try await store.list(prefix: "", after: nil, limit: 5)
        #expect(page.objects.map(\.key) == ["a"])
        #expect(!page.isTruncated)
    }

    /// It would pass for the end of the list.
    @Test(arguments: ["", "<NextContinuationToken></NextContinuationToken>"])
    func anEmptyPageWithoutAWayOnIsNotBelieved(token: String) async throws {
        let server = try ScriptedServer { _ in
            .status("200 OK", "<ListBucketResult><IsTruncated>true</IsTruncated>\(token)</ListBucketResult>")
        }
        let store = try server.makeStore()
        let error = try await storageError { _ = try await store.list(prefix: "", after: nil, limit: 5) }
        #expect(error.code == .unavailable)
        #expect(server.requests.count == 1)
    }

    @Test func askForWhatTheContractSays() async throws {
        let server = try ScriptedServer { _ in
            .status("200 OK", "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        }
        let store = try server.makeStore()
        _ = try await store.list(prefix: "a/", after: "a/b", limit: 7)
        #expect(
            server.requests[0].target
                == "/bucket?encoding-type=url&list-type=2&max-keys=7&prefix=p%2Fa%2F&start-after=p%2Fa%2Fb")
    }
}

@Suite struct Deletions {
    @Test func refusedKeysAreReported() async throws {
        let server = try ScriptedServer { _ in
            .status(
                "200 OK",
                "<DeleteResult><Error><Key>p/a</Key><Code>AccessDenied</Code><Message>No.</Message></Error>"
                    + "<Error><Key>p/b</Key><Code>NoSuchKey</Code></Error>"
                    + "<Error><Key>p/c</Key><Code>InternalError</Code></Error></DeleteResult>")
        }
        let store = try server.makeStore()
        let error = try await storageError { try await store.delete(["a", "b", "c"]) }
        #expect(error.message.contains("cannot delete a and 1 more"))
        #expect(server.requests[0].headers["content-md5"]?.count == 24)
    }

    @Test func areSentOneByOneWhereTheServerLacksBatches() async throws {
        let server = try ScriptedServer {
            $0.method == "POST" ? .error("501 Not Implemented", "NotImplemented") : .status("204 No Content")
        }
        let store = try server.makeStore()
        try await store.delete((0..<40).map { ObjectKey("k/\($0)") })
        #expect(Set(server.requests.filter { $0.method == "DELETE" }.map(\.target)).count == 40)
    }

    @Test func ofNothingSendNothing() async throws {
        let server = try ScriptedServer { _ in .silence }
        try await server.makeStore().delete([])
        #expect(server.requests.isEmpty)
    }
}
