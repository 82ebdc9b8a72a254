import ObjectStorage

/// A loss that no crash may cause, made on purpose: an enumeration that does not fail with it proves nothing.
enum PlantedLoss: String, Sendable, CaseIterable {
    /// The newest segment of a log is gone.
    case segment
    /// The newest catalog is gone.
    case catalog
    /// The newest run of a map is gone.
    case run
    /// The last bytes of the fullest journal file are zeroes.
    case journal

    func spoil(_ state: inout CrashState) {
        func drop(_ isVictim: (String) -> Bool, last: Bool) {
            let keys = state.objects.keys.filter { isVictim($0.text) }.sorted()
            if let key = last ? keys.last : keys.first { state.objects[key] = nil }
        }
        switch self {
        case .segment: drop({ $0.contains("/log/") }, last: true)
        case .run: drop({ $0.contains("/map/") }, last: true)
        // Their numbers are inverted.
        case .catalog: drop({ $0.hasPrefix("catalog/") }, last: false)
        case .journal:
            func end(_ bytes: [UInt8]) -> Int { (bytes.lastIndex { $0 != 0 } ?? -1) + 1 }
            let files = state.disk.files.filter { $0.value.count >= 64 << 10 }
            guard let fullest = files.max(by: { end($0.value) < end($1.value) }) else { return }
            let used = end(fullest.value)
            guard used > 256 else { return }
            state.disk.files[fullest.key]?.replaceSubrange(
                used - 64..<used, with: [UInt8](repeating: 0, count: 64))
        }
    }
}
