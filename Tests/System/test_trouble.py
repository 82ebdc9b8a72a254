"""Full disks, stores that go away, and slow ones: slower, then a clear error, never a crash, and nothing lost."""

import errno
import os
import select
import socket
import threading
import time

import nbd

from devices import SmallFileSystem
from harness import KIB, MIB, Background, check, contains, equal, mark, wait_until
from history import History
from objectstores import S3Access


class Gate:
    """A TCP proxy to a server, which can be shut: then it refuses, or hangs."""

    def __init__(self, case, port):
        self.target = port
        self.mode = "open"
        self.sockets = []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()
        case.at_end(self.listener.close)

    def shut(self, mode="refuse"):
        self.mode = mode
        sockets, self.sockets = self.sockets, []
        for one in sockets if mode == "refuse" else []:
            self.cut(one)

    @staticmethod
    def cut(one):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def open(self):
        self.mode = "open"

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.mode == "refuse":
                client.close()
                continue
            threading.Thread(target=self.pump, args=(client,), daemon=True).start()

    def pump(self, client):
        with client, socket.socket() as server:
            try:
                server.connect(("127.0.0.1", self.target))
                self.sockets += [client, server]
                while True:
                    readable, _, _ = select.select([client, server], [], [], 0.5)
                    while self.mode == "hang":
                        time.sleep(0.05)
                    for one in readable:
                        data = one.recv(1 << 16)
                        if not data:
                            return
                        (server if one is client else client).sendall(data)
            except OSError:
                return


def gated_store(t, settings):
    """A store in an S3 server behind a gate."""
    access = t.resources.access["moto"]
    gate = Gate(t, int(access.endpoint.rsplit(":", 1)[1]))
    return t.store("moto", access=S3Access(f"http://127.0.0.1:{gate.port}", *access[1:]), settings=settings), gate


@mark(limit=90, needs=("moto",))
def test_a_store_that_goes_away_and_comes_back_loses_nothing(t):
    store, gate = gated_store(t, {})
    store.zerofs("create", "vol", "--size", "64M")
    server = store.serve()
    history = History(0, 8 * MIB // 512, 50)
    handle = server.connect()
    for _ in range(50):
        history.step(handle)
    history.flush(handle)
    gate.shut()
    for _ in range(100):
        history.step(handle)
    waiting = Background(lambda stopping: history.flush(handle))
    wait_until(lambda: str(gate.port) in server.log.read_text(), 30, "the log to name the store that does not answer")
    server.await_event("store-away", 20)
    check(waiting.thread.is_alive(), "a flush waits for a store that is away")
    check(not server.has_logged("store-back"), "the log says that a store is back which is away")
    status, _ = server.http("GET", "/healthz")
    equal(status, 200, "the server answers meanwhile")
    gate.open()
    waiting.join(40)
    server.await_event("store-back")
    server.kill()
    store.lose_data_directory()
    server.options += ["--take-over", "vol", "--accept", "vol"]
    server.start()
    history.verify(server.connect(), history.flushed, "after the outage")


@mark(limit=90, needs=("moto",))
def test_a_store_deadline_turns_waiting_into_an_error_and_the_server_recovers(t):
    store, gate = gated_store(t, {"write.store_deadline": "3s"})
    store.zerofs("create", "vol", "--size", "64M")
    server = store.serve()
    handle = server.connect()
    handle.pwrite(b"before".ljust(4096), 0)
    handle.flush()
    gate.shut()
    handle.pwrite(b"during".ljust(4096), 4096)
    began = time.monotonic()
    try:
        handle.flush()
        failed = False
    except nbd.Error:
        failed = True
    took = time.monotonic() - began
    check(failed, "a flush succeeded without its store")
    check(took < 20, f"the flush failed after {took:.0f} s, not after its deadline of 3 s")
    server.await_event("deadline-passed")
    check(server.is_running(), "the server runs on")
    gate.open()

    def flushes():
        try:
            again = server.connect()
            equal(bytes(again.pread(6, 4096)), b"during", "the write, afterwards")
            again.flush()
            return True
        except nbd.Error:
            return False

    wait_until(flushes, 40, "flushes to work again", pause=0.5)


@mark(limit=90, needs=("moto",))
def test_commands_say_that_the_store_does_not_answer(t):
    store, gate = gated_store(t, {})
    store.zerofs("create", "vol", "--size", "64M")
    gate.shut()
    began = time.monotonic()
    done = store.zerofs("list", expect="failed")
    check(time.monotonic() - began < 45, "a command gives up in good time")
    contains(done.err, f"127.0.0.1:{gate.port}", "the message names the server")


@mark(limit=90)
def test_a_full_data_disk_is_a_clear_error_and_no_crash(t):
    store = t.store()
    small = SmallFileSystem(t, "small", "20M")
    store.configure({"data.directory": str(small.path / "data")})
    store.data = small.path / "data"
    store.zerofs("create", "vol", "--size", "64M")
    server = store.serve()
    handle = nbd.NBD()
    try:
        handle.connect_uri(server.uri())
        handle.pwrite(os.urandom(16 * MIB), 0)
        handle.flush()
    except nbd.Error:
        # It may fail, once the log has said why.
        pass
    server.await_event("disk-full")
    check(server.is_running(), f"the server runs on: {server.tail()}")
    small.resize("400M")
    handle = server.connect()
    handle.pwrite(b"now there is room".ljust(4096), 0)
    handle.flush()
    equal(server.restart().connect().pread(3, 0), b"now", "after a restart")


def full_store(t, settings):
    """A server whose store has room for 48 MiB, and a client that wrote 80 MiB."""
    small = SmallFileSystem(t, "small", "48M")
    store = t.store(location=small.path / "store", settings=settings)
    store.zerofs("create", "vol", "--size", "256M")
    server = store.serve()
    handle = server.connect()
    first = os.urandom(MIB)
    handle.pwrite(first, 0)
    handle.flush()
    for i in range(1, 80):
        handle.pwrite(first[i:] + first[:i], i * MIB)
    return small, store, server, handle, first


def all_is_there(handle, first):
    for i in range(80):
        equal(bytes(handle.pread(MIB, i * MIB)) == first[i:] + first[:i], True, f"MiB {i}")


@mark(limit=90)
def test_a_flush_waits_for_a_full_store_and_the_log_says_why(t):
    small, store, server, handle, first = full_store(t, {})
    waiting = Background(lambda stopping: handle.flush())
    server.await_event("disk-full", 30)
    check(waiting.thread.is_alive(), "80 MiB were flushed into 48 MiB")
    status, _ = server.http("GET", "/healthz")
    equal(status, 200, "the server answers meanwhile")
    # The flush holds its own handle.
    all_is_there(server.connect(), first)
    small.resize("400M")
    waiting.join(40)
    server.kill()
    store.lose_data_directory()
    server.options += ["--take-over", "vol", "--accept", "vol"]
    server.start()
    all_is_there(server.connect(), first)
    store.zerofs("verify", "--deep")


@mark(limit=90)
def test_with_a_deadline_a_full_store_fails_flushes_and_goes_on_when_there_is_room(t):
    small, store, server, handle, first = full_store(t, {"write.store_deadline": "3s"})
    try:
        handle.flush()
        failure = None
    except nbd.Error as error:
        failure = error
    check(failure is not None, "80 MiB were flushed into 48 MiB")
    equal(failure.errnum, errno.ENOSPC, f"what the client sees ({failure})")
    check(server.is_running(), f"the server runs on: {server.tail()}")
    small.resize("400M")

    def flushes():
        try:
            server.connect().flush()
            return True
        except nbd.Error:
            return False

    wait_until(flushes, 30, "flushes to work again", pause=0.5)
    all_is_there(server.restart().connect(), first)
    store.zerofs("verify", "--deep")


@mark(limit=90)
def test_commands_on_a_full_store_leave_nothing_half_done(t):
    small = SmallFileSystem(t, "small", "2M")
    store = t.store(location=small.path / "store")
    store.zerofs("create", "vol", "--size", "1G")
    with open(small.path / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    done = store.zerofs("create", "two", "--size", "1G", expect="failed")
    check(
        "space" in done.err.lower() or "full" in done.err.lower(), f"the message says that it is full: {done.err!r}"
    )
    equal([v["name"] for v in store.json("list")], ["vol"], "volumes")
    os.unlink(small.path / "filler")
    store.zerofs("create", "two", "--size", "1G")
    store.zerofs("verify")


@mark(limit=60)
def test_writes_faster_than_the_store_wait_and_memory_stays_bounded(t):
    store, server = t.served(
        size="1G", settings={"write.buffer_size": "32M", "cache.memory_size": "16M", "write.uploads": 2}
    )
    handle = server.connect()
    data = os.urandom(4 * MIB)
    for i in range(100):
        handle.pwrite(data[i * 4096 :] + data[: i * 4096], i * 4 * MIB)
    handle.flush()
    memory = store.json("stats")["memory"]["residentBytesPeak"]
    check(
        memory < 350 * MIB, f"{memory / MIB:.0f} MiB of memory for a write buffer of 32 MiB and caches of 16 + 64 MiB"
    )


def test_a_client_that_stops_reading_does_not_stop_the_others(t):
    store, server = t.served(size="64M")
    handle = server.connect()
    handle.pwrite(os.urandom(8 * MIB), 0)
    stuck = socket.socket(socket.AF_UNIX)
    stuck.connect(str(server.socket))
    import struct

    stuck.recv(18, socket.MSG_WAITALL)
    stuck.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 3) + b"vol")
    stuck.recv(10, socket.MSG_WAITALL)
    stuck.settimeout(1)
    try:
        for i in range(2000):
            stuck.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, i, 0, MIB))
    except TimeoutError:
        pass
    for i in range(50):
        handle.pwrite(b"y" * 4 * KIB, i * 4096)
        handle.pread(MIB, 0)
    handle.flush()
    stuck.close()
