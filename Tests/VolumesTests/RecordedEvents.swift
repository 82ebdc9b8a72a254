import Logging
import StoreCore
import Synchronization

/// The events that an engine logged, for tests.
final class RecordedEvents: Sendable {
    private let lines = Mutex<[(code: String, message: String)]>([])

    var codes: [String] { lines.withLock { $0.map(\.code) } }
    func count(_ code: EventCode) -> Int { codes.count { $0 == code.rawValue } }
    func note(_ code: String, _ message: String) { lines.withLock { $0.append((code, message)) } }

    var logger: Logger { Logger(label: "test") { [self] _ in Handler(events: self) } }

    private struct Handler: LogHandler {
        let events: RecordedEvents
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level = .info
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) {
            guard let code = event.metadata?["event"] else { return }
            events.note("\(code)", "\(event.message)")
        }
    }
}
