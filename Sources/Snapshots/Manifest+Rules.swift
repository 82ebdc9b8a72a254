import StoreCore

extension Manifest {
    /// The draft of the manifest after this one.
    func next(at time: Timestamp) -> Manifest {
        var manifest = self
        manifest.number += 1
        manifest.created = time
        return manifest
    }

    /// Forgets closed epochs that lie wholly within the covered part: nobody replays them again.
    mutating func dropCoveredEpochs() {
        let covered = state.covered
        closedEpochs.removeAll { LogPosition(epoch: $0.epoch, sequence: $0.end) <= covered }
    }

    /// What a commit may change. A manifest that broke these rules would lose acknowledged writes, so it is refused.
    func checkFollows(_ base: Manifest) throws(StorageError) {
        func require(_ holds: Bool, _ rule: String) throws(StorageError) {
            guard holds else {
                throw StorageError(.invalid, "volume \(volume): manifest \(number) is refused, \(rule)")
            }
        }
        try require(volume == base.volume && parent == base.parent, "it belongs to another volume")
        try require(state.covered >= base.state.covered, "its covered position goes back")
        try require(state.coveredWrite >= base.state.coveredWrite, "its covered write goes back")
        try require(state.covered.epoch <= epoch, "it covers an epoch that was not claimed")
        try require(state.sizeBytes % UInt64(blockBytes) == 0, "its size is no multiple of \(blockBytes)")
        let sizeMax = Limits.volumeBytesMax
        try require(state.sizeBytes <= sizeMax, "its size exceeds \(ByteSize.format(sizeMax))")
        try require(openEpochs.allSatisfy { $0 <= epoch }, "it lists an epoch that was not claimed")
    }
}
