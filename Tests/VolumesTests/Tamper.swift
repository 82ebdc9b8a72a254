import Cleaner
import Codec
import Glibc
import ObjectStorage
import Snapshots
import StoreCore
import Testing

@testable import Volumes

/// Someone who owns the bucket changes one thing in it. Whatever it is, on a host that never saw the store before:
/// - what is read is right, or an error; where objects were taken away it may also be an exact earlier state;
/// - what cannot be read, `verify` names;
/// - volumes that the object does not belong to go on;
/// - a witness that was taken before notices each return to an earlier state of a catalog or a manifest.
@Suite(.timeLimit(.minutes(10))) struct NothingTamperedIsBelieved {
    /// Objects of each kind that are tried, and positions of flips in each; all of them with ZEROFS_TAMPER=all.
    private static let isThorough = getenv("ZEROFS_TAMPER").map { String(cString: $0) == "all" } ?? false
    private static let objectsPerKind = isThorough ? Int.max : 2
    private static let flipsPerObject = isThorough ? 64 : 7

    @Test func whateverHappensToOneObject() async throws {
        let original = try await TamperedStore.make()
        let kinds = original.kinds
        #expect(
            Set(kinds.keys) == [
                "superblock", "catalog", "catalog-page", "manifest", "version", "segment", "packed-segment", "run",
                "relocation", "fence", "generation",
            ])
        var attempts: [Tampering] = []
        for (kind, keys) in kinds {
            let chosen = Array(keys.prefix(Self.objectsPerKind))
            for (index, key) in chosen.enumerated() {
                let count = original.objects[key]?.count ?? 0
                attempts += Self.positions(count).map { Tampering(kind: kind, key: key, change: .flip($0)) }
                attempts += [0, count / 2, count - 1].map { Tampering(kind: kind, key: key, change: .truncate($0)) }
                attempts.append(Tampering(kind: kind, key: key, change: .extend))
                attempts.append(Tampering(kind: kind, key: key, change: .delete))
                if let other = keys.last(where: { $0 != key }), index < 2 {
                    attempts.append(Tampering(kind: kind, key: key, change: .swap(other)))
                    attempts.append(Tampering(kind: kind, key: key, change: .putBack(other)))
                }
            }
        }
        let found = try await withThrowingTaskGroup(of: (Tampering, Verdict).self) { group in
            var rest = attempts[...]
            var found: [(Tampering, Verdict)] = []
            for attempt in rest.prefix(2) { group.addTask { (attempt, try await original.judge(attempt)) } }
            rest = rest.dropFirst(2)
            while let done = try await group.next() {
                found.append(done)
                if let attempt = rest.popFirst() { group.addTask { (attempt, try await original.judge(attempt)) } }
            }
            return found
        }
        for (attempt, verdict) in found {
            for problem in verdict.problems { Issue.record("\(attempt): \(problem)") }
        }
        // What nothing needs any more may be damaged unnoticed, but of each kind something is needed. Generations are
        // the cleaner's alone; what it cannot read stops it.
        for kind in kinds.keys where kind != "generation" {
            #expect(found.contains { $0.0.kind == kind && $0.1.isNoticed }, "no damage to a \(kind) was noticed")
        }
    }

    private static func positions(_ count: Int) -> [Int] {
        guard count > flipsPerObject else { return Array(0..<count) }
        // Version, kind, key id, salt and tag; the rest evenly.
        let fixed = [4, 5, 6, 9, 20, count - 1]
        return fixed + (1...max(flipsPerObject - fixed.count, 1)).map { $0 * (count - 1) / max(flipsPerObject - 2, 1) }
    }
}

struct Tampering: Sendable, CustomStringConvertible {
    enum Change: Sendable {
        case flip(Int)
        case truncate(Int)
        case extend
        case delete
        case swap(ObjectKey)
        /// Another object of its kind in its place.
        case putBack(ObjectKey)
    }
    var kind: String
    var key: ObjectKey
    var change: Change
    var description: String { "\(change) of the \(kind) \(key)" }

    /// Whether nothing is left that could tell of what was there.
    var takesAway: Bool {
        if case .delete = change { return true }
        return false
    }
    /// Whether what was said names an object that was changed, by its full key.
    func isNamed(_ said: String) -> Bool {
        switch change {
        case .swap(let other): said.contains(key.text) || said.contains(other.text)
        case .delete: said.contains(key.text) || isMissed(said)
        default: said.contains(key.text)
        }
    }
    /// What is gone may be told by what refers to it: who saw more in its folder, or a segment that was moved.
    private func isMissed(_ said: String) -> Bool {
        switch kind {
        case "superblock": return said.contains("there is no zerofs store")
        case "catalog", "manifest":
            let folder = key.text.split(separator: "/").dropLast().joined(separator: "/")
            return said.contains("\(folder): the store shows ") && said.contains("it was rolled back")
        case "relocation":
            return said.matches(of: /(volumes|packed)\/[0-9a-f\/log]+/).contains { match in
                key.text == "relocated/\(Digest.sha256(Array(match.output.0.utf8)))"
            }
        default: return false
        }
    }
    func apply(to store: MemoryStore, _ objects: [ObjectKey: [UInt8]]) {
        var bytes = objects[key] ?? []
        switch change {
        case .flip(let position):
            bytes[position] ^= 0x10
            store.replace(key, bytes)
        case .truncate(let count): store.replace(key, Array(bytes.prefix(count)))
        case .extend: store.replace(key, bytes + [0])
        case .delete: _ = store.remove(key)
        case .swap(let other):
            store.replace(key, objects[other] ?? [])
            store.replace(other, bytes)
        case .putBack(let other): store.replace(key, objects[other] ?? [])
        }
    }
}

struct Verdict: Sendable {
    var isNoticed = false
    var problems: [String] = []
}

/// A small store with an object of every kind, what it must read as, and what it read as at earlier moments.
final class TamperedStore: Sendable {
    static let size = 1 << 18
    let objects: [ObjectKey: [UInt8]]
    /// By export; the last is the present one.
    let states: [String: [[UInt8]]]
    let ids: [String: String]
    let witness: StoreWitness

    private init(
        objects: [ObjectKey: [UInt8]], states: [String: [[UInt8]]], ids: [String: String], witness: StoreWitness
    ) {
        self.objects = objects
        self.states = states
        self.ids = ids
        self.witness = witness
    }

    /// Keys by kind, those first that came last.
    var kinds: [String: [ObjectKey]] {
        var kinds: [String: [ObjectKey]] = [:]
        for key in objects.keys.sorted() {
            let parts = key.text.split(separator: "/")
            let kind =
                switch (parts[0], parts.count > 2 ? parts[2] : "") {
                case ("volumes", "log"): (objects[key]?.count ?? 0) <= 300 ? "fence" : "segment"
                case ("volumes", "map"): "run"
                case ("volumes", let folder): String(folder)
                case ("packed", _): "packed-segment"
                case ("relocated", _): "relocation"
                case ("cleaner", _): "generation"
                case (let folder, _): String(folder)
                }
            kinds[kind, default: []].append(key)
        }
        // Numbers are inverted in names, but for those of the log.
        return kinds.mapValues { keys in keys[0].text.contains("/log/") ? keys.reversed() : keys }
    }

    static func make() async throws -> TamperedStore {
        let memory = MemoryStore()
        let bed = try await TestBed(store: memory)
        bed.settings.volume.isJournaled = false
        var states: [String: [[UInt8]]] = [:]
        var ids: [String: String] = [:]
        var contents: [String: [UInt8]] = [:]
        func write(_ engine: Engine, _ name: String, _ seed: UInt64, _ range: Range<Int>) async throws {
            let device = try await engine.attach(name)
            try await device.write(pattern(seed, count: range.count), at: UInt64(range.lowerBound))
            try await device.flush()
            await engine.detach(device)
            contents[name, default: [UInt8](repeating: 0, count: size)]
                .replaceSubrange(range, with: pattern(seed, count: range.count))
            states[name, default: []].append(contents[name] ?? [])
        }
        let first = try await bed.open()
        for name in ["a", "other"] {
            ids[name] = try await first.create(name, sizeBytes: UInt64(size)).id
            states[name] = [[UInt8](repeating: 0, count: size)]
        }
        try await write(first, "other", 1, 0..<size)
        // Enough rows for pages of the catalog.
        for number in 0..<66 { _ = try await first.snapshot("other", name: "n\(number)") }
        try await write(first, "a", 2, 0..<size)
        try await write(first, "a", 3, 0..<size * 3 / 4)
        _ = try await first.collectGarbage(dryRun: false) { _ in }
        _ = try await first.snapshot("a", name: "s")
        states["a@s"] = [contents["a"] ?? []]
        ids["b"] = try await first.branch(VolumeReference(volume: "a", snapshot: "s"), to: "b").id
        contents["b"] = contents["a"]
        states["b"] = [contents["b"] ?? []]
        try await write(first, "b", 4, 4096..<12288)
        try await write(first, "a", 5, 8192..<65536)
        try await first.close()
        // An epoch that was left open, its fence, and a tail of the next.
        for seed in [UInt64(6), 7] {
            bed.settings.takeOver = ["a"]
            let engine = try await bed.open()
            try await write(engine, "a", seed, Int(seed) * 4096..<Int(seed) * 4096 + 20480)
            await engine.abandon()
        }
        bed.settings.takeOver = []
        let reader = try await bed.open()
        let witness = try await reader.witness()
        try await reader.close()
        return TamperedStore(
            objects: memory.snapshotOfObjects(), states: states, ids: ids, witness: witness)
    }

    // MARK: Judging

    func judge(_ tampering: Tampering) async throws -> Verdict {
        let memory = MemoryStore()
        for (key, bytes) in objects { memory.replace(key, bytes) }
        tampering.apply(to: memory, objects)
        let isSame = memory.snapshotOfObjects() == objects
        var verdict = Verdict()
        guard !isSame else { return verdict }
        let host = try await TestBed(sharing: TestBed(store: MemoryStore()), through: memory)
        host.settings.volume.isJournaled = false
        host.settings.takeOver = ["a", "b", "other"]
        let engine: Engine
        do { engine = try await host.open() } catch {
            verdict.isNoticed = true
            if !["superblock", "catalog", "catalog-page"].contains(tampering.kind) || !tampering.isNamed("\(error)") {
                verdict.problems.append("the store does not open: \(error)")
            }
            return verdict
        }
        let report = try await verify(engine, &verdict, tampering)
        var errors: [String] = []
        for (name, expected) in states.sorted(by: { $0.key < $1.key }) {
            do {
                let device = try await engine.attach(name)
                let found = try await device.bytes(at: 0, count: Self.size)
                if found != expected.last, !(tampering.takesAway && expected.contains(found)) {
                    verdict.problems.append("\(name) returned wrong data")
                } else if found != expected.last, !report, tampering.kind == "manifest" || tampering.kind == "catalog" {
                    verdict.problems.append("\(name) went back unnoticed")
                }
            } catch {
                errors.append("\(name): \(error)")
                // Who never saw the newest catalog does not know what it named; the witness does.
                let isUnknown = tampering.kind == "catalog" && tampering.takesAway && error.storageCode == .notFound
                if !tampering.isNamed("\(error)"), !isUnknown {
                    verdict.problems.append("\(name) does not name it: \(error)")
                }
                if concernsOthers(tampering, name) { verdict.problems.append("\(name) fails: \(error)") }
            }
        }
        if !errors.isEmpty {
            verdict.isNoticed = true
            if !report { verdict.problems.append("verify found nothing, but \(errors)") }
        }
        await engine.abandon()
        return verdict
    }

    /// - Returns: whether something was reported.
    private func verify(_ engine: Engine, _ verdict: inout Verdict, _ tampering: Tampering) async throws -> Bool {
        do {
            let report = try await engine.verify(nil, deep: true) { _ in }
            let older = try await engine.problems(since: witness)
            guard !report.isSound || !older.isEmpty else { return false }
            verdict.isNoticed = true
            let said = report.damaged.map { "\($0.object): \($0.problem)" } + older.map { "\($0.key): \($0.value)" }
            if !said.contains(where: tampering.isNamed) { verdict.problems.append("verify does not name it: \(said)") }
            return true
        } catch {
            verdict.isNoticed = true
            if !tampering.isNamed("\(error)") { verdict.problems.append("verify ended with \(error)") }
            return true
        }
    }

    /// Whether an export must go on, because the object is none of its own.
    private func concernsOthers(_ tampering: Tampering, _ name: String) -> Bool {
        guard tampering.key.text.hasPrefix("volumes/") else {
            return name == "other" && ["packed-segment", "relocation", "generation"].contains(tampering.kind)
        }
        var keys = [tampering.key.text]
        if case .swap(let other) = tampering.change { keys.append(other.text) }
        let owners = ids.filter { id in keys.contains { $0.contains(id.value) } }.keys
        // A branch and a snapshot share with what they came from.
        return name == "other" ? !owners.contains("other") : !owners.contains { $0 != "other" }
    }
}
