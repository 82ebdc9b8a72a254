public import ObjectStorage
public import SegmentLog
public import StoreCore

/// Carries a plan out: merges, uploads the new runs, and says how the layout changes. It changes nothing itself: runs
/// that no manifest comes to name are gc's.
///
/// Memory: one run before compression or as an object, and per source one GET and one page.
public enum Compactor {
    /// - Parameters:
    ///   - reader: with the store's keys.
    ///   - volume: whose folder the new runs lie in.
    ///   - epoch: the writer's, claimed before.
    ///   - store: takes the uploads.
    ///   - resolve: where a block lies now, for segments that were relocated; asked once per extent.
    /// - Returns: the edit; all that it adds is durable.
    /// - Throws: `notFound` when an input is gone, so that the layout is old; `cancelled`; what the store throws.
    public static func run(
        _ plan: CompactionPlan, reader: MapReader, volume: VolumeID, epoch: Epoch, store: any ObjectStore,
        shape: RunShape = .standard, resolve: ((BlockLocation) async throws -> BlockLocation)? = nil
    ) async throws -> CompactionEdit {
        let removed = plan.inputs.flatMap(\.self)
        if let run = plan.movedRun, resolve == nil {
            return CompactionEdit(removed: removed, added: [run], level: plan.outputLevel)
        }
        let everything = BlockRange(first: BlockIndex(0), count: RunFormat.blocksMax)
        var merged = MergedExtents(plan.sources, range: everything, reader: reader)
        var added: [RunReference] = []
        var builder = try RunBuilder(volume: volume, epoch: epoch, keys: reader.keys, shape: shape)
        while true {
            let batch = try await merged.nextBatch()
            if batch.isEmpty { break }
            for extent in batch {
                if plan.dropsZeroes, extent.mapping == .zero { continue }
                builder.append(try await resolved(extent, resolve))
            }
            if builder.isFull {
                let next = try RunBuilder(volume: volume, epoch: epoch, keys: reader.keys, shape: shape)
                added.append(try await upload(exchange(&builder, with: next), to: store))
            }
            await Task.yield()
        }
        if !builder.isEmpty { added.append(try await upload(builder, to: store)) }
        return CompactionEdit(removed: removed, added: added, level: plan.outputLevel)
    }

    private static func resolved(
        _ extent: Extent, _ resolve: ((BlockLocation) async throws -> BlockLocation)?
    ) async throws -> Extent {
        guard let resolve, case .data(let location) = extent.mapping else { return extent }
        return Extent(range: extent.range, mapping: .data(try await resolve(location)))
    }

    private static func upload(_ builder: consuming RunBuilder, to store: any ObjectStore) async throws -> RunReference
    {
        let run = try await builder.sealYielding()
        try await run.upload(to: store)
        return run.reference
    }
}

extension SealedRun {
    /// Durable when it returns. A run of this name has this content, so that one that exists already will do.
    public func upload(to store: any ObjectStore) async throws {
        _ = try await store.create(key, bytes, sha256: objectHash)
    }
}
