import Codec
import ObjectStorage
import StoreCore
import Testing

@testable import Snapshots

@Suite struct OneWriterPerEpoch {
    @Test func aClaimOpensTheNextEpochAndTellsWhoWasBefore() async throws {
        let world = World()
        let log = world.manifests()
        _ = try await log.create(.sized(1 << 20))
        let first = try await log.claim(token: OwnerToken(1), host: "alpha", takeOver: false)
        #expect(first.manifest.epoch == Epoch(1) && first.previousOwner == nil)
        #expect(first.manifest.openEpochs == [Epoch(1)])
        _ = try await log.commit(as: Epoch(1)) { $0.release() }
        let second = try await world.manifests().claim(token: OwnerToken(2), host: "beta", takeOver: false)
        #expect(second.manifest.epoch == Epoch(2) && second.manifest.owner?.host == "beta")
        #expect(second.manifest.openEpochs == [Epoch(1), Epoch(2)])
        #expect(second.previousOwner?.host == "alpha" && second.previousOwner?.isReleased == true)
    }

    @Test func whoFindsItHeldIsToldByWhomSinceWhenAndWhatToDo() async throws {
        let world = World()
        _ = try await world.claimed()
        let error = await failure {
            _ = try await world.manifests().claim(token: OwnerToken(2), host: "beta", takeOver: false)
        }
        #expect(error?.code == .busy)
        #expect(error?.message.contains("alpha since 2023-11-14T22:13:20Z") == true)
        #expect(error?.message.contains("--take-over") == true)
        let own = try await world.manifests().claim(
            token: OwnerToken(3), host: "alpha", takeOver: false, ownTokens: [OwnerToken(1)])
        #expect(own.manifest.epoch == Epoch(2))
    }

    /// Design, section 6: what an opener may cost. The newest manifest, then create and list.
    @Test func anOpenAndItsClaimAreFourRequests() async throws {
        let world = World()
        _ = try await world.manifests().create(.sized(1 << 20))
        let trace = Trace(world.memory)
        let log = world.manifests(through: trace.store)
        _ = try await log.newest()
        _ = try await log.claim(token: OwnerToken(1), host: "alpha", takeOver: false)
        #expect(trace.kinds == [.list, .get, .create, .list])
        trace.reset()
        _ = try await log.commit(as: Epoch(1)) { $0.release() }
        #expect(trace.kinds == [.create, .list])
        // "Busy" is not said from memory.
        let other = world.manifests()
        _ = try await other.claim(token: OwnerToken(2), host: "beta", takeOver: false)
        _ = try await other.commit(as: Epoch(2)) { $0.release() }
        _ = try await log.claim(token: OwnerToken(3), host: "alpha", takeOver: false)
    }

    @Test(arguments: [false, true])
    func ofManyClaimersOneWinsEachEpoch(_ takeOver: Bool) async throws {
        for _ in 0..<20 {
            let world = World()
            if takeOver {
                _ = try await world.claimed()
            } else {
                _ = try await world.manifests().create(.sized(1 << 20))
            }
            let epochs = Synchronized<[Epoch]>([])
            let refused = Counter()
            await withTaskGroup(of: Void.self) { group in
                for claimer in UInt128(10)..<18 {
                    group.addTask {
                        let log = world.manifests(through: Yielding(world.memory))
                        do {
                            let claim = try await log.claim(
                                token: OwnerToken(claimer), host: "h\(claimer)", takeOver: takeOver)
                            epochs.change { $0.append(claim.manifest.epoch) }
                        } catch  where error.storageCode == .busy {
                            refused.add()
                        } catch {
                            Issue.record(error)
                        }
                    }
                }
            }
            let won = epochs.value
            #expect(Set(won).count == won.count && !won.isEmpty, "each epoch once")
            #expect(won.count + refused.value == 8)
            if !takeOver { #expect(won == [Epoch(1)]) }
            #expect(try await world.newestManifest().epoch == won.max())
        }
    }

    @Test func ofTwoWhoTakeOverTheSameOwnerOneIsTold() async throws {
        let world = World()
        _ = try await world.claimed()
        let faults = FaultStore(world.memory)
        let slow = world.manifests(through: faults)
        let creations = Counter()
        faults.arm { request in
            guard request.kind == .create, creations.add() == 1 else { return nil }
            _ = try await world.manifests().claim(token: OwnerToken(7), host: "quick", takeOver: true)
            return nil
        }
        let error = await failure { _ = try await slow.claim(token: OwnerToken(8), host: "slow", takeOver: true) }
        #expect(error?.code == .busy && error?.message.contains("quick") == true)
        #expect(try await world.newestManifest().owner?.host == "quick")
    }

    /// R4: the loser's commit is refused, whatever the interleaving, and never built on the winner's manifest.
    @Test(arguments: [false, true])
    func aStaleWritersCommitIsFenced(_ lateInFlight: Bool) async throws {
        let world = World()
        _ = try await world.claimed()
        let faults = FaultStore(world.memory)
        let stale = world.manifests(through: faults)
        _ = try await stale.newest()
        let take: @Sendable () async throws -> Void = {
            _ = try await world.manifests().claim(token: OwnerToken(2), host: "beta", takeOver: true)
        }
        let creations = Counter()
        if lateInFlight {
            faults.arm { request in
                if request.kind == .create, creations.add() == 1 { try await take() }
                return nil
            }
        } else {
            try await take()
        }
        let error = await failure { _ = try await stale.commit(as: Epoch(1)) { $0.state.sizeBytes += 4096 } }
        #expect(error?.code == .fenced && error?.message.contains("beta") == true)
        let newest = try await world.newestManifest()
        #expect(newest.number == 3 && newest.state.sizeBytes == 1 << 20)
        #expect(await code { _ = try await stale.commit(as: Epoch(1)) { _ in } } == .fenced)
    }

    /// Fenced after it took effect: the effect is reported, the next commit is not.
    @Test func aCommitThatTookEffectBeforeTheClaimIsASuccess() async throws {
        let world = World()
        _ = try await world.claimed()
        let faults = FaultStore(world.memory)
        let log = world.manifests(through: faults)
        _ = try await log.newest()
        let lists = Counter()
        faults.arm { request in
            if request.kind == .list, lists.add() == 1 {
                _ = try await world.manifests().claim(token: OwnerToken(2), host: "beta", takeOver: true)
            }
            return nil
        }
        let made = try await log.commit(as: Epoch(1)) { $0.state.sizeBytes += 4096 }
        #expect(made.epoch == Epoch(1) && made.number == 3)
        #expect(try await world.newestManifest().state.sizeBytes == 1 << 20 + 4096)
        #expect(await code { _ = try await log.commit(as: Epoch(1)) { _ in } } == .fenced)
    }

    @Test func aManifestNeverGoesBack() async throws {
        let world = World()
        let epoch = try await world.claimed().epoch
        let log = world.manifests()
        let covered = LogPosition(epoch: epoch, sequence: SegmentSequence(5))
        _ = try await log.commit(as: epoch) {
            $0.state.covered = covered
            $0.state.coveredWrite = WriteSequence(9)
        }
        #expect(await code { _ = try await log.commit(as: epoch) { $0.state.covered = .beginning } } == .invalid)
        #expect(
            await code { _ = try await log.commit(as: epoch) { $0.state.coveredWrite = WriteSequence(8) } } == .invalid)
        #expect(await code { _ = try await log.commit(as: epoch) { $0.state.covered.epoch = Epoch(9) } } == .invalid)
        #expect(await code { _ = try await log.commit(as: epoch) { $0.state.sizeBytes = 100 } } == .invalid)
        #expect(try await world.newestManifest().number == 3)
    }

    @Test func closedEpochsAreKeptUntilTheyAreCovered() async throws {
        let world = World()
        _ = try await world.claimed()
        let log = world.manifests()
        let epoch = try await log.claim(token: OwnerToken(2), host: "beta", takeOver: true).manifest.epoch
        var made = try await log.commit(as: epoch) { try $0.close(Epoch(1), at: SegmentSequence(7)) }
        #expect(made.openEpochs == [epoch])
        #expect(made.closedEpochs == [ClosedEpoch(epoch: Epoch(1), end: SegmentSequence(7))])
        #expect(
            await code { _ = try await log.commit(as: epoch) { try $0.close(Epoch(1), at: SegmentSequence(8)) } }
                == .corrupt)
        made = try await log.commit(as: epoch) {
            try $0.close(Epoch(1), at: SegmentSequence(7))
            $0.state.covered = LogPosition(epoch: Epoch(1), sequence: SegmentSequence(6))
        }
        #expect(made.closedEpochs.count == 1)
        made = try await log.commit(as: epoch) { $0.state.covered.sequence = SegmentSequence(7) }
        #expect(made.closedEpochs.isEmpty)
    }

    @Test func nothingFollowsATombstone() async throws {
        let world = World()
        let epoch = try await world.claimed().epoch
        let log = world.manifests()
        _ = try await log.commit(as: epoch) { $0.isTombstone = true }
        #expect(await code { _ = try await log.commit(as: epoch) { _ in } } == .notFound)
        #expect(await code { _ = try await log.claim(token: OwnerToken(5), host: "x", takeOver: true) } == .notFound)
    }

    @Test func aVolumeIsMadeOnceWhateverFails() async throws {
        for fault in [Fault.failBefore(), .failAfter(), .failThenHappen()] {
            let world = World()
            let faults = FaultStore(world.memory, script: [0: fault])
            let made = try await world.manifests(through: faults).create(.sized(8192))
            await faults.releaseLate()
            #expect(try await world.newestManifest() == made)
            #expect(await code { _ = try await world.manifests().create(.sized(4096)) } == .alreadyExists)
        }
    }

    @Test func aBucketThatWasRolledBackIsNoticed() async throws {
        let world = World()
        let epoch = try await world.claimed().epoch
        let log = world.manifests()
        let old = world.memory.snapshotOfObjects()
        _ = try await log.commit(as: epoch) { _ in }
        world.memory.remove(Manifest.key(of: world.volume, number: 3))
        #expect(old.count == 2)
        #expect(await code { _ = try await log.newest() } == .corrupt)
    }
}
