import Foundation
import NBD
import StoreCore
import Testing

@Suite(.serialized) struct RealClients {
    @Test func nbdinfoShowsWhatIsServed() async throws {
        try await Served.with(MemoryDevice(size: 16 << 20)) { served in
            let output = try await Tool.nbdinfo("--json", served.uri())
            #expect(output.status == 0, "\(output.text)")
            let json = try #require(try JSONSerialization.jsonObject(with: Data(output.text.utf8)) as? [String: Any])
            #expect(json["protocol"] as? String == "newstyle-fixed")
            #expect(json["structured"] as? Bool == true)
            let exports = try #require(json["exports"] as? [[String: Any]])
            let export = try #require(exports.first)
            #expect(export["export-name"] as? String == "disk")
            #expect(export["description"] as? String == "memory of 16M")
            #expect(export["export-size"] as? Int == 16 << 20)
            #expect(export["contexts"] as? [String] == ["base:allocation"])
            #expect(export["is_read_only"] as? Bool == false)
            for ability in ["cache", "df", "fast_zero", "flush", "fua", "multi_conn", "trim", "zero"] {
                #expect(export["can_\(ability)"] as? Bool == true, "can_\(ability)")
            }
            #expect(export["block_size_minimum"] as? Int == 1)
            #expect(export["block_size_preferred"] as? Int == 4096)
            #expect(export["block_size_maximum"] as? Int == 32 << 20)
        }
    }

    @Test func nbdcopyBringsBackWhatItBroughtIn() async throws {
        try await Served.with(MemoryDevice(size: 16 << 20)) { served in
            try await Tool.withTemporaryFile { source in
                try await Tool.withTemporaryFile { target in
                    var bytes = [UInt8](repeating: 0, count: 16 << 20)
                    var generator = SplitMix64(seed: 1)
                    for start in stride(from: 0, to: bytes.count, by: 3 << 16) {
                        let end = min(start + 1 << 16, bytes.count)
                        bytes.replaceSubrange(start..<end, with: generator.bytes(end - start))
                    }
                    try Data(bytes).write(to: URL(fileURLWithPath: source))
                    for uri in [served.uri(), served.tcpURI()] {
                        let there = try await Tool.nbdcopy("--flush", source, uri)
                        #expect(there.status == 0, "\(there.text)")
                        let back = try await Tool.nbdcopy(uri, target)
                        #expect(back.status == 0, "\(back.text)")
                        #expect(try Data(contentsOf: URL(fileURLWithPath: target)) == Data(bytes))
                    }
                }
            }
        }
    }

    @Test func qemuReadsThePatternsThatItWrote() async throws {
        try await Served.with(MemoryDevice(size: 16 << 20)) { served in
            let output = try await Tool.qemuIO(
                served.uri(), "write -P 0x5a 1000 70000", "write -f -P 0x11 1M 2M", "write -z 1M 64k", "flush",
                "discard 2M 128k", "read -P 0x5a 1000 70000", "read -P 0 0 1000", "read -P 0 1M 64k",
                "read -P 0x11 1088k 960k", "read -P 0 2M 128k")
            #expect(output.status == 0 && !output.text.contains("verification failed"), "\(output.text)")
            let map = try await Tool.qemuImg("map", "--output=json", "-f", "raw", served.uri())
            #expect(map.status == 0)
            let extents = try #require(
                try JSONSerialization.jsonObject(with: Data(map.text.utf8)) as? [[String: Any]])
            let data = extents.filter { $0["data"] as? Bool == true }
            #expect(data.map { $0["start"] as? Int } == [0, 1088 << 10, 2176 << 10])
            #expect(data.map { $0["length"] as? Int } == [73728, 960 << 10, 896 << 10])
        }
    }
}
