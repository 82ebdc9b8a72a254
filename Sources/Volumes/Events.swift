public import Logging
public import StoreCore
import Synchronization

extension Logger {
    /// Writes an event as one line, with its code as metadata: `event=fenced volume=pg-prod epoch=7`.
    ///
    /// - Parameter details: identifiers and numbers; sentences belong into the message. Never keys or data.
    public func event(
        _ code: EventCode, volume: String? = nil, epoch: Epoch? = nil, details: [String: String] = [:],
        _ message: @autoclosure () -> String
    ) {
        var metadata: Metadata = ["event": "\(code.rawValue)"]
        if let volume { metadata["volume"] = "\(volume)" }
        if let epoch { metadata["epoch"] = "\(epoch)" }
        for (key, value) in details { metadata[key] = "\(value)" }
        let text = message()
        log(level: Level(code.severity), "\(text)", metadata: metadata)
    }
}

extension Logger.Level {
    init(_ severity: EventSeverity) {
        switch severity {
        case .notice: self = .notice
        case .warning: self = .warning
        case .error: self = .error
        }
    }
}

/// Lets one event of a kind through in ten seconds, and counts the rest: an outage makes thousands of equal ones.
public final class EventRate: Sendable {
    private struct State {
        var nextAt: UInt64 = 0
        var heldBack = 0
    }
    private let interval: UInt64
    /// Guards when each code may be told next.
    private let states = Mutex<[EventCode: State]>([:])

    public init(interval: Duration = .seconds(10)) { self.interval = interval.nanosecondCount }

    /// How many were held back since the last one; nil: this one is held back too.
    public func admit(_ code: EventCode, at now: UInt64) -> Int? {
        states.withLock { states in
            var state = states[code] ?? State()
            defer { states[code] = state }
            guard now >= state.nextAt else {
                state.heldBack += 1
                return nil
            }
            defer { state = State(nextAt: now + interval, heldBack: 0) }
            return state.heldBack
        }
    }
}

extension VolumeContext {
    func event(
        _ code: EventCode, volume: String, epoch: Epoch? = nil, details: [String: String] = [:], _ message: String
    ) {
        log.event(code, volume: volume, epoch: epoch, details: details, message)
    }
    /// At most once in a while; the next line says how many were held back.
    func eventSometimes(
        _ code: EventCode, _ rate: EventRate, volume: String, epoch: Epoch? = nil, details: [String: String] = [:],
        _ message: String
    ) {
        guard let heldBack = rate.admit(code, at: time.monotonicNanoseconds()) else { return }
        let more = heldBack == 0 ? "" : " (and \(heldBack) more since the last line)"
        event(code, volume: volume, epoch: epoch, details: details, message + more)
    }
}

extension Volume {
    func event(_ code: EventCode, details: [String: String] = [:], _ message: String) {
        context.event(code, volume: name, epoch: epoch, details: details, message)
    }
    func eventSometimes(_ code: EventCode, details: [String: String] = [:], _ message: String) {
        context.eventSometimes(code, rate, volume: name, epoch: epoch, details: details, message)
    }

    /// Tells why the service ended. A volume that was closed on request says nothing.
    func announce(_ failure: StorageError) {
        switch failure.code {
        case .cancelled: break
        case .fenced: event(.fenced, "this server lost the volume: \(failure)")
        case .corrupt where failure.saysRolledBack: event(.storeRolledBack, "the volume serves no more: \(failure)")
        case .corrupt: event(.corruptObject, "the volume serves no more: \(failure)")
        default: event(.volumeFailed, "the volume serves no more until it is attached again: \(failure)")
        }
    }
}

extension Error {
    /// Whether it tells that the store shows an older state than was seen; who notices says it in these words.
    var saysRolledBack: Bool { storageCode == .corrupt && "\(self)".contains("the bucket was rolled back") }
}

/// Compares the wall clock with the one that never steps.
final class ClockWatch: Sendable {
    private static let toleranceNanoseconds: Int64 = 10_000_000_000
    private let last = Mutex<(wall: Int64, steady: Int64)?>(nil)

    /// By how much the wall clock moved more than time went by since the last look, where that is much.
    func jump(_ time: any TimeSource) -> Duration? {
        let now = (wall: time.now().nanoseconds, steady: Int64(clamping: time.bootNanoseconds()))
        let before = last.withLock { last in
            defer { last = now }
            return last
        }
        guard let before else { return nil }
        let jump = (now.wall - before.wall) - (now.steady - before.steady)
        return abs(jump) > Self.toleranceNanoseconds ? .nanoseconds(jump) : nil
    }
}
