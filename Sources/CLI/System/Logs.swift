import Logging
import Synchronization

enum Logs {
    /// Logs go to standard error, so that standard output holds results alone. Once for the process.
    static func start(level: Logger.Level) -> Logger {
        LoggingSystem.bootstrap { label in
            var handler = StreamLogHandler.standardError(label: label)
            handler.logLevel = level
            return handler
        }
        return Logger(label: "zerofs")
    }
}
