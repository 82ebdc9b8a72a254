import Cleaner
import Glibc
import ObjectStorage
import StoreCore
import Testing
import Volumes

/// Random commands against the engine and against arrays in memory. The seed is in the test's name;
/// ZEROFS_MODEL_SEED and ZEROFS_MODEL_STEPS run another.
@Suite struct EngineAgreesWithModel {
    static let seeds: [UInt64] = number("ZEROFS_MODEL_SEED").map { [$0] } ?? [1, 2, 3, 4]
    static let steps: Int = number("ZEROFS_MODEL_STEPS").map { Int($0) } ?? 500

    @Test(arguments: seeds)
    func throughAnyMixOfCommands(seed: UInt64) async throws {
        var model = try await ModelRun(seed: seed)
        try await model.run(steps: Self.steps)
    }

    private static func number(_ variable: String) -> UInt64? {
        getenv(variable).flatMap { UInt64(String(cString: $0)) }
    }
}

/// One run: what the volumes should hold, and the engine that should hold it.
private struct ModelRun {
    static let volumeBytes = 2 << 20
    var random: SplitMix64
    let seed: UInt64
    let bed: TestBed
    var engine: Engine
    var devices: [String: any BlockDevice] = [:]
    var volumes: [String: [UInt8]] = [:]
    var snapshots: [String: [UInt8]] = [:]
    var names = 0

    init(seed: UInt64) async throws {
        self.seed = seed
        random = SplitMix64(seed: seed)
        bed = try await TestBed()
        bed.settings.volume.durability = seed % 2 == 0 ? .store : .journal
        bed.settings.memoryCacheBytes = 1 << 20
        engine = try await bed.open()
    }

    mutating func run(steps: Int) async throws {
        try await create()
        for step in 0..<steps {
            do { try await self.step() } catch {
                Issue.record("seed \(seed), step \(step): \(error)")
                throw error
            }
        }
        try await checkAll()
        try await restart(cleanly: true)
        try await checkAll()
        let damage = try await engine.verify(nil, deep: true) { _ in }
        #expect(damage.damaged.isEmpty, "seed \(seed)")
        try await engine.close()
    }

    private mutating func step() async throws {
        switch random.next() % 100 {
        case 0..<45: try await write()
        case 45..<55: try await zero()
        case 55..<75: try await checkPart()
        case 75..<82: try await device(anyVolume()).flush()
        case 82..<87: try await snapshot()
        case 87..<90: try await branch()
        case 90..<92: try await rollback()
        case 92..<94: try await delete()
        case 94..<96: _ = try await engine.collectGarbage(dryRun: false) { _ in }
        case 96..<98: try await restart(cleanly: random.next() % 2 == 0)
        case 98: try await create()
        default: try await checkAll()
        }
    }

    // MARK: choices
    private mutating func anyVolume() -> String { volumes.keys.sorted()[Int(random.next() % UInt64(volumes.count))] }
    private mutating func range() -> Range<Int> {
        let isAligned = random.next() % 4 != 0
        var from = Int(random.next() % UInt64(Self.volumeBytes)), count = Int(random.next() % (256 << 10)) + 1
        if isAligned { (from, count) = (from / 4096 * 4096, (count + 4095) / 4096 * 4096) }
        return from..<min(from + count, Self.volumeBytes)
    }
    private mutating func newName() -> String {
        names += 1
        return "v\(names)"
    }
    private mutating func device(_ name: String) async throws -> any BlockDevice {
        if let device = devices[name] { return device }
        let device = try await engine.attach(name)
        devices[name] = device
        return device
    }
    private mutating func detach(_ name: String) async {
        if let device = devices.removeValue(forKey: name) { await engine.detach(device) }
    }

    // MARK: commands
    private mutating func create() async throws {
        guard volumes.count < 6 else { return }
        let name = newName()
        _ = try await engine.create(name, sizeBytes: UInt64(Self.volumeBytes))
        volumes[name] = [UInt8](repeating: 0, count: Self.volumeBytes)
    }
    private mutating func write() async throws {
        let name = anyVolume(), range = range()
        let bytes =
            random.next() % 3 == 0
            ? [UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: range.count)
            : pattern(random.next(), count: range.count)
        try await device(name).write(bytes, at: UInt64(range.lowerBound), fua: random.next() % 16 == 0)
        volumes[name]?.replaceSubrange(range, with: bytes)
    }
    private mutating func zero() async throws {
        let name = anyVolume(), range = range()
        let offset = UInt64(range.lowerBound), count = UInt64(range.count)
        let device = try await device(name)
        if random.next() % 2 == 0 {
            try await device.trim(at: offset, count: count, fua: false)
        } else {
            try await device.writeZeroes(at: offset, count: count, fua: false)
        }
        volumes[name]?.replaceSubrange(range, with: [UInt8](repeating: 0, count: range.count))
    }
    private mutating func snapshot() async throws {
        guard snapshots.count < 8 else { return }
        let name = anyVolume(), snapshot = newName()
        _ = try await engine.snapshot(name, name: snapshot)
        snapshots["\(name)@\(snapshot)"] = volumes[name]
    }
    private mutating func branch() async throws {
        guard volumes.count < 6 else { return }
        let new = newName()
        if random.next() % 2 == 0, let source = snapshots.keys.sorted().first {
            _ = try await engine.branch(try VolumeReference(parsing: source), to: new)
            volumes[new] = snapshots[source]
        } else {
            let source = anyVolume()
            _ = try await engine.branch(VolumeReference(volume: source), to: new)
            volumes[new] = volumes[source]
        }
    }
    private mutating func rollback() async throws {
        guard let target = snapshots.keys.sorted().last else { return }
        let reference = try VolumeReference(parsing: target)
        await detach(reference.volume)
        let report = try await engine.rollback(reference, force: true)
        snapshots[report.safetySnapshot] = volumes[reference.volume]
        volumes[reference.volume] = snapshots[target]
    }
    private mutating func delete() async throws {
        if random.next() % 2 == 0, let name = snapshots.keys.sorted().first {
            await detach(name)
            _ = try await engine.delete(try VolumeReference(parsing: name), force: false)
            snapshots[name] = nil
        } else if volumes.count > 1 {
            let name = anyVolume()
            for key in devices.keys where key == name || key.hasPrefix(name + "@") { await detach(key) }
            _ = try await engine.delete(VolumeReference(volume: name), force: true)
            volumes[name] = nil
            for key in snapshots.keys where key.hasPrefix(name + "@") { snapshots[key] = nil }
        }
    }
    /// A clean stop, or what a SIGKILL leaves: in both every answered write is still there.
    private mutating func restart(cleanly: Bool) async throws {
        for device in devices.values { await engine.detach(device) }
        devices = [:]
        if cleanly { try await engine.close() } else { await engine.abandon() }
        engine = try await bed.open()
    }

    // MARK: checks
    private mutating func checkPart() async throws {
        let all = volumes.merging(snapshots) { $1 }
        let name = all.keys.sorted()[Int(random.next() % UInt64(all.count))], range = range()
        let found = try await device(name).bytes(at: UInt64(range.lowerBound), count: range.count)
        guard let expected = all[name] else { return }
        #expect(found == Array(expected[range]), "seed \(seed): \(name) at \(range)")
    }
    private mutating func checkAll() async throws {
        for (name, expected) in volumes.merging(snapshots, uniquingKeysWith: { $1 }) {
            let found = try await device(name).bytes(at: 0, count: expected.count)
            let wrong =
                isEqual(found[...], expected[...])
                ? nil : zip(found, expected).enumerated().first { $0.element.0 != $0.element.1 }?.offset
            #expect(wrong == nil, "seed \(seed): \(name) differs at byte \(wrong ?? 0)")
            try await checkStatus(of: name, expected)
        }
    }
    /// What is called a hole reads as zeroes.
    private mutating func checkStatus(of name: String, _ expected: [UInt8]) async throws {
        var offset = 0
        for extent in try await device(name).status(at: 0, count: UInt64(expected.count), extentsMax: 10_000) {
            let end = offset + Int(extent.byteCount)
            if extent.isHole {
                let zeroes = [UInt8](repeating: 0, count: end - offset)
                #expect(isEqual(expected[offset..<end], zeroes[...]), "seed \(seed): \(name)")
            }
            offset = end
        }
        #expect(offset == expected.count)
    }
}

/// Byte by byte in a debug build, megabytes take minutes.
private func isEqual(_ a: ArraySlice<UInt8>, _ b: ArraySlice<UInt8>) -> Bool {
    a.count == b.count
        && a.withUnsafeBytes { a in
            b.withUnsafeBytes { b in
                a.isEmpty || memcmp(a.baseAddress!, b.baseAddress!, a.count) == 0
            }
        }
}
