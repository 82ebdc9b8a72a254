import StoreCore
import Testing
import Volumes

@Suite struct WritesReadBack {
    @Test func fromTheBufferTheStoreAndAfterReopening() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 64 << 20)
        let device = try await engine.attach("v")
        let data = pattern(1, count: 100_000)
        try await device.write(data, at: 8192)
        #expect(try await device.bytes(at: 8192, count: data.count) == data)
        try await device.flush()
        #expect(try await device.bytes(at: 8192, count: data.count) == data)
        try await engine.close()

        let again = try await bed.open()
        let reopened = try await again.attach("v")
        #expect(try await reopened.bytes(at: 8192, count: data.count) == data)
        #expect(try await reopened.bytes(at: 0, count: 8192) == [UInt8](repeating: 0, count: 8192))
        try await again.close()
    }

    @Test func unalignedWritesKeepTheirNeighbours() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        var model = pattern(2, count: 1 << 20)
        try await device.write(model, at: 0)
        for (offset, count) in [(1, 1), (4095, 2), (5000, 9000), (1_048_575, 1), (12_288, 100)] {
            let part = pattern(UInt64(offset), count: count)
            try await device.write(part, at: UInt64(offset), fua: offset == 5000)
            model.replaceSubrange(offset..<offset + count, with: part)
        }
        try await device.writeZeroes(at: 20_001, count: 30_000, fua: false)
        model.replaceSubrange(20_001..<50_001, with: [UInt8](repeating: 0, count: 30_000))
        #expect(try await device.bytes(at: 0, count: model.count) == model)
        try await device.flush()
        #expect(try await device.bytes(at: 0, count: model.count) == model)
        try await engine.close()
    }

    @Test func acknowledgedWritesSurviveAKilledServer() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 64 << 20)
        let device = try await engine.attach("v")
        let flushed = pattern(3, count: 1 << 20), unflushed = pattern(4, count: 1 << 20)
        try await device.write(flushed, at: 0)
        try await device.flush()
        try await device.write(unflushed, at: 1 << 20)
        await engine.abandon()

        let again = try await bed.open()
        let reopened = try await again.attach("v")
        #expect(try await reopened.bytes(at: 0, count: 1 << 20) == flushed)
        #expect(try await reopened.bytes(at: 1 << 20, count: 1 << 20) == unflushed)
        try await again.close()
    }
}

@Suite struct BranchesAndSnapshots {
    @Test func eachSeesItsOwnWritesOnly() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("prod", sizeBytes: 16 << 20)
        let prod = try await engine.attach("prod")
        let first = pattern(1, count: 1 << 20), second = pattern(2, count: 1 << 20), third = pattern(3, count: 1 << 20)
        try await prod.write(first, at: 0)
        _ = try await engine.snapshot("prod", name: "monday")
        _ = try await engine.branch(VolumeReference(volume: "prod", snapshot: "monday"), to: "staging")
        _ = try await engine.branch(VolumeReference(volume: "prod"), to: "live")
        try await prod.write(second, at: 0)
        let staging = try await engine.attach("staging"), live = try await engine.attach("live")
        let monday = try await engine.attach("prod@monday")
        #expect(monday.isReadOnly)
        #expect(try await staging.bytes(at: 0, count: 1 << 20) == first)
        try await staging.write(third, at: 0)
        try await staging.flush()
        #expect(try await monday.bytes(at: 0, count: 1 << 20) == first)
        #expect(try await live.bytes(at: 0, count: 1 << 20) == first)
        #expect(try await prod.bytes(at: 0, count: 1 << 20) == second)
        #expect(try await staging.bytes(at: 0, count: 1 << 20) == third)
        for device in [prod, staging, live, monday] { await engine.detach(device) }
        _ = try await engine.rollback(VolumeReference(volume: "prod", snapshot: "monday"), force: true)
        #expect(try await engine.attach("prod").bytes(at: 0, count: 1 << 20) == first)
        #expect(try await engine.list().map(\.name).count == 5)
        try await engine.close()
    }
}
