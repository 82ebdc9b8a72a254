import ArgumentParser
@testable import CLI
import NBD
import StoreCore
import TLS
import Testing

@Suite struct AccessIsConfigured {
    private func read(_ text: String) throws -> ZerofsConfiguration {
        try ConfigurationReader.read(minimal + "\n" + text, path: "zerofs.toml")
    }
    private let rules = """
        [[export]]
        name = "pg-prod"
        clients = ["db1", "psk:db\\"2"]
        [[export]]
        name = "pg-*@*"
        clients = "backup"
        read_only = true
        [[export]]
        name = "*"
        """

    @Test func byExportsInTheirOrder() throws {
        #expect(
            try read(rules).exports == [
                ExportRule(name: "pg-prod", clients: ["db1", "psk:db\"2"]),
                ExportRule(name: "pg-*@*", clients: ["backup"], isReadOnly: true), ExportRule(name: "*"),
            ])
        #expect(try read("").exports.isEmpty)
    }
    @Test func whatIsWrittenReadsBack() throws {
        let configuration = try read(rules)
        let text = ConfigurationText.write(configuration, uncommentsAll: true)
        #expect(try ConfigurationReader.read(text, path: "x") == configuration)
    }
    @Test(arguments: [
        ("[export]\nname = \"a\"", "zerofs.toml:7: write [[export]]"),
        ("[[export]]\nclients = [\"a\"]", "zerofs.toml: [[export]] number 1: name must be"),
        ("[[export]]\nname = \"\"", "zerofs.toml: [[export]] number 1: name must be"),
        ("[[export]]\nname = \"a\"\n[[export]]\nname = 5", "zerofs.toml: [[export]] number 2: name must be"),
        (
            "[[export]]\nname = \"a\"\nclient = [\"b\"]",
            "zerofs.toml: [[export]] number 1: unknown setting 'client', did you mean 'clients'?"
        ),
        ("[[export]]\nname = \"a\"\nclients = 5", "zerofs.toml: [[export]] number 1: clients must be a list"),
        ("[[export]]\nname = \"a\"\nclients = [\"\"]", "zerofs.toml: [[export]] number 1: clients must be a list"),
        ("[[export]]\nname = \"a\"\nread_only = 1", "zerofs.toml: [[export]] number 1: read_only must be"),
        ("[tls]\nmode = \"maybe\"", "zerofs.toml:8: tls.mode must be one of \"off\", \"on\", \"required\""),
    ])
    func mistakesAreNamed(text: String, message: String) {
        let error = #expect(throws: StorageError.self) { try read(text) }
        #expect(error?.code == .invalid && error?.message.hasPrefix(message) == true, "\(error?.message ?? "")")
    }
}

@Suite struct ServersAreSecuredAsTold {
    private func plan(_ arguments: [String] = [], _ change: (inout ZerofsConfiguration) -> Void = { _ in }) throws
        -> SecurityPlan
    {
        var configuration = ZerofsConfiguration()
        configuration.data.directory = "/data"
        change(&configuration)
        return try ServePlan(try Serve.parse(arguments), configuration).security
    }
    private let certificate = ["--tls-certificate", "/c.pem", "--tls-key", "/c.key"]

    @Test func tlsIsOffUnlessAskedFor() throws {
        #expect(try plan().mode == .off && !plan().demandsLocally)
    }
    @Test func theCommandLineStandsOverTheConfiguration() throws {
        let plan = try plan(["--tls", "on", "--tls-psk", "/b.psk"]) {
            $0.tls.mode = .required
            $0.tls.pskFile = "/a.psk"
            $0.tls.certificateFile = "/c.pem"
            $0.tls.keyFile = "/c.key"
            $0.tls.caFile = "/ca.pem"
            $0.tls.crlFile = "/crl.pem"
        }
        #expect(plan.mode == .on && !plan.demandsLocally)
        #expect(
            plan.files
                == TLSFiles(
                    certificate: "/c.pem", key: "/c.key", authorities: "/ca.pem", revocations: "/crl.pem",
                    preSharedKeys: "/b.psk"))
    }
    @Test func requiredMeansUnixSocketsTooUnlessExempt() throws {
        #expect(try plan(["--tls", "required"] + certificate).demandsLocally)
        #expect(try !plan(["--tls", "required"] + certificate) { $0.tls.exemptsSocket = true }.demandsLocally)
    }
    @Test(arguments: [
        ["--tls", "on"], ["--tls", "required", "--tls-certificate", "/c"], ["--tls", "on", "--tls-key", "/k"],
        ["--tls", "on", "--tls-ca", "/ca"], ["--tls-psk", "/p"], ["--tls", "off", "--tls-ca", "/ca"],
        ["--tls", "on", "--tls-psk", "/p", "--tls-ca", "/ca"],
    ])
    func halvesAreRefused(arguments: [String]) {
        #expect(throws: StorageError.self) { try plan(arguments) }
    }

    @Test func anOpenAddressIsWarnedOf() throws {
        let open: [NBDAddress] = [.tcp(host: "0.0.0.0", port: 1), .tcp(host: "::", port: 2)]
        let local: [NBDAddress] = [.tcp(host: "127.0.0.1", port: 1), .tcp(host: "::1", port: 2), .unix(path: "/n")]
        #expect(try plan().warnings(listeningOn: open).count == 2)
        #expect(try plan().warnings(listeningOn: open).allSatisfy { $0.contains("without TLS") })
        #expect(try plan().warnings(listeningOn: local).isEmpty)
        #expect(try plan(["--tls", "on"] + certificate).warnings(listeningOn: open).count == 3)
        #expect(try plan(["--tls", "required"] + certificate).warnings(listeningOn: open).count == 1)
        #expect(try plan(["--tls", "required", "--tls-psk", "/p"]).warnings(listeningOn: open).isEmpty)
        let rules = [ExportRule(name: "a", clients: ["db1"])]
        #expect(try plan { $0.exports = rules }.warnings(listeningOn: local).count == 1)
    }

    @Test func attachUsesAKeyWhereTheSocketWantsTLS() throws {
        var export = Export(name: "v@s", isReadOnly: true, addresses: ["127.0.0.1:5", "unix:/n b"])
        export.key = Export.PreSharedKeyUser(user: "db 1", file: "/etc/k.psk")
        #expect(try export.uri() == "nbds+unix://db%201@/v%40s?socket=/n%20b&tls-psk-file=/etc/k.psk")
        let arguments = try LoopDevice.retryArguments(export, "/s")
        for wanted in ["tls=require", "tls-psk=/etc/k.psk", "tls-username=db 1"] { #expect(arguments.contains(wanted)) }
        export.addresses = ["0.0.0.0:5"]
        #expect(try export.uri() == "nbds://db%201@127.0.0.1:5/v%40s?tls-psk-file=/etc/k.psk")
    }
}
