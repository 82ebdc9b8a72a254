@testable import CLI
import Logging
import ObjectStorage
import StoreCore
import Synchronization
import Testing

/// What `WatchedStore` notices becomes one line with its code.
@Suite struct TroubleWithTheStoreIsTold {
    @Test(arguments: [
        (WatchedStore.News.away(.injected), "warning event=store-away", "does not answer"),
        (.back(after: .seconds(23)), "notice event=store-back", "answers again after 23 s"),
        (.slow(.create, .seconds(12)), "warning event=store-slow request=create", "took 12 s"),
    ])
    func onceWithItsCode(news: WatchedStore.News, fields: String, text: String) throws {
        let lines = Lines()
        let location = try StoreLocation(parsing: "file:///srv/store")
        StoreFactory.report(news, location, Logger(label: "test") { _ in lines })
        let line = try #require(lines.all.first)
        #expect(lines.all.count == 1)
        #expect(line.hasPrefix("\(fields): "))
        #expect(line.contains(text) && line.contains("/srv/store"), "\(line)")
    }
}

/// Log lines as text, for tests.
private final class Lines: LogHandler {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }

    var metadata: Logger.Metadata {
        get { [:] }
        set { _ = newValue }
    }
    var logLevel: Logger.Level {
        get { .info }
        set { _ = newValue }
    }
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set { _ = newValue }
    }
    func log(event: LogEvent) {
        let metadata = event.metadata ?? [:]
        let fields = metadata.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        let line = (["\(event.level)"] + fields).joined(separator: " ") + ": \(event.message)"
        lines.withLock { $0.append(line) }
    }
}
