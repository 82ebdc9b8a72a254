"""Two servers and one volume: who is paused while another takes over acknowledges nothing afterwards."""

import os
import signal
import time

import nbd

from faults import FaultProxy
from harness import MIB, Background, Failure, check, equal, mark, wait_until
from history import History

REGION = 4 * MIB // 512
WRITERS = 3


class Writers:
    """Clients of one server, each with a region of its own, until the server fails them."""

    def __init__(self, server, seed, first=0):
        self.histories = [History(i * REGION, REGION, seed * 10 + i) for i in range(first, first + WRITERS)]
        self.handles = [server.connect() for _ in self.histories]
        self.running = [Background(self.work, *pair) for pair in zip(self.handles, self.histories)]

    @staticmethod
    def work(stopping, handle, history):
        """Returns the error that ended it."""
        try:
            while not stopping.is_set():
                history.step(handle, flush_every=4, sectors_max=32)
        except nbd.Error as error:
            return error
        return None

    def flushed(self):
        return [h.flushed for h in self.histories]

    def all_failed(self):
        return all(not one.thread.is_alive() for one in self.running)

    def stop(self):
        for one in self.running:
            one.join()

    def is_growing(self, count=20):
        before = self.flushed()
        wait_until(lambda: all(b > a + count for a, b in zip(before, self.flushed())), 20, "the writers to flush")


def pause(server):
    os.kill(server.pid, signal.SIGSTOP)
    server.case.at_end(lambda: server.is_running() and os.kill(server.pid, signal.SIGCONT))
    state = f"/proc/{server.pid}/status"
    wait_until(lambda: "T (stopped)" in open(state).read(), 5, "the server to be paused")
    # What it had answered before is in the clients' sockets.
    time.sleep(0.2)


def held(server, histories, at_least, what):
    """What the new owner found: for each region the number of writes whose effect it holds."""
    handle = server.connect()
    return [h.verify(handle, least, what) for h, least in zip(histories, at_least)]


def never_flushes_again(server):
    """Neither on a connection that stands nor on a new one."""
    try:
        handle = server.connect(strict=False)
        handle.pwrite(b"stale".ljust(4096), 60 * MIB)
        handle.flush()
    except nbd.Error:
        return
    raise Failure("a server that lost the volume acknowledged a flush on a new connection")


def says_that_it_lost_the_volume(server):
    server.await_event("fenced")


@mark(limit=120)
def test_a_server_that_slept_through_a_take_over_acknowledges_no_flush_in_mode_store(t):
    store, first = t.served()
    for round in range(4):
        writers = Writers(first, round)
        writers.is_growing()
        time.sleep(0.05 * round)
        pause(first)
        promised = writers.flushed()
        second = store.elsewhere(f"host{round}").serve("--take-over", "vol", "--accept", "vol")
        found = held(second, writers.histories, promised, f"take-over {round}")
        mine = second.connect()
        mine.pwrite(b"owner %d".ljust(4096) % round, 60 * MIB)
        mine.flush()
        os.kill(first.pid, signal.SIGCONT)
        wait_until(writers.all_failed, 40, "the clients of the first server to get errors")
        # A flush on its way may have ended before the take-over; then the new owner has what it covers.
        held(second, writers.histories, writers.flushed(), f"round {round}, what was flushed")
        never_flushes_again(first)
        says_that_it_lost_the_volume(first)
        equal(held(second, writers.histories, found, f"round {round}, later"), found, "what the new owner holds")
        equal(bytes(mine.pread(5, 60 * MIB)), b"owner", "the new owner's write")
        first.process.terminate()
        first.process.wait(60)
        mine.trim(64 * MIB, 0)
        # The next round's first server is this round's second.
        first = second
    first.store.zerofs("verify", "--deep")


@mark(limit=90)
def test_a_server_that_slept_through_a_take_over_fails_at_its_next_upload_in_mode_journal(t):
    store, first = t.served(settings={"durability": "journal", "write.upload_delay": "300ms"})
    writers = Writers(first, 1)
    writers.is_growing()
    pause(first)
    second = store.elsewhere().serve("--take-over", "vol", "--accept", "vol")
    found = held(second, writers.histories, [0] * WRITERS, "an exact earlier state")
    os.kill(first.pid, signal.SIGCONT)
    began = time.monotonic()
    wait_until(writers.all_failed, 15, "the clients of the first server to get errors")
    took = time.monotonic() - began
    check(took < 10, f"it took {took:.1f} s with an upload delay of 300 ms")
    says_that_it_lost_the_volume(first)
    never_flushes_again(first)
    equal(held(second, writers.histories, [0] * WRITERS, "later"), found, "what the new owner holds")


@mark(limit=120, needs=("moto",))
def test_uploads_that_arrive_after_a_take_over_change_nothing(t):
    """The network holds the first server's segments back, and delivers them when another owns the volume."""
    access = t.resources.access["moto"]
    proxy = FaultProxy(t, access)
    store = t.store("moto", access=proxy.access)
    store.zerofs("create", "vol", "--size", "64M")
    first = store.serve()
    handle = first.connect()
    handle.pwrite(b"early".ljust(4096), 0)
    handle.flush()
    proxy.plan([{"fault": "late", "methods": ["PUT"], "seconds": 4}])
    handle.pwrite(b"late".ljust(4096), 4096)
    flushing = Background(lambda stopping: handle.flush())
    wait_until(lambda: proxy.counts().get("late"), 10, "an upload to be held back")
    pause(first)
    other = store.elsewhere()
    other.configure({"store.endpoint": access.endpoint})
    second = other.serve("--take-over", "vol", "--accept", "vol")
    mine = second.connect()
    equal(bytes(mine.pread(5, 0)), b"early", "what was flushed")
    seen = bytes(mine.pread(4, 4096))
    mine.pwrite(b"mine".ljust(4096), 8192)
    mine.flush()
    time.sleep(5)
    proxy.plan()
    os.kill(first.pid, signal.SIGCONT)
    try:
        flushing.join(60)
        equal(seen, b"late", "a flush was acknowledged; its data at the new owner")
    except nbd.Error:
        pass
    equal(bytes(mine.pread(4, 4096)), seen, "what came late, at the new owner")
    second.kill()
    other.lose_data_directory()
    second.options = ["--take-over", "vol", "--accept", "vol"]
    again = second.start().connect()
    equal((bytes(again.pread(4, 4096)), bytes(again.pread(4, 8192))), (seen, b"mine"), "from the store alone")
    other.zerofs("verify", "--deep")


@mark(limit=120)
def test_the_journal_of_a_server_that_lost_its_volume_is_kept_listed_and_comes_back_as_a_branch(t):
    store, first = t.served(settings={"durability": "journal", "write.upload_delay": "2s"})
    writers = Writers(first, 5)
    writers.is_growing(100)
    pause(first)
    second = store.elsewhere().serve("--take-over", "vol", "--accept", "vol")
    found = held(second, writers.histories, [0] * WRITERS, "an exact earlier state")
    second.connect().pwrite(b"mine".ljust(4096), 60 * MIB)
    os.kill(first.pid, signal.SIGCONT)
    wait_until(writers.all_failed, 20, "the clients of the first server to get errors")
    first.kill()
    acknowledged = [h.acknowledged for h in writers.histories]
    check(sum(acknowledged) > sum(found), f"the journal holds more than the store: {acknowledged}, {found}")

    journals = store.json("journals")
    equal([(j["volume"], j["isComplete"]) for j in journals], [("vol", True)], "the journals that are left")
    check(journals[0]["writesMissing"] > 0, f"writes that the volume lacks: {journals[0]}")
    equal(second.store.json("journals"), [], "the new owner's left-over journals")
    store.zerofs("branch", "--from-journal", journals[0]["id"], "rescued")
    rescued = first.start().connect("rescued")
    for history, promised in zip(writers.histories, acknowledged):
        history.verify(rescued, promised, "the branch of the journal")
    equal(bytes(rescued.pread(4, 60 * MIB)), bytes(4), "what the new owner wrote, on the branch")
    rescued.pwrite(b"writable".ljust(4096), 0)
    rescued.flush()
    equal(held(second, writers.histories, [0] * WRITERS, "the volume"), found, "the volume, which nothing changed")
    equal([j["id"] for j in store.json("journals")], [journals[0]["id"]], "the journal stays until someone drops it")
    store.zerofs("gc")
    store.zerofs("verify", "--deep")
