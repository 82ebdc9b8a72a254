import StoreCore

/// A record's blocks as readers share them.
struct CachedRecord: Sendable {
    /// Where `bytes` begins, counted in blocks from the beginning of the record that was asked for. Not 0 only where
    /// the record moved into another one.
    var firstBlock: Int
    var bytes: [UInt8]

    func contains(_ block: Int, _ count: Int) -> Bool {
        block >= firstBlock && (block - firstBlock + count) * blockBytes <= bytes.count
    }
    /// Traps unless it contains the blocks and `target` has their size.
    func copy(_ block: Int, to target: UnsafeMutableRawBufferPointer) {
        let from = (block - firstBlock) * blockBytes
        bytes.withUnsafeBytes {
            target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[from..<from + target.count]))
        }
    }
}
