"""Branches and snapshots under load: each sees its own writes, whatever the others do."""

import os
import random
import time

import nbd

from harness import KIB, MIB, Background, check, equal, mark
from history import History

REGION = 8 * MIB // 512


def write_until_stopped(server, name, history):
    def work(stopping):
        handle = server.connect(name)
        while not stopping.is_set():
            history.step(handle, flush_every=40)
        handle.flush()
        handle.shutdown()

    return Background(work)


def fork(history, seed):
    """The history of a branch: the same past, a future of its own."""
    copy = History(history.base, history.count, seed)
    copy.writes = list(history.writes)
    copy.timeline = seed
    copy.acknowledged, copy.flushed = history.acknowledged, history.flushed
    return copy


@mark(limit=120)
def test_branches_and_their_source_do_not_see_each_other_under_load(t):
    store, server = t.served(size="16M")
    histories = {"vol": History(0, REGION, 20)}
    handle = server.connect()
    for _ in range(200):
        histories["vol"].step(handle)
    # A tree: children of the volume, and a grandchild.
    for name, source in (("b1", "vol"), ("b2", "vol"), ("b11", "b1")):
        store.zerofs("branch", source, name)
        histories[name] = fork(histories[source], 20 + len(histories))
    running = [write_until_stopped(server, name, history) for name, history in histories.items()]
    time.sleep(3)
    for one in running:
        one.join()
    for name, history in histories.items():
        history.verify(server.connect(name), history.acknowledged, name)
    server.kill().start()
    for name, history in histories.items():
        history.verify(server.connect(name), history.acknowledged, f"{name} after SIGKILL")
    store.zerofs("delete", "vol")
    store.zerofs("gc")
    server.restart()
    for name, history in list(histories.items())[1:]:
        history.verify(
            server.connect(name), history.acknowledged, f"{name} after its ancestor was deleted and gc ran"
        )
    store.zerofs("verify", "--deep")


@mark(limit=120)
def test_snapshots_under_load_hold_each_acknowledged_write_and_no_later_one(t):
    store, server = t.served(size="16M")
    history = History(0, REGION, 30)
    running = write_until_stopped(server, "vol", history)
    taken = []
    for i in range(8):
        time.sleep(0.2)
        before = history.acknowledged
        command = ("snapshot", "vol", "--name", f"s{i}") if i % 2 else ("branch", "vol", f"s{i}")
        store.zerofs(*command)
        taken.append((f"vol@s{i}" if i % 2 else f"s{i}", before, len(history.writes)))
    running.join()
    for name, at_least, at_most in taken:
        history.verify(server.connect(name), at_least, name, at_most=at_most)
    server.kill().start()
    for name, at_least, at_most in taken:
        history.verify(server.connect(name), at_least, f"{name} after SIGKILL", at_most=at_most)
    history.verify(server.connect(), history.acknowledged, "the volume")


@mark(limit=60)
def test_rollback_brings_the_snapshot_back_and_keeps_what_it_replaced(t):
    store, server = t.served(size="16M")
    handle = server.connect()
    handle.pwrite(b"monday".ljust(4096), 0)
    store.zerofs("snapshot", "vol", "--name", "monday")
    handle.pwrite(b"tuesday".ljust(4096), 0)
    handle.pwrite(b"more".ljust(4096), MIB)
    busy = store.zerofs("rollback", "vol@monday", "--force", expect="busy")
    check("attached" in busy.err, f"rollback of an attached volume: {busy.err!r}")
    handle.shutdown()
    time.sleep(0.3)
    safety = store.json("rollback", "vol@monday", "--force")["safetySnapshot"]
    safety = safety if "@" in safety else f"vol@{safety}"
    handle = server.connect()
    equal(handle.pread(7, 0), b"monday ", "the volume after the rollback")
    equal(handle.pread(4, MIB), bytes(4), "what was written later is gone")
    equal(server.connect(safety).pread(7, 0), b"tuesday", "the safety snapshot")
    handle.pwrite(b"wednesday".ljust(4096), 0)
    handle.flush()
    server.kill().start()
    equal(server.connect().pread(9, 0), b"wednesday", "the volume goes on")
    equal(server.connect("vol@monday").pread(7, 0), b"monday ", "the snapshot stays")
    store.zerofs("verify", "--deep")


@mark(limit=120)
def test_a_hundred_branches_are_made_read_written_and_deleted(t):
    store, server = t.served(size="1G")
    handle = server.connect()
    data = os.urandom(MIB)
    handle.pwrite(data, 0)
    count = 100
    began = time.monotonic()
    for i in range(count):
        status, text = server.http("POST", "/v1/branch", {"source": "vol", "newName": f"b{i}"})
        equal(status, 200, f"branch {i}: {text}")
    took = time.monotonic() - began
    before = store.bytes()
    for i in range(0, count, 10):
        branch = server.connect(f"b{i}")
        equal(bytes(branch.pread(MIB, 0)) == data, True, f"b{i}")
        branch.pwrite(bytes([i]) * 4096, 0)
    for i in range(0, count, 10):
        equal(server.connect(f"b{i}").pread(1, 0), bytes([i]), f"b{i}")
    equal(len(store.json("list")), count + 1, "volumes")
    check(before < 6 * MIB, f"100 branches of 1 MiB cost {before} bytes")
    check(took < 60, f"100 branches took {took:.1f} s")
    server.restart()
    for i in range(count):
        status, text = server.http("POST", "/v1/delete", {"name": f"b{i}", "force": False})
        equal(status, 200, f"delete {i}: {text}")
    store.zerofs("gc")
    equal(bytes(server.connect().pread(MIB, 0)) == data, True, "the volume")
    check(store.bytes() < 2 * MIB, f"what deleted branches leave: {store.objects()}")


@mark(limit=90)
def test_a_long_chain_of_branches_reads_through_to_its_first_ancestor(t):
    store, server = t.served(size="64M")
    handle = server.connect()
    source = random.Random(3)
    model = bytearray(4 * MIB)
    name = "vol"
    for i in range(25):
        for _ in range(5):
            offset, count = source.randrange(0, 4 * MIB - 64 * KIB), source.randrange(1, 64 * KIB)
            data = source.randbytes(count)
            handle.pwrite(data, offset)
            model[offset : offset + count] = data
        store.zerofs("branch", name, f"c{i}")
        if i % 5 == 4:
            handle.shutdown()
            time.sleep(0.2)
            store.zerofs("delete", name)
            store.zerofs("gc")
        name = f"c{i}"
        handle = server.connect(name)
        equal(bytes(handle.pread(4 * MIB, 0)) == bytes(model), True, f"{name} equals the model")
    server.restart()
    equal(bytes(server.connect(name).pread(4 * MIB, 0)) == bytes(model), True, "the last one after a restart")


def test_a_snapshot_can_be_read_while_its_volume_is_deleted_with_force(t):
    store, server = t.served(size="16M")
    handle = server.connect()
    handle.pwrite(b"x" * MIB, 0)
    store.zerofs("snapshot", "vol", "--name", "s")
    handle.shutdown()
    reader = server.connect("vol@s")
    done = store.zerofs("delete", "vol", "--force", expect="busy")
    check("vol@s" in done.err, f"the refusal names what is attached: {done.err!r}")
    equal(reader.pread(1, 0), b"x", "the snapshot")
    try:
        reader.shutdown()
    except nbd.Error:
        pass
