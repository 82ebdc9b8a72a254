"""The handshake's options and the newer half of the protocol, as libnbd and raw sockets drive them; and what must be
refused without ending the session."""

import errno
import os
import socket
import struct

import nbd

from harness import KIB, MIB, check, contains, equal, wait_until
from test_nbd_protocol import fails, raw

ACK, SERVER, INFO, META_CONTEXT = 1, 2, 3, 4
UNSUPPORTED, POLICY, INVALID, UNKNOWN = (1 << 31 | n for n in (1, 2, 3, 6))
ABORT, LIST, STARTTLS, GET_INFO, GO, STRUCTURED, LIST_CONTEXT, SET_CONTEXT, EXTENDED = 2, 3, 5, 6, 7, 8, 9, 10, 11


class Raw:
    """A client that sends what it likes."""

    def __init__(self, server, flags=3):
        self.socket = raw(server)
        self.socket.sendall(struct.pack(">I", flags))

    def received(self, count):
        data = self.socket.recv(count, socket.MSG_WAITALL) if count else b""
        equal(len(data), count, "bytes before the connection ended")
        return data

    def option(self, number, data=b""):
        """The replies: (kind, content), up to the one that ends them."""
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)
        replies = []
        while not replies or not (replies[-1][0] == ACK or replies[-1][0] >> 31):
            magic, echoed, kind, length = struct.unpack(">QIII", self.received(20))
            equal((magic, echoed), (0x3E889045565A9, number), "the reply's magic and option")
            replies.append((kind, self.received(length)))
        return replies

    def extended(self, command, flags, cookie, offset, length, payload=b""):
        """An extended request; returns the reply's chunk: its kind and content."""
        self.socket.sendall(struct.pack(">IHHQQQ", 0x21E41C71, flags, command, cookie, offset, length) + payload)
        magic, _, kind, found, at, size = struct.unpack(">IHHQQQ", self.received(32))
        equal((magic, found, at), (0x6E8A278C, cookie, offset), "the extended reply's magic, cookie and offset")
        return kind, self.received(size)

    def simple(self, command, flags, cookie, offset, length, payload=b""):
        """A request; returns the error of the simple reply, or of the structured chunk."""
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, flags, command, cookie, offset, length) + payload)
        magic, error, found = struct.unpack(">IIQ", self.received(16))
        equal((magic, found), (0x67446698, cookie), "the simple reply's magic and cookie")
        return error

    def ended(self):
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


def named(name, *information):
    encoded = name.encode()
    return struct.pack(">I", len(encoded)) + encoded + struct.pack(f">H{len(information)}H", len(information), *information)


def contexts(name, *queries):
    encoded = [q.encode() for q in queries]
    body = b"".join(struct.pack(">I", len(q)) + q for q in encoded)
    return struct.pack(">I", len(name)) + name.encode() + struct.pack(">I", len(encoded)) + body


def test_a_client_with_extended_headers_is_served(t):
    store, server = t.served()
    client = Raw(server)
    equal(client.option(EXTENDED)[-1][0], ACK, "EXTENDED_HEADERS")
    equal(client.option(SET_CONTEXT, contexts("vol", "base:allocation"))[0][0], META_CONTEXT, "SET_META_CONTEXT")
    equal(client.option(GO, named("vol"))[-1][0], ACK, "GO")
    payload, none, offset_data, error = 1 << 5, 0, 1, 1 << 15 | 1
    equal(client.extended(1, payload, 1, 8 * KIB, 4096, b"extended" * 512)[0], none, "WRITE")
    kind, content = client.extended(0, 0, 2, 8 * KIB, 4096)
    equal((kind, content[8:]), (offset_data, b"extended" * 512), "READ: an offset and the data")
    kind, content = client.extended(7, 0, 3, 0, 64 * MIB)
    equal(kind, 6, "BLOCK_STATUS of all with 64-bit extents")
    extents = [struct.unpack_from(">QQ", content, 8 + at) for at in range(0, len(content) - 8, 16)]
    equal(extents[:2], [(8 * KIB, 3), (4 * KIB, 0)], "extents")
    # Effect lengths have 64 bits: all of a volume in one request.
    equal(client.extended(6, 0, 4, 0, 64 * MIB)[0], none, "WRITE_ZEROES of everything")
    equal(bytes(server.connect().pread(4096, 8 * KIB)), bytes(4096), "what was zeroed")
    kind, content = client.extended(0, 0, 5, 64 * MIB, 4096)
    check(kind & 1 << 15, f"a read beyond the end is a chunk of errors: {kind}")
    equal(struct.unpack_from(">I", content)[0], errno.EINVAL, "its error")
    equal(client.extended(3, 0, 6, 0, 0)[0], none, "FLUSH on the same connection")


def test_each_option_is_answered_and_the_session_goes_on(t):
    store, server = t.served(names=("vol", "other"))
    client = Raw(server)
    equal({name[4:] for kind, name in client.option(LIST) if kind == SERVER}, {b"vol", b"other"}, "LIST")
    equal(client.option(LIST, b"x")[-1][0], INVALID, "LIST with data")
    equal(client.option(77)[-1][0], UNSUPPORTED, "an option that nobody knows")
    check(client.option(STARTTLS)[-1][0] in (UNSUPPORTED, POLICY), "STARTTLS without TLS")
    equal(client.option(GET_INFO, named("absent"))[-1][0], UNKNOWN, "INFO of an export that is not there")
    equal(client.option(GO, named("absent"))[-1][0], UNKNOWN, "GO to an export that is not there")
    equal(client.option(GET_INFO, b"\0\0")[-1][0], INVALID, "INFO cut short")
    equal(client.option(GET_INFO, struct.pack(">IH", 1 << 20, 0))[-1][0], INVALID, "INFO with a name beyond its end")
    replies = client.option(GET_INFO, named("vol", 1, 2, 3))
    found = {struct.unpack(">H", content[:2])[0]: content[2:] for kind, content in replies if kind == INFO}
    equal(found[1], b"vol", "INFO: the name")
    equal(struct.unpack(">QH", found[0])[0], 64 * MIB, "INFO: the size")
    smallest, preferred, largest = struct.unpack(">III", found[3])
    check(smallest == 1 and preferred == 4096 and largest >= 32 * MIB, f"INFO: block sizes {found[3]}")
    equal(client.option(SET_CONTEXT, contexts("vol", "base:allocation"))[-1][0], INVALID,
          "SET_META_CONTEXT before structured replies")
    equal(client.option(STRUCTURED)[-1][0], ACK, "STRUCTURED_REPLY")
    equal([c[4:] for kind, c in client.option(LIST_CONTEXT, contexts("vol")) if kind == META_CONTEXT],
          [b"base:allocation"], "LIST_META_CONTEXT of everything")
    equal([c[4:] for kind, c in client.option(LIST_CONTEXT, contexts("vol", "base:")) if kind == META_CONTEXT],
          [b"base:allocation"], "LIST_META_CONTEXT of base:")
    equal(len(client.option(SET_CONTEXT, contexts("vol", "qemu:dirty-bitmap:x"))), 1, "a context that is not there")
    equal(client.option(SET_CONTEXT, contexts("absent", "base:allocation"))[-1][0], UNKNOWN, "of no export")
    equal(client.option(ABORT)[-1][0], ACK, "ABORT")
    check(client.ended(), "ABORT ends the session")
    without_zeroes = Raw(server, flags=1)
    without_zeroes.socket.sendall(b"IHAVEOPT" + struct.pack(">II", 1, 3) + b"vol")
    equal(without_zeroes.received(10 + 124)[10:], bytes(124), "EXPORT_NAME with its 124 zeroes")


def test_requests_that_cannot_be_meant_get_an_error_and_the_connection_lives(t):
    store, server = t.served()
    client = Raw(server)
    client.socket.sendall(b"IHAVEOPT" + struct.pack(">II", 1, 3) + b"vol")
    client.received(10)
    read, write, flush, trim, cache, zero, status, resize = 0, 1, 3, 4, 5, 6, 7, 8
    end = 64 * MIB
    for cookie, (what, expected, *request) in enumerate((
        ("an unknown command", (errno.EINVAL,), 99, 0, 0, 4096),
        ("RESIZE, which nobody implements", (errno.EINVAL,), resize, 0, 0, 4096),
        ("BLOCK_STATUS without a context", (errno.EINVAL,), status, 0, 0, 4096),
        ("a read with an unknown flag", (errno.EINVAL,), read, 1 << 9, 0, 4096),
        ("a trim with NO_HOLE", (errno.EINVAL,), trim, 1 << 1, 0, 4096),
        ("a read with DF without structured replies", (0, errno.EINVAL), read, 1 << 2, 0, 0),
        ("a read that wraps around", (errno.EINVAL,), read, 0, (1 << 64) - 4096, 8192),
        ("zeroes that wrap around", (errno.EINVAL, errno.ENOSPC), zero, 0, (1 << 64) - 4096, 8192),
        ("a trim beyond the end", (errno.EINVAL,), trim, 0, end, 4096),
        ("a cache beyond the end", (errno.EINVAL,), cache, 0, end, 4096),
        ("zeroes beyond the end", (errno.ENOSPC,), zero, 0, end, 4096),
        ("a flush with a flag that it has not", (0, errno.EINVAL), flush, 1 << 4, 0, 0),
        ("a write of nothing", (0, errno.EINVAL), write, 0, 0, 0),
        ("a read of nothing", (0, errno.EINVAL), read, 0, 0, 0),
        ("a cache", (0,), cache, 0, 0, MIB),
        ("a flush", (0,), flush, 0, 0, 0),
    )):
        error = client.simple(request[0], request[1], cookie, *request[2:])
        check(error in expected, f"{what}: error {error}, not {expected}")
    # The payload of a refused write is taken off the line.
    equal(client.simple(write, 0, 100, end, 4096, os.urandom(4096)), errno.ENOSPC, "a write beyond the end")
    equal(client.simple(write, 1 << 9, 101, 0, 4096, os.urandom(4096)), errno.EINVAL, "a write with an unknown flag")
    equal(client.simple(flush, 0, 102, 0, 0), 0, "the next request")
    equal(bytes(server.connect().pread(4096, 0)), bytes(4096), "nothing was written")
    # What is no request at all cannot be followed by one.
    client.socket.sendall(os.urandom(28))
    check(client.ended(), "garbage ends the connection")
    check(server.is_running(), "the server runs on")


def test_libnbd_lists_asks_and_changes_its_mind_before_it_goes(t):
    store, server = t.served(names=("vol", "other"))
    handle = nbd.NBD()
    handle.set_opt_mode(True)
    handle.add_meta_context("base:allocation")
    handle.connect_uri(server.uri("absent"))
    names = []
    handle.opt_list(lambda name, description: names.append(name))
    equal(sorted(names), ["other", "vol"], "opt_list")
    fails("opt_info of an export that is not there", errno.ENOENT, handle.opt_info)
    fails("opt_go to it", errno.ENOENT, handle.opt_go)
    handle.set_export_name("other")
    handle.opt_info()
    equal(handle.get_size(), 64 * MIB, "opt_info")
    seen = []
    handle.opt_list_meta_context(lambda name: seen.append(name))
    contains(str(seen), "base:allocation", "opt_list_meta_context")
    handle.set_export_name("vol")
    handle.opt_go()
    handle.pwrite(b"went", 0)
    equal(bytes(server.connect("other").pread(4, 0)), bytes(4), "the export that it did not take")
    equal(bytes(server.connect().pread(4, 0)), b"went", "the one that it took")
    away = nbd.NBD()
    away.set_opt_mode(True)
    away.connect_uri(server.uri())
    away.opt_abort()


def test_structured_errors_name_the_place_and_leave_the_rest_readable(t):
    store, server = t.served()
    handle = server.connect(strict=False, contexts=["base:allocation"])
    handle.pwrite(b"x" * MIB, 0)
    fails("a read across the end", errno.EINVAL, lambda: handle.pread_structured(
        8192, 64 * MIB - 4096, lambda *chunk: 0))
    fails("block status across the end", errno.EINVAL,
          lambda: handle.block_status(8192, 64 * MIB - 4096, lambda *extents: 0))
    try:
        handle.pread_structured(32 * MIB, 0, lambda *chunk: 0, nbd.CMD_FLAG_DF)
    except nbd.Error as error:
        equal(error.errnum, errno.EOVERFLOW, "a large read that must not be fragmented")
    chunks = []
    handle.pread_structured(2 * MIB, 0, lambda data, at, kind, error: chunks.append((at, len(data), kind)))
    data = sum(length for _, length, kind in chunks if kind == nbd.READ_DATA)
    check(data >= MIB and {kind for *_, kind in chunks} == {nbd.READ_DATA, nbd.READ_HOLE}, f"data and holes: {chunks}")
    for flags in (nbd.CMD_FLAG_FUA, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FAST_ZERO,
                  nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FAST_ZERO):
        handle.zero(4096, 4096, flags)
    for flags in (0, nbd.CMD_FLAG_FUA):
        handle.trim(4096, 8192, flags)
        handle.pwrite(b"y" * 512, 1, flags)
    equal(bytes(handle.pread(514, 0)), b"x" + b"y" * 512 + b"x", "what was written")
    equal(bytes(handle.pread(8192, 4096)), bytes(8192), "what was zeroed and trimmed")


def test_many_connections_come_go_and_break_while_one_works(t):
    store, server = t.served()
    worker = server.connect()
    for round in range(30):
        worker.pwrite(bytes([round]) * 4096, round * 4096)
        broken = Raw(server)
        if round % 3 == 0:
            broken.option(GO, named("vol"))
            broken.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 1, 32 * MIB, MIB) + b"half")
        elif round % 3 == 1:
            broken.socket.sendall(b"IHAVEOPT" + struct.pack(">II", GO, 100) + b"half")
        broken.socket.close()
        handles = [server.connect() for _ in range(4)]
        for handle in handles:
            equal(bytes(handle.pread(1, round * 4096)), bytes([round]), "what the worker wrote")
    worker.flush()
    equal(bytes(worker.pread(4, 32 * MIB)), bytes(4), "writes that were not sent whole")
    del handle, handles

    def connections():
        return next(e["connections"] for e in server.stats()["exports"] if e["name"] == "vol")

    wait_until(lambda: connections() == 1, 10, "the server to forget all connections but one")
