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

    /// libnbd drives every command and flag, over TCP, and asserts in Python what it expects.
    @Test func libnbdUsesEveryCommand() async throws {
        let device = MemoryDevice(size: 16 << 20)
        try await Served.with(device) { served in
            let output = try await Tool.nbdsh(
                served.tcpURI(),
                """
                h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
                h.set_full_info(True)
                h.connect_uri(uri)
                assert h.get_size() == 16 << 20 and h.get_structured_replies_negotiated()
                assert h.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION) and h.can_multi_conn() and not h.is_read_only()
                assert h.can_flush() and h.can_fua() and h.can_trim() and h.can_zero() and h.can_fast_zero()
                assert h.can_cache() and h.can_df() and not h.is_rotational()
                assert h.get_block_size(nbd.SIZE_MAXIMUM) == 32 << 20 and h.get_export_description() == 'memory of 16M'
                data = bytes(range(256)) * 1000
                h.pwrite(data, 777)
                assert h.pread(len(data), 777) == data
                h.pwrite(data, 5 << 20, nbd.CMD_FLAG_FUA)
                chunks = []
                def chunk(part, offset, status, error): chunks.append((offset, len(part), status))
                assert h.pread_structured(1 << 20, 5 << 20, chunk)[:len(data)] == data
                assert [c[2] for c in chunks] == [nbd.READ_DATA, nbd.READ_HOLE], chunks
                chunks.clear()
                h.pread_structured(1 << 20, 5 << 20, chunk, nbd.CMD_FLAG_DF)
                assert len(chunks) == 1 and chunks[0][1] == 1 << 20
                h.flush()
                h.zero(4096, 5 << 20)
                h.zero(4096, (5 << 20) + 4096, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_FUA)
                assert h.pread(8192, 5 << 20) == bytes(8192)
                h.trim(8192, 777)
                assert h.pread(8192, 777) == bytes(8192)
                h.cache(1 << 20, 0)
                found = []
                def extents(context, offset, entries, error): found.append((context, offset, entries))
                h.block_status(16 << 20, 0, extents)
                assert found[0][0] == 'base:allocation' and sum(found[0][2][0::2]) == 16 << 20, found
                assert found[0][2][1::2] == [0, 3, 0, 3, 0, 3], found
                found.clear()
                h.block_status(16 << 20, 0, extents, nbd.CMD_FLAG_REQ_ONE)
                assert len(found[0][2]) == 2
                h.shutdown()
                print('ok')
                """)
            #expect(output.text.hasSuffix("ok\n"), "\(output.text)")
            #expect(device.calls.flushes == 1 && device.calls.prefetches == 1)
            #expect(try await eventually { served.directory.attachedCount == 0 })
        }
    }

    /// A client without manners gets errors, not silence, and the connection goes on.
    @Test(arguments: [true, false]) func libnbdWithoutStrictnessMeetsTheSpecifiedErrors(structured: Bool) async throws {
        try await Served.with(MemoryDevice(size: 1 << 20)) { served in
            let output = try await Tool.nbdsh(
                served.uri(),
                """
                h.set_request_structured_replies(\(structured ? "True" : "False"))
                h.connect_uri(uri)
                h.set_strict_mode(0)
                def fails(code, call, *arguments):
                    try:
                        call(*arguments)
                    except nbd.Error as error:
                        assert error.errnum == code, (error, code, arguments)
                        return
                    assert False, ('no error', arguments)
                size = h.get_size()
                for offset, count in [(size, 1), (size - 1, 2), (1 << 62, 512), (0, size + 1)]:
                    fails(errno.EINVAL, h.pread, count, offset)
                    fails(errno.ENOSPC, h.pwrite, bytes(count), offset)
                    fails(errno.ENOSPC, h.zero, count, offset)
                    fails(errno.EINVAL, h.trim, count, offset)
                    fails(errno.EINVAL, h.cache, count, offset)
                fails(errno.EINVAL, h.pread, (32 << 20) + 1, 0)
                fails(errno.EINVAL, h.pwrite, bytes((32 << 20) + 1), 0)
                fails(errno.EINVAL, h.pwrite, b'x' * 512, 0, nbd.CMD_FLAG_NO_HOLE)
                fails(errno.EINVAL, h.trim, 512, 0, nbd.CMD_FLAG_FAST_ZERO)
                fails(errno.EINVAL, h.zero, 512, 0, nbd.CMD_FLAG_REQ_ONE)
                fails(errno.EINVAL, h.flush, nbd.CMD_FLAG_DF)
                fails(errno.EINVAL, h.cache, 512, 0, 0x8000)
                h.zero(0, 0)
                h.trim(0, size)
                assert h.pread(512, size - 512) == bytes(512)
                print('ok')
                """)
            #expect(output.text.hasSuffix("ok\n"), "\(output.text)")
        }
    }

    @Test func libnbdHagglesThroughEveryOption() async throws {
        let directory = MemoryDirectory(MemoryDevice("a"), MemoryDevice("b", isReadOnly: true), MemoryDevice("held"))
        directory.refuse("held", StorageError(.busy, "held by another host"))
        try await Served.with(directory) { served in
            let output = try await Tool.nbdsh(
                served.uri(),
                """
                h.set_opt_mode(True)
                h.connect_uri(uri)
                names = []
                h.opt_list(lambda name, description: names.append(name))
                assert names == ['a', 'b', 'held'], names
                for name in ['', 'none', 'held']:
                    h.set_export_name(name)
                    for call in [h.opt_info, h.opt_go]:
                        try:
                            call()
                            assert False, name
                        except nbd.Error as error: pass
                h.set_export_name('b')
                h.set_request_block_size(True)
                h.set_full_info(True)
                h.opt_info()
                assert h.is_read_only() and h.get_canonical_export_name() == 'b'
                contexts = []
                h.opt_list_meta_context(lambda name: contexts.append(name))
                assert contexts == ['base:allocation'], contexts
                h.opt_go()
                try:
                    h.set_strict_mode(0)
                    h.pwrite(b'x', 0)
                    assert False
                except nbd.Error as error: assert error.errnum == errno.EPERM
                h.shutdown()
                again = nbd.NBD()
                again.set_opt_mode(True)
                again.connect_uri(uri)
                again.opt_abort()
                print('ok')
                """)
            #expect(output.text.hasSuffix("ok\n"), "\(output.text)")
        }
    }

    /// Several connections write and verify their parts at once, answered at once or by tasks.
    @Test(arguments: ["now", "later", "mixed"]) func fioVerifiesWhatSeveralConnectionsWrote(answers: String)
        async throws
    {
        let device = MemoryDevice(size: 64 << 20)
        device.behave {
            $0.answersNow = answers != "later"
            $0.alternates = answers == "mixed"
        }
        try await Served.with(device) { served in
            let output = try await Tool.fio(
                "--name=parts", "--ioengine=nbd", "--uri=\(served.uri())", "--thread", "--numjobs=4", "--size=4m",
                "--offset_increment=8m", "--rw=randwrite", "--bsrange=512-256k", "--bs_unaligned", "--iodepth=16",
                "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--fsync=16", "--trim_percentage=0",
                "--group_reporting")
            #expect(output.status == 0 && !output.text.contains("verify: bad"), "\(output.text.suffix(2000))")
            #expect(device.calls.flushes > 0)
        }
    }
}
