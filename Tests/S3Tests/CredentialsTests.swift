import Foundation
import StoreCore
import Synchronization
import Testing

@testable import S3

@Suite struct CredentialsAreFound {
    /// A home with `.aws/credentials` and `.aws/config`, and a metadata service that is off.
    private func withHome(
        credentials: String = "", config: String = "", _ more: [String: String] = [:],
        _ body: (AWSEnvironment) async throws -> Void
    ) async throws {
        let home = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(
            at: home.appendingPathComponent(".aws"), withIntermediateDirectories: true)
        defer { _ = try? FileManager.default.removeItem(at: home) }
        try Data(credentials.utf8).write(to: home.appendingPathComponent(".aws/credentials"))
        try Data(config.utf8).write(to: home.appendingPathComponent(".aws/config"))
        let variables = ["HOME": home.path, "AWS_EC2_METADATA_DISABLED": "true"].merging(more) { $1 }
        try await body(AWSEnvironment(variables: variables))
    }

    @Test func inVariables() async throws {
        let variables = [
            "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token",
            "AWS_PROFILE": "other",
        ]
        try await withHome(credentials: "[other]\naws_access_key_id=x\naws_secret_access_key=y", variables) {
            let found = try await CredentialsChain($0).credentials()
            #expect(found == S3Credentials(accessKeyID: "id", secretAccessKey: "secret", sessionToken: "token"))
        }
    }

    @Test func inTheDefaultProfile() async throws {
        let file = "# comment\n[default]\naws_access_key_id = id ; mine\r\naws_secret_access_key = a/b+c=#d\n\n[x]\n"
        try await withHome(credentials: file) {
            let found = try await CredentialsChain($0).credentials()
            #expect(found.accessKeyID == "id")
            #expect(found.secretAccessKey == "a/b+c=#d")
        }
    }

    @Test func inANamedProfileOfBothFiles() async throws {
        let config = """
            [default]
            region = us-west-2
            [profile  team]
            region = eu-central-1
            endpoint_url = https://minio.example
            s3 =
              addressing_style = path
              region = nowhere
            aws_access_key_id = old
            """
        let credentials = "[team]\naws_access_key_id=new\naws_secret_access_key=s\naws_session_token=t"
        try await withHome(credentials: credentials, config: config, ["AWS_PROFILE": "team"]) { environment in
            let configuration = try S3Configuration.resolve(S3URL(bucket: "b"), environment: environment)
            #expect(configuration.region == "eu-central-1")
            #expect(configuration.endpoint == "https://minio.example")
            let found = try await configuration.credentials.credentials()
            #expect(found == S3Credentials(accessKeyID: "new", secretAccessKey: "s", sessionToken: "t"))
        }
    }

    @Test func elsewhereIsSaid() async throws {
        let cases: [(credentials: String, config: String, variables: [String: String], words: String)] = [
            ("", "", [:], "AWS_ACCESS_KEY_ID"),
            ("", "", ["AWS_PROFILE": "none"], "no AWS profile 'none'"),
            ("", "", ["AWS_ACCESS_KEY_ID": "id"], "AWS_SECRET_ACCESS_KEY is not"),
            ("", "[default]\nrole_arn = arn:x", [:], "role_arn"),
            ("[default]\naws_access_key_id = id", "", [:], "no aws_secret_access_key"),
        ]
        for one in cases {
            try await withHome(credentials: one.credentials, config: one.config, one.variables) { environment in
                let error = try await storageError { _ = try await CredentialsChain(environment).credentials() }
                #expect(error.code == .denied)
                #expect(error.message.contains(one.words), "\(error)")
            }
        }
    }

    @Test func variablesComeBeforeProfilesAndWhatIsGivenBeforeBoth() async throws {
        let variables = [
            "AWS_REGION": "eu-west-3", "AWS_ENDPOINT_URL": "https://general", "AWS_ENDPOINT_URL_S3": "https://s3only",
            "AWS_CA_BUNDLE": "/ca.pem",
        ]
        try await withHome(config: "[default]\nregion = x\nendpoint_url = y\nca_bundle = z", variables) { environment in
            let found = try S3Configuration.resolve(S3URL(bucket: "b"), environment: environment)
            #expect(found.region == "eu-west-3")
            #expect(found.endpoint == "https://s3only")
            #expect(found.caFile == "/ca.pem")
            let given = try S3Configuration.resolve(
                S3URL(bucket: "b"), endpoint: "http://given", region: "given", environment: environment)
            #expect(given.region == "given")
            #expect(given.endpoint == "http://given")
        }
    }

    @Test func inTheInstancesMetadata() async throws {
        let server = try ScriptedServer { request in
            guard request.method == "GET" else {
                return request.target == "/latest/api/token" ? .status("200 OK", "session") : .status("404 Not Found")
            }
            guard request.headers["x-aws-ec2-metadata-token"] == "session" else { return .status("401 Unauthorized") }
            return request.target.hasSuffix("/role")
                ? .status(
                    "200 OK",
                    """
                    {"Code": "Success", "AccessKeyId": "id", "SecretAccessKey": "s", "Token": "t",
                     "Expiration": "2040-01-01T00:00:00Z"}
                    """)
                : .status("200 OK", "role")
        }
        let more = ["AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url]
        try await withHome(more) {
            let found = try await CredentialsChain($0).credentials()
            #expect(found.sessionToken == "t")
            #expect(found.expires == CivilTime.parseISO8601("2040-01-01T00:00:00Z"))
        }
    }
}

@Suite struct CredentialsAreRenewed {
    private func chain(_ time: SetTime, _ looks: Looks, failing: Int? = nil) -> CredentialsChain {
        CredentialsChain(time: time) {
            let number = await looks.next()
            if number == failing { throw StorageError(.denied, "no") }
            return S3Credentials(
                accessKeyID: "\(number)", secretAccessKey: "s", expires: time.now().adding(.seconds(3600)))
        }
    }

    @Test func beforeTheyExpire() async throws {
        let time = SetTime()
        let looks = Looks()
        let chain = chain(time, looks)
        #expect(try await chain.credentials().accessKeyID == "1")
        time.advance(.seconds(3000))
        #expect(try await chain.credentials().accessKeyID == "1")
        time.advance(.seconds(301))
        #expect(try await chain.credentials().accessKeyID == "2")
    }

    @Test func laterWhenTheSourceFailsAndTheOldOnesAreStillValid() async throws {
        let time = SetTime()
        let looks = Looks()
        let chain = chain(time, looks, failing: 2)
        _ = try await chain.credentials()
        time.advance(.seconds(3400))
        #expect(try await chain.credentials().accessKeyID == "1")
        #expect(try await chain.credentials().accessKeyID == "1")
        #expect(await looks.count == 2)
        time.advance(.seconds(31))
        #expect(try await chain.credentials().accessKeyID == "3")
    }

    @Test func withOneLookForAllWhoWait() async throws {
        let looks = Looks()
        let chain = CredentialsChain(time: SetTime()) {
            try await Task.sleep(for: .milliseconds(50))
            return S3Credentials(accessKeyID: "\(await looks.next())", secretAccessKey: "s")
        }
        await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<20 { group.addTask { _ = try await chain.credentials() } }
        }
        #expect(await looks.count == 1)
    }
}

/// A clock that stands until it is moved.
final class SetTime: TimeSource {
    private let nanoseconds = Mutex<Int64>(1_700_000_000_000_000_000)
    func now() -> Timestamp { Timestamp(nanoseconds: nanoseconds.withLock { $0 }) }
    func monotonicNanoseconds() -> UInt64 { UInt64(nanoseconds.withLock { $0 }) }
    func sleep(for duration: Duration) async throws {}
    func advance(_ duration: Duration) {
        nanoseconds.withLock { $0 += Int64(duration.components.seconds) * 1_000_000_000 }
    }
}
