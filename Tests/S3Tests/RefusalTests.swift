import ObjectStorage
import StoreCore
import Testing

@testable import S3

/// What a server says no to, and what the caller learns of it.
@Suite struct Refusals {
    @Test(arguments: [
        ("503 Slow Down", "SlowDown", ErrorCode.unavailable, "SlowDown"),
        ("500 Internal Server Error", "InternalError", .unavailable, "InternalError"),
        ("429 Too Many Requests", "Whatever", .unavailable, "429"),
        ("400 Bad Request", "RequestTimeout", .unavailable, "RequestTimeout"),
        ("400 Bad Request", "ExpiredToken", .denied, "new session credentials"),
        ("403 Forbidden", "SignatureDoesNotMatch", .denied, "secret access key"),
        ("403 Forbidden", "InvalidAccessKeyId", .denied, "access key ID"),
        ("403 Forbidden", "AccessDenied", .denied, "s3:GetObject"),
        ("403 Forbidden", "QuotaExceeded", .full, "full"),
        ("404 Not Found", "NoSuchBucket", .notFound, "no bucket 'bucket'"),
        ("501 Not Implemented", "NotImplemented", .unsupported, "If-None-Match"),
        ("400 Bad Request", "NotImplemented", .unsupported, "If-None-Match"),
        ("507 Insufficient Storage", "Whatever", .full, "507"),
    ])
    func ofACreation(status: String, code: String, expected: ErrorCode, words: String) async throws {
        let server = try ScriptedServer { _ in .error(status, code) }
        let store = try server.makeStore()
        let error = try await storageError { _ = try await store.create("a", [1]) }
        #expect(error.code == expected)
        #expect(error.message.contains(words))
        #expect(server.requests.count == 1)
    }

    @Test func anExistingObjectIsAnOutcome() async throws {
        let server = try ScriptedServer { _ in .error("412 Precondition Failed", "PreconditionFailed") }
        let store = try server.makeStore()
        #expect(try await store.create("a", [1]) == .exists)
        #expect(server.requests[0].headers["if-none-match"] == "*")
        #expect(
            server.requests[0].headers["x-amz-content-sha256"]
                == "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a")
    }

    @Test func aCollisionIsTriedAgain() async throws {
        let server = try ScriptedServer {
            $0.number < 2 ? .error("409 Conflict", "ConditionalRequestConflict") : .status("200 OK")
        }
        let store = try server.makeStore()
        #expect(try await store.create("a", [1]) == .created)
        #expect(server.requests.count == 3)
    }

    @Test func collisionsWithoutEndAreUnavailable() async throws {
        let server = try ScriptedServer { _ in .error("409 Conflict", "ConditionalRequestConflict") }
        let store = try server.makeStore()
        #expect(try await storageError { _ = try await store.create("a", [1]) }.code == .unavailable)
    }

    @Test func aRangeBeyondTheEndIsInvalid() async throws {
        let server = try ScriptedServer { _ in .error("416 Range Not Satisfiable", "InvalidRange") }
        let store = try server.makeStore()
        #expect(try await storageError { _ = try await store.get("a", range: 5..<6) }.code == .invalid)
    }

    @Test func aProxysPageIsReadByItsStatus() async throws {
        let server = try ScriptedServer { _ in
            .status("502 Bad Gateway", "<html><!DOCTYPE x><body>" + String(repeating: "no ", count: 100_000))
        }
        let store = try server.makeStore()
        let error = try await storageError { _ = try await store.get("a") }
        #expect(error.code == .unavailable)
        #expect(error.message.contains("502"))
        #expect(error.message.utf8.count < 200)
    }

    @Test func anotherRegionIsNamed() async throws {
        let server = try ScriptedServer { _ in
            .error("301 Moved Permanently", "PermanentRedirect", headers: ["x-amz-bucket-region: eu-central-1"])
        }
        let store = try server.makeStore()
        #expect(try await storageError { _ = try await store.get("a") }.message.contains("eu-central-1"))
    }

    @Test func secretsNeverReachAnErrorsText() async throws {
        let server = try ScriptedServer { _ in
            .status(
                "403 Forbidden", "<Error><Code>X</Code><Message>very-secret-secret\nline\u{1b}[31m</Message></Error>")
        }
        let store = try server.makeStore()
        let error = try await storageError { _ = try await store.get("a") }
        #expect(!"\(error)".contains("very-secret"))
        #expect(!"\(error)".contains("\n"))
        #expect(error.code == .denied)
    }

    @Test func aWrongHashOfTheCallersIsInvalidAndDamageOnTheWayIsNot() async throws {
        let server = try ScriptedServer { _ in .error("400 Bad Request", "XAmzContentSHA256Mismatch") }
        let store = try server.makeStore()
        #expect(try await storageError { _ = try await store.create("a", [1], sha256: .zero) }.code == .invalid)
        #expect(try await storageError { _ = try await store.create("a", [1]) }.code == .unavailable)
    }
}

@Suite struct ClockAndCredentials {
    @Test func aSkewedClockIsCorrectedByTheServersOnce() async throws {
        let server = try ScriptedServer { request in
            request.headers["x-amz-date"]?.hasPrefix("20300102T0304") == true
                ? .status("200 OK", "x")
                : .error(
                    "403 Forbidden", "RequestTimeTooSkewed", headers: ["Date: Wed, 02 Jan 2030 03:04:05 GMT"])
        }
        let store = try server.makeStore()
        _ = try await store.get("a")
        _ = try await store.get("a")
        #expect(server.requests.count == 3)
    }

    @Test func aHeadAnswerWithoutACodeIsReadByItsDate() async throws {
        let server = try ScriptedServer { request in
            request.headers["x-amz-date"]?.hasPrefix("20300102T0304") == true
                ? .raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
                : .raw("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nDate: Wed, 02 Jan 2030 03:04:05 GMT\r\n\r\n")
        }
        let store = try server.makeStore()
        #expect(try await store.head("a")?.byteCount == 5)
    }

    @Test func aClockThatCannotBeCorrectedIsDenied() async throws {
        let server = try ScriptedServer { _ in
            .error("403 Forbidden", "RequestTimeTooSkewed", headers: ["Date: Wed, 02 Jan 2030 03:04:05 GMT"])
        }
        let store = try server.makeStore()
        let error = try await storageError { _ = try await store.get("a") }
        #expect(error.code == .denied)
        #expect(error.message.contains("clock"))
        #expect(server.requests.count == 2)
    }

    @Test func expiredCredentialsAreRenewedOnce() async throws {
        let server = try ScriptedServer { request in
            request.headers["authorization"]?.contains("second/") == true
                ? .status("200 OK", "x") : .error("400 Bad Request", "ExpiredToken")
        }
        let looks = Looks()
        let store = try server.makeStore { configuration in
            configuration.credentials = CredentialsChain(time: SystemTime()) {
                S3Credentials(accessKeyID: await looks.next() == 1 ? "first" : "second", secretAccessKey: "s")
            }
        }
        #expect(try await store.get("a") == [UInt8(ascii: "x")])
        #expect(server.requests.count == 2)
        #expect(await looks.count == 2)
    }

    @Test func aSessionTokenIsSentAndSigned() async throws {
        let server = try ScriptedServer { _ in .status("200 OK", "x") }
        let store = try server.makeStore {
            $0.credentials = FixedCredentials(accessKeyID: "k", secretAccessKey: "s", sessionToken: "token")
        }
        _ = try await store.get("a")
        #expect(server.requests[0].headers["x-amz-security-token"] == "token")
        #expect(server.requests[0].headers["authorization"]?.contains("x-amz-security-token,") == true)
    }

    @Test func aLineEndInATokenIsNotSent() async throws {
        let server = try ScriptedServer { _ in .status("200 OK", "x") }
        let store = try server.makeStore {
            $0.credentials = FixedCredentials(accessKeyID: "k", secretAccessKey: "s", sessionToken: "a\r\nHost: evil")
        }
        #expect(try await storageError { _ = try await store.get("a") }.code == .denied)
        #expect(server.requests.isEmpty)
    }
}

actor Looks {
    private(set) var count = 0
    func next() -> Int {
        count += 1
        return count
    }
}
