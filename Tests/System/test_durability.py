"""What was promised survives: restarts, SIGKILL, and the loss of the local disk."""

import os
import random
import subprocess
import time

import nbd

from harness import KIB, MIB, Background, Failure, check, equal, mark, wait_until
from history import History

REGION = 8 * MIB // 512


def writers(server, histories, **options):
    """One thread for each history, until it is stopped or the server is gone."""

    def work(stopping, history):
        try:
            handle = server.connect()
            while not stopping.is_set():
                history.step(handle, **options)
        except nbd.Error:
            if not server.is_ending and not stopping.is_set():
                raise

    return [Background(work, history) for history in histories]


def regions(count, seed):
    return [History(i * REGION, REGION, seed * 100 + i) for i in range(count)]


def judge(server, histories, promised, what):
    handle = server.connect()
    for history in histories:
        k = history.verify(handle, promised(history), what)
        history.continue_from(k)
    handle.shutdown()


@mark(limit=90)
def test_a_restart_keeps_what_was_written_and_never_flushed(t):
    store, server = t.served(size="32M")
    histories = regions(2, 1)
    for round in range(3):
        running = writers(server, histories, flush_every=0)
        time.sleep(1)
        for one in running:
            one.join()
        server.restart()
        judge(server, histories, lambda h: h.acknowledged, f"restart {round}")


def kill_many_times(t, durability, rounds, **options):
    store, server = t.served(size="64M", settings={"durability": durability, "write.upload_delay": "300ms"})
    histories = regions(4, 2)
    pause = random.Random(5)
    for round in range(rounds):
        running = writers(server, histories, **options)
        time.sleep(pause.uniform(0.1, 1.5))
        server.kill()
        for one in running:
            one.join()
        server.start()
        judge(server, histories, lambda h: h.acknowledged, f"SIGKILL {round}")
    check(sum(len(h.writes) for h in histories) > 500, "the writers wrote")
    store.zerofs("verify", "--deep")


@mark(limit=120)
def test_a_killed_server_loses_nothing_that_it_acknowledged_in_mode_store(t):
    kill_many_times(t, "store", 12 if t.full else 5, flush_every=50)


@mark(limit=120)
def test_a_killed_server_loses_nothing_that_it_acknowledged_in_mode_journal(t):
    kill_many_times(t, "journal", 12 if t.full else 5, flush_every=20)


@mark(limit=90)
def test_a_server_killed_while_it_recovers_loses_nothing(t):
    store, server = t.served(size="32M")
    histories = regions(2, 3)
    running = writers(server, histories)
    time.sleep(2)
    server.kill()
    for one in running:
        one.join()
    for after in (0.05, 0.15, 0.4, 0.8):
        server.launch()
        # An attach is what opens the volume and replays its journal.
        attempt = subprocess.Popen(["nbdinfo", server.uri()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(after)
        server.kill()
        attempt.wait()
    server.start()
    judge(server, histories, lambda h: h.acknowledged, "after kills during recovery")


def lose_the_disk(t, flags, rounds, kind="directory"):
    """SIGKILL and the data directory gone: what was flushed is there, as a prefix of what was written."""
    store, server = t.served(size="64M", kind=kind)
    histories = regions(3, 4)
    server.options += ["--take-over", "vol", "--accept", "vol"]
    for round in range(rounds):
        running = writers(server, histories, flush_every=13, flags=flags)
        time.sleep(1.5)
        server.kill()
        for one in running:
            one.join()
        store.lose_data_directory()
        server.start()
        judge(server, histories, lambda h: h.flushed, f"lost disk {round}")
        check(sum(h.acknowledged for h in histories) > 0, "something was written")
    store.zerofs("verify", "--deep")


@mark(limit=90)
def test_what_was_flushed_is_in_the_store_when_the_disk_is_lost(t):
    lose_the_disk(t, 0, 3)


@mark(limit=90)
def test_a_write_with_fua_is_in_the_store_when_the_disk_is_lost(t):
    lose_the_disk(t, nbd.CMD_FLAG_FUA, 2)


@mark(limit=120, needs=("radosgw",))
def test_what_was_flushed_to_a_real_s3_server_is_there_when_the_disk_is_lost(t):
    lose_the_disk(t, 0, 2, kind="radosgw")


@mark(limit=60)
def test_journal_mode_uploads_within_its_delay_and_a_lost_disk_leaves_an_exact_earlier_state(t):
    store, server = t.served(size="32M", settings={"durability": "journal", "write.upload_delay": "500ms"})
    history = History(0, REGION, 6)
    handle = server.connect()
    for _ in range(200):
        history.step(handle, flush_every=10)
    early = history.acknowledged
    wait_until(lambda: lag(store) == 0, 20, "the uploads")
    for _ in range(50):
        history.step(handle, flush_every=5)
    server.kill()
    store.lose_data_directory()
    server.options += ["--take-over", "vol", "--accept", "vol"]
    server.start()
    history.verify(server.connect(), early, "a lost disk in mode journal")


def lag(store):
    volume = next(v for v in store.json("stats")["engine"]["volumes"] if v["name"] == "vol")
    return volume["uploadsWaiting"] + volume["uploadsInFlight"] + volume["writeBufferBytes"]


@mark(limit=60)
def test_journal_mode_flushes_without_the_store(t):
    """That is its point: the flush is answered by the local disk, before anything is uploaded."""
    store, server = t.served(settings={"durability": "journal", "write.upload_delay": "60s"})
    handle = server.connect()
    before = store.json("stats")["store"]["requests"]["create"]
    for i in range(50):
        handle.pwrite(b"x" * 4096, i * 4096)
        handle.flush()
    equal(store.json("stats")["store"]["requests"]["create"], before, "objects made by 50 flushes")


@mark(limit=60)
def test_snapshots_and_branches_that_were_reported_survive_sigkill(t):
    store, server = t.served(size="16M")
    handle = server.connect()
    for i in range(6):
        handle.pwrite(bytes([65 + i]) * 4096, 0)
        store.zerofs("snapshot", "vol", "--name", f"s{i}")
        store.zerofs("branch", f"vol@s{i}", f"b{i}")
        server.kill().start()
        handle = server.connect()
        for j in range(i + 1):
            for name in (f"vol@s{j}", f"b{j}"):
                equal(server.connect(name).pread(1, 0), bytes([65 + j]), f"{name} after SIGKILL {i}")
    equal(handle.pread(1, 0), b"F", "the volume")


@mark(limit=60)
def test_sigkill_during_snapshots_branches_and_deletes_leaves_nothing_half_done(t):
    store, server = t.served(size="16M")
    server.connect().pwrite(os.urandom(64 * KIB), 0)
    pause = random.Random(9)
    for round in range(5):

        def commands(stopping):
            for i in range(50):
                if stopping.is_set() or store.zerofs("snapshot", "vol", "--name", f"r{round}x{i}", expect=None).code:
                    return
                store.zerofs("branch", f"vol@r{round}x{i}", f"b{round}x{i}", expect=None)
                store.zerofs("delete", f"b{round}x{i}", expect=None)

        background = Background(commands)
        time.sleep(pause.uniform(0.2, 0.8))
        server.kill()
        background.stopping.set()
        # A command may be waiting for the server; it works on its own when none answers.
        background.join()
        server.start()
        for volume in store.json("list"):
            server.connect(volume["name"]).pread(4096, 0)
    store.zerofs("verify", "--deep")


@mark(limit=60)
def test_every_second_kill_between_write_and_flush_keeps_the_order(t):
    """A flush that was answered implies every write before it, on all connections."""
    store, server = t.served(size="16M")
    history = History(0, REGION, 10)
    for round in range(6):
        handle = server.connect()
        for _ in range(40):
            history.step(handle)
        if round % 2:
            history.flush(handle)
        server.kill().start()
        k = history.verify(server.connect(), history.acknowledged, f"kill {round}")
        if k < history.flushed:
            raise Failure("flushed data was lost")
        history.continue_from(k)
