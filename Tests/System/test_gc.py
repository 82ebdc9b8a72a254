"""Garbage collection gives bytes back, and never takes what anything needs."""

import os
import time

from harness import KIB, MIB, Background, check, equal, mark
from history import History


def fill(handle, first, count, block=MIB):
    """Data that does not compress."""
    data = os.urandom(block)
    for i in range(count):
        handle.pwrite(data[i % 4096 :] + data[: i % 4096], first + i * block)
    handle.flush()


@mark(limit=90)
def test_deleted_volumes_snapshots_and_branches_give_their_bytes_back(t):
    store, server = t.served(size="256M")
    handle = server.connect()
    fill(handle, 0, 32)
    store.zerofs("snapshot", "vol", "--name", "s")
    fill(handle, 0, 32)
    store.zerofs("branch", "vol@s", "b")
    branch = server.connect("b")
    fill(branch, 64 * MIB, 16)
    report = store.json("gc")
    check(store.bytes() > 80 * MIB, f"nothing that is needed goes: {report}")
    branch.shutdown()
    time.sleep(0.3)
    store.zerofs("delete", "b")
    report = store.json("gc")
    check(report["bytesDeleted"] >= 16 * MIB, f"the branch's own bytes: {report}")
    check(65 * MIB < store.bytes() + 4 * MIB < 80 * MIB, f"{store.bytes()} bytes after the branch went")
    store.zerofs("delete", "vol@s")
    store.zerofs("gc")
    check(store.bytes() < 40 * MIB, f"{store.bytes()} bytes after the snapshot went")
    handle.shutdown()
    time.sleep(0.3)
    store.zerofs("delete", "vol")
    report = store.json("gc")
    check(store.bytes() < MIB, f"{store.bytes()} bytes after everything went: {store.objects()}")
    check(report["objectsExamined"] >= report["objectsDeleted"] > 0, f"the report: {report}")
    equal(store.json("gc")["bytesDeleted"] < 64 * KIB, True, "a second pass finds next to nothing")


@mark(limit=90)
def test_trimmed_space_comes_back(t):
    store, server = t.served(size="256M")
    handle = server.connect()
    fill(handle, 0, 64)
    handle.trim(48 * MIB, 8 * MIB)
    handle.flush()
    store.zerofs("snapshot", "vol", "--name", "s")
    store.zerofs("delete", "vol@s")
    store.zerofs("gc")
    check(store.bytes() < 26 * MIB, f"{store.bytes()} bytes of 16 MiB live")
    equal(handle.pread(4, 8 * MIB), bytes(4), "what was trimmed")


@mark(limit=120)
def test_a_volume_overwritten_many_times_with_a_snapshot_held_stays_near_its_live_bytes(t):
    store, server = t.served(size="64M")
    handle = server.connect()
    fill(handle, 0, 64)
    store.zerofs("snapshot", "vol", "--name", "held")
    for _ in range(4):
        fill(handle, 0, 64)
    page = os.urandom(8 * KIB)
    order = list(range(8192))
    import random

    random.Random(1).shuffle(order)
    for i in order:
        handle.pwrite(page[i % 512 :] + page[: i % 512], i * 8 * KIB)
    handle.flush()
    before = store.bytes()
    report = store.json("gc")
    live = 128 * MIB
    check(
        store.bytes() <= 1.3 * live,
        f"{store.bytes() / live:.2f} times the live bytes ({before / live:.2f} before gc): {report}",
    )
    store.zerofs("verify", "--deep")


@mark(limit=120)
def test_gc_while_writing_reading_and_branching_loses_nothing(t):
    store, server = t.served(size="32M")
    history = History(0, 16 * MIB // 512, 40)

    def write(stopping):
        handle = server.connect()
        while not stopping.is_set():
            history.step(handle, flush_every=20, sectors_max=512)

    def collect(stopping):
        passes = 0
        while not stopping.is_set():
            store.zerofs("gc")
            passes += 1
        return passes

    def snapshots(stopping):
        kept, i = [], 0
        while not stopping.is_set():
            i += 1
            before = history.acknowledged
            store.zerofs("branch", "vol", f"b{i}")
            kept.append((f"b{i}", before, len(history.writes)))
            if len(kept) > 4:
                store.zerofs("delete", kept.pop(0)[0])
        return kept

    running = [Background(w) for w in (write, collect, snapshots)]
    time.sleep(12 if t.full else 6)
    writing, collecting, branching = running
    kept = branching.join()
    writing.join()
    check(collecting.join() >= 2, "gc ran more than once")
    store.zerofs("gc")
    server.restart()
    history.verify(server.connect(), history.acknowledged, "the volume")
    for name, at_least, at_most in kept:
        history.verify(server.connect(name), at_least, name, at_most=at_most)
    store.zerofs("verify", "--deep")


@mark(limit=90)
def test_gc_from_another_host_takes_nothing_from_a_server_that_writes(t):
    store, server = t.served(size="32M")
    history = History(0, 8 * MIB // 512, 41)
    handle = server.connect()
    other = store.elsewhere()
    for round in range(5):
        for _ in range(60):
            history.step(handle, flush_every=7)
        other.zerofs("gc")
    history.verify(handle, history.acknowledged, "the volume")
    server.kill()
    store.lose_data_directory()
    server.options += ["--take-over", "vol", "--accept", "vol"]
    server.start()
    history.verify(server.connect(), history.flushed, "the volume, from the store alone")
    store.zerofs("verify", "--deep")


@mark(limit=90)
def test_a_killed_gc_leaves_a_store_that_verifies(t):
    store, server = t.served(size="64M")
    handle = server.connect()
    for _ in range(3):
        fill(handle, 0, 24)
    store.zerofs("snapshot", "vol", "--name", "s")
    fill(handle, 0, 24)
    kept = bytes(handle.pread(24 * MIB, 0))
    handle.shutdown()
    server.stop()
    for after in (0.05, 0.1, 0.2, 0.4):
        running = t.spawn([t.binary, "gc"], env=store.environment)
        time.sleep(after)
        running.kill()
        running.wait()
    store.zerofs("verify", "--deep")
    store.zerofs("gc")
    store.zerofs("verify", "--deep")
    server.start()
    equal(bytes(server.connect().pread(24 * MIB, 0)) == kept, True, "the volume")


def test_strangers_in_the_bucket_are_left_alone(t):
    store, server = t.served()
    stranger = store.directory / "README.txt"
    stranger.write_text("not ours")
    store.zerofs("gc")
    check(stranger.exists(), "gc deletes only what is zerofs's")


def test_an_idle_server_sends_no_requests(t):
    store, server = t.served()
    handle = server.connect()
    handle.pwrite(b"x" * MIB, 0)
    handle.flush()
    time.sleep(1)
    before = store.json("stats")["store"]["requests"]
    time.sleep(20 if t.full else 8)
    equal(store.json("stats")["store"]["requests"], before, "object-store requests of an idle server")
