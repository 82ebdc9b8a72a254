import Testing

@testable import Snapshots

@Suite struct PageRegionsCoverTheCatalog {
    @Test func halvesCoverTheWhole() {
        var regions = [PageRegion.all]
        for step in 0..<40 {
            let index = (step * 7) % regions.count
            guard regions[index].depth < PageRegion.depthMax else { continue }
            regions.replaceSubrange(index...index, with: regions[index].halves)
            #expect(PageRegion.coverAll(regions))
        }
        for hash in [UInt64(0), 1, 1 << 63, .max, 0x0123_4567_89ab_cdef] {
            #expect(regions.count { $0.contains(hash) } == 1)
            #expect(regions.first { $0.contains(hash) }?.shards.contains(Int(hash >> 56)) == true)
        }
    }
    @Test func gapsAndOverlapsAreSeen() {
        let halves = PageRegion.all.halves
        #expect(!PageRegion.coverAll([]))
        #expect(!PageRegion.coverAll([halves[0]]))
        #expect(!PageRegion.coverAll([halves[1]]))
        #expect(!PageRegion.coverAll([halves[1], halves[0]]))
        #expect(!PageRegion.coverAll([.all, halves[1]]))
        #expect(!PageRegion.coverAll([halves[0]] + halves[1].halves + [.all]))
        #expect(!PageRegion.coverAll([PageRegion(prefix: 0, depth: 1), PageRegion(prefix: 1 << 63 | 1, depth: 1)]))
    }
}
