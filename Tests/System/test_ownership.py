"""One writer: who loses a volume can never again acknowledge a flush of it."""

import os
import signal

import nbd

from harness import MIB, Failure, check, contains, equal, mark, wait_until
from history import History


def flush_must_fail(handle, what):
    try:
        handle.flush()
    except nbd.Error as error:
        return str(error)
    raise Failure(f"{what}: a server that lost the volume acknowledged a flush")


def test_starting_a_second_server_takes_nothing_from_the_first(t):
    store, server = t.served()
    handle = server.connect()
    handle.pwrite(b"a" * 4096, 0)
    second = store.elsewhere().serve()
    handle.pwrite(b"b" * 4096, 4096)
    handle.flush()
    equal([v["name"] for v in second.store.json("list")], ["vol"], "the second server's list")
    check(second.is_running() and server.is_running(), "both run")


def test_a_volume_that_another_host_holds_is_refused_as_busy_at_a_writable_attach(t):
    store, server = t.served()
    handle = server.connect()
    handle.pwrite(b"a" * 4096, 0)
    second = store.elsewhere().serve()
    done = t.run("nbdinfo", second.uri(), expect=1, env={**os.environ, "LIBNBD_DEBUG": "1"})
    contains(done.err, "take-over", "what the client is told, where it shows it")
    handle.flush()
    store.zerofs("snapshot", "vol", "--name", "s")
    equal(second.connect("vol@s").pread(1, 0), b"a", "snapshots can be read by anyone")
    done = second.store.zerofs("snapshot", "vol", expect="busy")
    contains(done.err, "vol", "a snapshot through the wrong server")


def test_after_a_clean_stop_another_host_just_goes_on(t):
    store, server = t.served()
    server.connect().pwrite(b"a" * 4096, 0)
    server.stop()
    second = store.elsewhere().serve()
    handle = second.connect()
    equal(handle.pread(1, 0), b"a", "what the first one wrote")
    handle.pwrite(b"b" * 4096, 0)
    second.stop()
    equal(server.start().connect().pread(1, 0), b"b", "back on the first one")


@mark(limit=90)
def test_after_a_take_over_the_first_servers_flush_fails_for_ever(t):
    store, server = t.served()
    history = History(0, 8 * MIB // 512, 1)
    handle = server.connect()
    for _ in range(100):
        history.step(handle)
    history.flush(handle)
    second = store.elsewhere().serve("--take-over", "vol", "--accept", "vol")
    other = second.connect()
    history.verify(other, history.flushed, "after the take-over")
    other.pwrite(b"new owner".ljust(4096), 32 * MIB)
    other.flush()
    try:
        handle.pwrite(b"old owner".ljust(4096), 32 * MIB)
    except nbd.Error:
        pass
    flush_must_fail(handle, "after the take-over")
    check(server.is_running(), "the old server does not crash")
    # A new connection to the old server is no way around it.
    try:
        again = server.connect(strict=False)
        again.pwrite(b"old owner".ljust(4096), 32 * MIB)
        flush_must_fail(again, "on a new connection")
    except nbd.Error:
        pass
    equal(other.pread(9, 32 * MIB), b"new owner", "the new owner's data")
    server.process.terminate()
    server.process.wait(60)
    second.restart()
    equal(second.connect().pread(9, 32 * MIB), b"new owner", "the new owner's data after a restart")
    store.elsewhere("third").zerofs("verify", "--deep")


@mark(limit=90)
def test_a_paused_writer_finds_itself_fenced_when_it_wakes(t):
    store, server = t.served()
    handle = server.connect()
    handle.pwrite(b"a" * 4096, 0)
    handle.flush()
    handle.pwrite(b"late".ljust(4096), 0)
    cookie = handle.aio_flush()
    os.kill(server.pid, signal.SIGSTOP)
    t.at_end(lambda: server.is_running() and os.kill(server.pid, signal.SIGCONT))
    second = store.elsewhere().serve("--take-over", "vol", "--accept", "vol")
    other = second.connect()
    seen = bytes(other.pread(4, 0))
    other.pwrite(b"next".ljust(4096), 8192)
    other.flush()
    os.kill(server.pid, signal.SIGCONT)
    try:
        while not handle.aio_command_completed(cookie):
            handle.poll(1000)
        acknowledged = True
    except nbd.Error:
        acknowledged = False
    if acknowledged:
        # It may have been uploaded before the pause: then the new owner has it.
        equal(seen, b"late", "what a flush acknowledged, at the new owner")
    try:
        handle.pwrite(b"more".ljust(4096), 16384)
        flush_must_fail(handle, "after the pause")
    except nbd.Error:
        pass
    equal(bytes(other.pread(4, 16384)), bytes(4), "the new owner never sees it")


@mark(limit=90)
def test_in_journal_mode_the_loser_notices_at_its_next_upload(t):
    store, server = t.served(settings={"durability": "journal", "write.upload_delay": "500ms"})
    handle = server.connect()
    handle.pwrite(b"a" * 4096, 0)
    handle.flush()
    second = store.elsewhere().serve("--take-over", "vol", "--accept", "vol")
    second.connect().pwrite(b"b" * 4096, 4096)

    def fails():
        try:
            handle.pwrite(b"c" * 4096, 8192)
            handle.flush()
            return False
        except nbd.Error:
            return True

    wait_until(fails, 20, "the export to fail", pause=0.3)
    check(server.is_running(), "the server runs on")


def test_a_take_over_by_the_same_host_needs_no_option_after_sigkill(t):
    store, server = t.served()
    server.connect().pwrite(b"a" * 4096, 0)
    server.kill().start()
    equal(server.connect().pread(1, 0), b"a", "its own volume")
