"""The protocol as libnbd speaks it: every command with its flags, several connections, and what must be refused."""

import errno
import os
import socket
import struct

import nbd

from harness import GIB, KIB, MIB, Failure, check, contains, equal, mark, wait_until


def fails(what, number, action):
    """The action must fail with this error number."""
    try:
        action()
    except nbd.Error as error:
        equal(error.errnum, number, f"{what} ({error})")
    else:
        raise Failure(f"{what} succeeded")


def holes(handle, count, offset, flags=0):
    """(length, is a hole, reads as zeroes) of an area."""
    found = []
    handle.block_status(
        count, offset, lambda name, at, entries, error: found.extend(zip(entries[::2], entries[1::2])), flags
    )
    return [(length, bool(flags & nbd.STATE_HOLE), bool(flags & nbd.STATE_ZERO)) for length, flags in found]


def test_each_command_does_what_it_says_with_each_of_its_flags(t):
    store, server = t.served()
    h = server.connect(contexts=["base:allocation"])
    for name in (
        "can_flush",
        "can_fua",
        "can_trim",
        "can_zero",
        "can_fast_zero",
        "can_df",
        "can_cache",
        "can_multi_conn",
    ):
        check(getattr(h, name)(), name)
    check(not h.is_read_only() and not h.is_rotational(), "a writable device that does not rotate")
    data = os.urandom(256 * KIB)
    h.pwrite(data, 0)
    h.pwrite(data, MIB, nbd.CMD_FLAG_FUA)
    equal(h.pread(len(data), 0), data, "write")
    equal(h.pread(len(data), MIB), data, "write with FUA")
    h.zero(64 * KIB, 0)
    h.zero(64 * KIB, 64 * KIB, nbd.CMD_FLAG_FUA)
    h.zero(64 * KIB, MIB, nbd.CMD_FLAG_NO_HOLE)
    h.zero(64 * KIB, MIB + 64 * KIB, nbd.CMD_FLAG_FAST_ZERO)
    equal(h.pread(128 * KIB, 0) + h.pread(128 * KIB, MIB), bytes(256 * KIB), "zeroes")
    h.trim(64 * KIB, 128 * KIB)
    h.trim(64 * KIB, MIB + 128 * KIB, nbd.CMD_FLAG_FUA)
    equal(h.pread(64 * KIB, 128 * KIB), bytes(64 * KIB), "what was trimmed reads as zeroes")
    equal(h.pread(64 * KIB, 192 * KIB), data[192 * KIB :], "what stands beside it")
    h.cache(MIB, 0)
    h.flush()
    chunks = []
    h.pread_structured(
        256 * KIB, 0, lambda part, offset, status, error: chunks.append((offset, len(part), status)), nbd.CMD_FLAG_DF
    )
    equal([c[:2] for c in chunks if c[2] == nbd.READ_DATA], [(0, 256 * KIB)], "a read that must not be fragmented")
    chunks.clear()
    h.pread_structured(256 * KIB, 0, lambda part, offset, status, error: chunks.append((offset, len(part), status)))
    check(any(c[2] == nbd.READ_HOLE for c in chunks), f"a structured read says where zeroes are: {chunks}")


def test_block_status_tells_data_from_holes_and_merges_neighbours(t):
    store, server = t.served()
    h = server.connect(contexts=["base:allocation"])
    equal(sum(n for n, hole, zero in holes(h, 64 * MIB, 0) if hole and zero), 64 * MIB, "a new volume is one hole")
    h.pwrite(b"x" * 8 * KIB, 4 * KIB)
    h.pwrite(b"x" * 8 * KIB, 12 * KIB)
    h.pwrite(b"x", 100 * KIB)
    expected = [(4 * KIB, True, True), (16 * KIB, False, False), (80 * KIB, True, True), (4 * KIB, False, False)]
    equal(holes(h, MIB, 0)[:4], expected, "extents")
    one = holes(h, MIB, 4 * KIB, nbd.CMD_FLAG_REQ_ONE)
    equal(len(one), 1, "extents with REQ_ONE")
    h.flush()
    equal(holes(h, MIB, 0)[:4], expected, "extents after a flush")
    h.trim(16 * KIB, 4 * KIB)
    equal(holes(h, MIB, 0)[0], (100 * KIB, True, True), "extents after a trim")
    server.restart()
    h = server.connect(contexts=["base:allocation"])
    equal(holes(h, MIB, 0)[:2], [(100 * KIB, True, True), (4 * KIB, False, False)], "extents after a restart")


def test_requests_of_any_offset_and_length_are_served(t):
    store, server = t.served(size="2M")
    h = server.connect()
    model = bytearray(2 * MIB)
    for offset, count in (
        (0, 1),
        (511, 2),
        (4095, 2),
        (4096, 4096),
        (4097, 1),
        (10000, 70001),
        (2 * MIB - 1, 1),
        (2 * MIB - 5000, 5000),
        (131071, 131074),
    ):
        data = os.urandom(count)
        h.pwrite(data, offset)
        model[offset : offset + count] = data
    for offset, count in ((300, 7), (12345, 54321), (65535, 2)):
        h.zero(count, offset)
        model[offset : offset + count] = bytes(count)
    equal(bytes(h.pread(2 * MIB, 0)) == bytes(model), True, "the volume equals the model")
    h.flush()
    server.kill().start()
    equal(
        bytes(server.connect().pread(2 * MIB, 0)) == bytes(model), True, "the volume equals the model after SIGKILL"
    )


def test_a_volume_works_to_its_last_byte_and_no_size_but_whole_blocks_is_taken(t):
    store = t.store()
    done = store.zerofs("create", "odd", "--size", "1000001", expect="usage")
    contains(done.err, "multiple of 4096", "the message")
    store.zerofs("create", "odd", "--size", str(245 * 4096))
    server = store.serve()
    h = server.connect("odd")
    equal(h.get_size(), 1003520, "size")
    h.pwrite(b"z", 1003519)
    equal(h.pread(1, 1003519), b"z", "the last byte")
    h = server.connect("odd", strict=False)
    fails("a read beyond the end", errno.EINVAL, lambda: h.pread(2, 1003519))


def test_what_one_connection_flushed_another_reads(t):
    store, server = t.served()
    handles = [server.connect() for _ in range(4)]
    for round in range(20):
        writer, reader = handles[round % 4], handles[(round + 1) % 4]
        data = os.urandom(16 * KIB)
        writer.pwrite(data, round * 16 * KIB)
        equal(
            reader.pread(16 * KIB, round * 16 * KIB),
            data,
            "a write that was acknowledged, seen by another connection",
        )
    # A flush on any connection covers what all had acknowledged.
    handles[0].pwrite(b"p" * 4096, 4 * MIB)
    handles[1].flush()
    server.kill()
    store.lose_data_directory()
    server.options += ["--take-over", "vol", "--accept", "vol"]
    server.start()
    equal(server.connect().pread(1, 4 * MIB), b"p", "what another connection had flushed")


def test_snapshots_refuse_every_kind_of_write(t):
    store, server = t.served()
    server.connect().pwrite(b"kept", 0)
    store.zerofs("snapshot", "vol", "--name", "s")
    h = server.connect("vol@s", strict=False)
    check(h.is_read_only(), "read-only")
    fails("write", errno.EPERM, lambda: h.pwrite(b"x", 0))
    fails("zero", errno.EPERM, lambda: h.zero(4096, 0))
    fails("trim", errno.EPERM, lambda: h.trim(4096, 0))
    equal(h.pread(4, 0), b"kept", "the snapshot")


def test_malformed_requests_get_the_errors_that_the_specification_asks_for(t):
    store, server = t.served()
    h = server.connect(strict=False)
    end = 64 * MIB
    fails("a read beyond the end", errno.EINVAL, lambda: h.pread(4096, end))
    fails("a read across the end", errno.EINVAL, lambda: h.pread(8192, end - 4096))
    fails("a write beyond the end", errno.ENOSPC, lambda: h.pwrite(b"x" * 4096, end))
    fails("a write across the end", errno.ENOSPC, lambda: h.pwrite(b"x" * 8192, end - 4096))
    fails("zeroes across the end", errno.ENOSPC, lambda: h.zero(8192, end - 4096))
    fails("a trim across the end", errno.EINVAL, lambda: h.trim(8192, end - 4096))
    fails("a flag that is not known", errno.EINVAL, lambda: h.pwrite(b"x" * 4096, 0, 1 << 13))
    fails("block status without a context", errno.EINVAL, lambda: h.block_status(4096, 0, lambda *a: 0))
    fails("an offset that overflows", errno.EINVAL, lambda: h.pread(4096, (1 << 63) - 4096))
    h.pwrite(b"fine" * 1024, 0)
    equal(h.pread(4, 0), b"fine", "the connection works on")
    check(server.is_running(), "the server runs on")


def raw(server):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(server.socket))
    greeting = client.recv(18, socket.MSG_WAITALL)
    equal(greeting[:16], b"NBDMAGICIHAVEOPT", "the greeting")
    return client


def test_garbage_ends_a_connection_and_never_the_server(t):
    store, server = t.served()
    for garbage in (
        b"",
        b"\0",
        os.urandom(4),
        struct.pack(">I", 0xFFFFFFFF),
        struct.pack(">I", 3) + os.urandom(64),
        struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 6, 0xFFFFFFFF),
        struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 7, 8) + struct.pack(">IHH", 0xFFFFFFF0, 0, 0),
        struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 3) + b"vol" + os.urandom(280),
        struct.pack(">I", 1) + b"IHAVEOPT" + struct.pack(">II", 1, 3) + b"vol" + os.urandom(4096),
    ):
        client = raw(server)
        client.sendall(garbage)
        client.close()
    half = raw(server)
    half.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 3) + b"vol")
    half.recv(4096)
    # A write that announces more than it sends, and a client that goes away.
    half.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 1, 0, MIB) + b"x" * 1000)
    half.close()
    h = server.connect()
    equal(h.pread(4096, 0), bytes(4096), "a write that was not sent whole has no effect")
    wait_until(lambda: server.is_running(), 1, "the server")


def test_an_old_client_without_structured_replies_is_served(t):
    store, server = t.served()
    server.connect().pwrite(b"old" * 100, 5000)
    client = raw(server)
    client.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 3) + b"vol")
    size, flags = struct.unpack(">QH", client.recv(10, socket.MSG_WAITALL))
    equal(size, 64 * MIB, "size")
    client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 77, 5000, 300))
    magic, error, cookie = struct.unpack(">IIQ", client.recv(16, socket.MSG_WAITALL))
    equal((magic, error, cookie), (0x67446698, 0, 77), "the simple reply")
    equal(client.recv(300, socket.MSG_WAITALL), b"old" * 100, "the data")
    client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 78, 0, 0))
    equal(client.recv(1), b"", "the end after DISC")


def test_requests_larger_than_the_maximum_are_refused_and_the_connection_lives(t):
    store = t.store()
    store.zerofs("create", "vol", "--size", "1G")
    server = store.serve()
    h = server.connect(strict=False)
    largest = h.get_block_size(nbd.SIZE_MAXIMUM)
    check(largest >= 32 * MIB, f"the largest request is {largest}")
    data = os.urandom(MIB) * 32
    h.pwrite(data, 0)
    equal(bytes(h.pread(32 * MIB, 0)) == data, True, "a request of 32 MiB")
    client = raw(server)
    client.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 3) + b"vol")
    client.recv(10, socket.MSG_WAITALL)
    client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 0, GIB - 1))
    magic, error, cookie = struct.unpack(">IIQ", client.recv(16, socket.MSG_WAITALL))
    check(error in (errno.EINVAL, errno.EOVERFLOW), f"a read of 1 GiB got error {error}")
    client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 2, 0, 4096))
    equal(struct.unpack(">IIQ", client.recv(16, socket.MSG_WAITALL))[1:], (0, 2), "the next request")


@mark(limit=60)
def test_many_requests_in_flight_are_answered_out_of_order_and_right(t):
    store, server = t.served(size="64M")
    h = server.connect()
    count = 2000
    data = [os.urandom(4096) for _ in range(64)]
    pending = []
    for i in range(count):
        pending.append(h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data[i % 64])), i * 8192))
        if len(pending) > 200:
            finish(h, pending)
    finish(h, pending)
    h.flush()
    buffers = [(i, nbd.Buffer(4096)) for i in range(count)]
    for i, buffer in buffers:
        pending.append(h.aio_pread(buffer, i * 8192))
        if len(pending) > 200:
            finish(h, pending)
    finish(h, pending)
    check(all(bytes(b.to_bytearray()) == data[i % 64] for i, b in buffers), "all replies carry their own data")


def finish(handle, pending):
    while pending:
        pending[:] = [cookie for cookie in pending if not handle.aio_command_completed(cookie)]
        if pending:
            handle.poll(1000)
