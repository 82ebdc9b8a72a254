public import StoreCore

/// Below what gc is about to delete of a volume.
public struct VolumeFloor: Hashable, Sendable {
    /// The lowest manifest number that stays.
    public var manifest: UInt64
    /// The volume's current epoch: unnamed objects of lower ones go.
    public var epoch: Epoch
    public init(manifest: UInt64, epoch: Epoch) {
        self.manifest = manifest
        self.epoch = epoch
    }
}

extension CatalogEditor {
    /// How many catalog numbers gc leaves: as many as a version remembers commits of, so that a writer that stalled for
    /// less than that finds out for certain what became of its commit.
    public static let catalogNumbersKept = UInt64(Limits.recentOperationsMax)

    /// A gc pass announces what it is about to delete, after it has listed the store and before it proves anything. It
    /// makes a number even where nothing changes, because that number is the proof:
    ///
    /// - No snapshot or branch that rests on something below a floor can be entered from here on.
    /// - No volume whose making began before this number can be entered from here on: whatever the listing shows of
    ///   volumes that neither this state nor a later one knows will never be named.
    /// - A catalog page of this number or a lower one that this state's pages do not include will never be named again.
    ///
    /// Floors only rise; volumes that are gone meanwhile are passed over. Numbers of the catalog below its floor may be
    /// deleted as well; it stays `catalogNumbersKept` behind.
    public mutating func announceFloors(_ floors: [VolumeID: VolumeFloor]) {
        for (id, floor) in floors {
            guard var volume = state.volume(id) else { continue }
            volume.manifestFloor = max(volume.manifestFloor, floor.manifest)
            volume.epochFloor = max(volume.epochFloor, floor.epoch)
            put(.volume(volume))
        }
        let number = number
        touch { state in
            state.birthFloor = number
            if number > Self.catalogNumbersKept {
                state.catalogFloor = max(state.catalogFloor, number - Self.catalogNumbersKept)
            }
        }
    }

    /// Makes every page of a large catalog anew, under the present data key; and a number in any case.
    public mutating func renewPages() {
        touch { _ in }
        renewsPages = true
    }
}
