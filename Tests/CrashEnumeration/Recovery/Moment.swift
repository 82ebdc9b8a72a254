import ObjectStorage

/// A recording, followed up to an event: from here all crashes of this moment are made up.
struct Moment {
    let recording: Recording
    /// Events before this one are applied.
    private(set) var point = 0
    private(set) var store: StoreTracker
    private(set) var disks: [DiskTracker]

    init(_ recording: Recording) {
        self.recording = recording
        store = StoreTracker(recording.objects, mutations: recording.mutations)
        disks = recording.disks.map(DiskTracker.init)
    }

    mutating func advance() {
        for host in disks.indices { disks[host].passEvent() }
        switch recording.events[point] {
        case .sent(let number): store.send(number)
        case .settled(let number): store.settle(number)
        case .disk(let host, let event): disks[host].apply(event)
        case .mark: break
        }
        point += 1
    }

    // MARK: Which crashes

    /// Calls `body` with every crash of this moment within the bounds.
    func forEachCrash(_ bounds: SubsetBounds, _ body: (Crash) -> Void) {
        let seed = UInt64(point)
        let stores = bounds.subsets(of: store.underWay, seed: seed)
        let few = stores.count > 2 ? [[], store.underWay] : stores
        for host in disks.indices {
            let killed = killedDisks(host, bounds)
            let platters = platters(host, bounds)
            for (index, disk) in killed.enumerated() {
                for mutations in index == 0 ? stores : few { body(crash(.kill, host, mutations, disk)) }
            }
            for (index, disk) in platters.enumerated() {
                // With all of what was not synced, and with none of it, everything that the store may have seen.
                let isWhole = index < 2 || platters.count * stores.count <= 256
                for mutations in isWhole ? stores : few { body(crash(.host, host, mutations, disk)) }
            }
        }
        for mutations in stores { body(crash(.disk, 0, mutations, .lost)) }
    }
    private func crash(_ kind: CrashKind, _ host: Int, _ mutations: [Int], _ disk: Crash.Disk) -> Crash {
        Crash(point: point, kind: kind, host: host, mutations: mutations, disk: disk)
    }

    /// The page cache as it is; with operations under way finished; with the last store cut short.
    private func killedDisks(_ host: Int, _ bounds: SubsetBounds) -> [Crash.Disk] {
        let tracker = disks[host]
        let begun = tracker.begun.filter { if case .names = $0.value { true } else { false } }.keys.sorted()
        var all = bounds.subsets(of: begun, seed: UInt64(point)).map { Crash.Disk.cache(finished: $0, cut: nil) }
        guard let store = tracker.lastStore else { return all }
        let count = store.new.count
        let sectors = stride(from: DiskTracker.sectorBytes, to: count, by: max(count / 4, DiskTracker.sectorBytes))
        for cut in Set([1, 4, 5, 44, count / 2, count - 17, count - 16, count - 1] + sectors).sorted()
        where cut > 0 && cut < count {
            all.append(.cache(finished: [], cut: cut))
        }
        return all
    }
    /// First with all of what was not synced, then with none of it.
    private func platters(_ host: Int, _ bounds: SubsetBounds) -> [Crash.Disk] {
        let tracker = disks[host]
        let names = tracker.unsyncedNames.map(\.operation)
        let sectors = tracker.sectorWrites.map(\.number)
        var all: [Crash.Disk] = [.platter(names: names, sectors: sectors)]
        if names.isEmpty && sectors.isEmpty { return all }
        all.append(.platter(names: [], sectors: []))
        for subset in bounds.subsets(of: sectors, seed: UInt64(point)) where subset.count < sectors.count {
            all.append(.platter(names: names, sectors: subset))
        }
        for subset in bounds.subsets(of: names, seed: UInt64(point)) where subset.count < names.count {
            all.append(.platter(names: subset, sectors: sectors))
            if !sectors.isEmpty { all.append(.platter(names: subset, sectors: [])) }
        }
        return all
    }

    // MARK: What they leave

    /// Equal for crashes that leave the same.
    func identity(of crash: Crash) -> UInt64 {
        var hash = store.identity(adding: crash.mutations)
        func fold(_ number: UInt64) { hash = StoreTracker.mix(hash ^ number) }
        switch crash.disk {
        case .lost: fold(1)
        case .cache(let finished, let cut):
            fold(2 << 60 | UInt64(crash.host) << 56 | disks[crash.host].cacheVersion)
            for number in finished { fold(UInt64(number)) }
            fold(UInt64(cut.map { $0 + 1 } ?? 0))
        case .platter(let names, let sectors):
            fold(3 << 60 | UInt64(crash.host) << 56 | disks[crash.host].platterVersion)
            for number in names { fold(UInt64(number)) }
            fold(4)
            for number in sectors { fold(UInt64(number)) }
        }
        return hash
    }

    func state(after crash: Crash) -> CrashState {
        CrashState(
            objects: store.adding(crash.mutations).objects, disk: disk(after: crash), shape: recording.shape,
            identity: identity(of: crash))
    }
    private func disk(after crash: Crash) -> DiskState {
        let tracker = disks[crash.host]
        switch crash.disk {
        case .lost: return DiskState(bootID: tracker.cache.bootID + 1)
        case .cache(let finished, let cut):
            var state = tracker.cache
            for number in finished {
                if case .names(let changes, _)? = tracker.begun[number] { state.apply(changes) }
            }
            if let cut, let store = tracker.lastStore {
                let from = store.position + cut
                let end = store.position + store.new.count
                state.files[store.file]?.replaceSubrange(from..<end, with: store.old[cut...])
            }
            return state
        case .platter(let names, let sectors):
            var state = tracker.platter
            let kept = Set(names), written = Set(sectors)
            for change in tracker.unsyncedNames where kept.contains(change.operation) { state.apply(change.changes) }
            for write in tracker.sectorWrites where written.contains(write.number) {
                DiskTracker.put(write, into: &state)
            }
            state.dropOrphans()
            state.bootID += 1
            return state
        }
    }
}
