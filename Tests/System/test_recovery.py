"""After a loss: who is served before an operator accepts it, and what a server that lost its volume left."""

import random
import re
import uuid

import nbd

from harness import check, contains, equal, mark, wait_until

BLOCK = 4096


def block(text):
    return text.encode().ljust(BLOCK, b".")


def write(handle, number, text):
    handle.pwrite(block(text), number * BLOCK)


def blocks(handle, count=3):
    return [bytes(handle.pread(BLOCK, i * BLOCK)).rstrip(b".\0").decode() for i in range(count)]


def crash(server):
    """One write flushed, one only answered, then SIGKILL."""
    handle = server.connect()
    write(handle, 0, "flushed")
    handle.flush()
    write(handle, 1, "answered")
    return server.kill()


def refusal(server, uri=None):
    """What a client is told that is not served; None where it is."""
    handle = nbd.NBD()
    try:
        handle.connect_uri(uri or server.uri())
    except nbd.Error:
        return server.refusal("vol")
    handle.pread(512, 0)
    handle.shutdown()
    return None


def uri_of_other_machines(server):
    """Over an address that is not the loopback one, so that the client might be anywhere."""
    own = server.case.resources.access["address"]
    return re.search(rf"nbd=({re.escape(own)}:\d+)", server.ready).expand(r"nbd://\1/vol")


def count(server, event):
    return server.log.read_text().count(f"event={event} ")


def started_anew(t):
    """Runs a command as after the machine's next start: the kernel shows another boot id."""
    file = t.path(t.unique("boot"))
    file.write_text(f"{uuid.uuid4()}\n")
    script = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, file]


# What a crash took


@mark(needs=("address",))
def test_after_a_crash_of_the_host_clients_of_other_machines_wait_for_accept(t):
    store, server = t.served()
    crash(server)
    server.wrapper = started_anew(t)
    server.options += ["--listen", f"{t.resources.access['address']}:0"]
    server.start()
    check(refusal(server, uri_of_other_machines(server)), "a client of another machine is refused")
    equal(blocks(server.connect())[0], "flushed", "what a client of this machine reads")
    equal((count(server, "writes-lost"), count(server, "export-refused")), (1, 1), "events")
    contains(store.zerofs("info", "vol").out, "zerofs accept", "info")
    contains(store.zerofs("list").out, "writes lost", "list")
    check("loss" in store.json("list")[0], "list --json says it")

    server.restart()
    check(refusal(server, uri_of_other_machines(server)), "nor does a clean restart make it good")
    done = store.zerofs("accept", "vol")
    check(done.out.startswith("vol: accepted: writes that were answered"), f"accept says {done.out!r}")
    equal(refusal(server, uri_of_other_machines(server)), None, "after accept")
    equal(count(server, "loss-accepted"), 1, "events")
    equal(store.zerofs("accept", "vol").out, "vol: nothing was lost\n", "accept once more")
    check("loss" not in store.json("list")[0], "list --json no longer says it")
    server.restart()
    equal(refusal(server, uri_of_other_machines(server)), None, "after accept and a restart")


@mark(needs=("address",))
def test_after_a_kill_alone_everybody_is_served_at_once(t):
    store, server = t.served()
    server.options += ["--listen", f"{t.resources.access['address']}:0"]
    crash(server).start()
    equal(refusal(server, uri_of_other_machines(server)), None, "a client of another machine")
    equal(blocks(server.connect()), ["flushed", "answered", ""], "every answered write")
    equal((count(server, "journal-replayed"), count(server, "writes-lost")), (1, 0), "events")


def test_after_crash_decides_who_waits(t):
    store, server = t.served(settings={"nbd.after_crash": "refuse"})
    crash(server)
    server.wrapper = started_anew(t)
    server.start()
    contains(refusal(server), "zerofs accept vol", "what a client of this machine is told with `refuse`")
    server.stop()
    store.configure({"nbd.after_crash": "serve"})
    equal(refusal(server.start()), None, "the same with `serve`")
    server.stop()
    store.configure({"nbd.after_crash": "sometimes"})
    done = store.zerofs("list", expect="usage")
    contains(done.err, "after_crash", "what a value that does not exist is told")
    contains(done.err, "refuse", "and which there are")


def test_a_journal_that_is_not_whole_makes_every_client_wait(t):
    store, server = t.served()
    handle = server.connect()
    write(handle, 0, "flushed")
    handle.flush()
    for i in range(1, 32):
        handle.pwrite(random.randbytes(BLOCK), i * BLOCK)
    server.kill()
    file = max((f for f in (store.data / "journal").rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    content = bytearray(file.read_bytes())
    middle = len(bytes(content).rstrip(b"\0")) // 2
    content[middle : middle + 64] = random.randbytes(64)
    file.write_bytes(content)
    server.start()
    # The machine was not started anew: whoever had it attached may be there still.
    contains(refusal(server), "the journal is not whole", "what a client of this machine is told")
    equal(count(server, "writes-lost"), 1, "events")
    server.stop()
    report = store.json("accept", "vol")
    equal((report["name"], report["wasLost"]), ("vol", True), "accept --json, without a server")
    check(report["noticed"] and report["reason"], f"accept --json has a time and a reason: {report}")
    equal(blocks(server.start().connect(), 1), ["flushed"], "every flushed write is there")
    equal(store.json("accept", "vol"), {"name": "vol", "wasLost": False}, "accept --json once more")


def test_without_a_journal_a_kill_makes_every_client_wait(t):
    store, server = t.served(settings={"data.journal": False})
    server.restart()
    equal(refusal(server), None, "after a clean stop nothing is lost")
    crash(server).start()
    contains(refusal(server), "there is no journal", "what a client of this machine is told")
    store.zerofs("accept", "vol")
    equal(blocks(server.connect(), 1), ["flushed"], "every flushed write is there")


def test_where_the_data_directory_was_lost_clients_of_this_machine_wait_too(t):
    store, server = t.served()
    crash(server)
    store.lose_data_directory()
    server.start()
    contains(refusal(server), "the directory was lost", "what a client is told without --take-over")
    server.stop()
    server.options = ["--take-over", "vol"]
    server.start()
    # It may be the old server's client, which reconnects and believes in what was answered.
    contains(refusal(server), "zerofs accept vol", "what a client is told after the take-over")
    server.stop()
    server.options = []
    check(refusal(server.start()), "a client after a restart")
    server.stop()
    store.lose_data_directory()
    server.options = ["--accept", "vol"]
    equal(blocks(server.start().connect()), ["flushed", "", ""], "a released volume needs no acceptance")
    server.kill()
    store.lose_data_directory()
    server.options = ["--take-over", "vol", "--accept", "vol"]
    equal(blocks(server.start().connect()), ["flushed", "", ""], "with --accept")
    check("loss" not in store.json("list")[0], "nothing is left to accept")
    equal(count(server, "loss-accepted"), 1, "events")


# What a loser left


def taken_over(t, **settings):
    """Stores of the host that lost the volume, and of the one that has it, with their servers; the first was killed."""
    store, first = t.served(settings=settings)
    crash(first)
    second = store.elsewhere().serve("--take-over", "vol", "--accept", "vol")
    handle = second.connect()
    equal(blocks(handle), ["flushed", "", ""], "what the new owner found")
    write(handle, 1, "new owner")
    handle.flush()
    return store, first, second


def test_a_left_over_journal_is_listed_brought_back_and_dropped(t):
    store, first, second = taken_over(t)
    heading, line = store.zerofs("journals").out.splitlines()
    equal(heading.split()[:3], ["ID", "VOLUME", "CREATED"], "the table's heading")
    journal = line.split()[0]
    equal(line.split()[1], "vol", "the table's line")
    (report,) = store.json("journals", "list")
    equal((report["id"], report["volume"], report["isComplete"]), (journal, "vol", True), "journals --json")
    equal((report["writes"], report["writesMissing"], report["bytesMissing"]), (2, 1, BLOCK), "what the store lacks")
    contains(second.store.zerofs("journals").err, "no journals", "the new owner's")
    equal(second.store.zerofs("journals", "--json").json, [], "the new owner's as JSON")

    equal(store.zerofs("branch", "--from-journal", journal[:6], "back").out, "back\n", "branch --from-journal")
    equal(blocks(second.connect("back")), ["flushed", "answered", ""], "the branch, at the other server")
    equal(blocks(second.connect()), ["flushed", "new owner", ""], "the volume is as it was")
    equal(store.json("branch", "--from-journal", journal, "again")["parent"], "vol", "branch --json")
    contains(store.zerofs("list", "--tree").out, "─ back  (64M", "list --tree")

    contains(store.zerofs("journals", "drop", journal, expect="usage").err, "--force", "drop without --force")
    equal(len(store.json("journals")), 1, "journals after that")
    equal(store.zerofs("journals", "drop", journal, "--force").out, f"{journal}\n", "drop")
    equal(store.json("journals"), [], "journals at last")
    store.zerofs("journals", "drop", journal, "--force", expect="not-found")
    second.stop()
    store.zerofs("verify", "--deep")
    equal(blocks(first.start().connect("again")), ["flushed", "answered", ""], "the branch, at the first server")


def test_mistakes_with_recovery_commands_are_explained(t):
    store, first, second = taken_over(t)
    (journal,) = (j["id"] for j in store.json("journals"))
    for arguments, status, words in (
        (["branch", "--from-journal", journal, "vol"], "already-exists", "vol"),
        (["branch", "--from-journal", "feedfeed", "x"], "not-found", "zerofs journals"),
        (["branch", "--from-journal", journal[:2], "x"], "usage", "too short"),
        (["branch", "--from-journal", journal, "a", "b"], "usage", "only the new volume"),
        (["branch", "--from-journal", journal], "usage", "name"),
        (["branch", "--from-journal", journal, "no/name"], "usage", "no/name"),
        (["journals", "drop"], "usage", "id"),
        (["accept", "nothing"], "not-found", "nothing"),
        (["accept", "vol@s"], "usage", "vol@s"),
        (["accept", "vol"], "busy", "vol"),
    ):
        done = store.zerofs(*arguments, expect=status)
        equal(done.out, "", f"standard output of {done}")
        contains(done.err, words, f"what {done} says")
        equal(len(done.err.splitlines()), 1, f"lines of {done}: {done.err}")
    equal(sorted(v["name"].split("@")[0] for v in store.json("list")), ["vol", "vol"], "nothing came of it")


def test_the_journal_of_a_fenced_server_comes_back_while_that_server_runs(t):
    store, first = t.served(settings={"durability": "journal", "write.upload_delay": "1s"})
    handle = first.connect()
    write(handle, 0, "flushed")
    handle.flush()
    wait_until(lambda: uploaded(store), 20, "the upload")
    second = store.elsewhere().serve("--take-over", "vol", "--accept", "vol")
    equal(blocks(second.connect(), 1), ["flushed"], "what the new owner found")
    write(handle, 1, "journaled")
    handle.flush()

    wait_until(lambda: count(first, "fenced"), 20, "the first server to notice")
    (journal,) = store.json("journals")
    equal(journal["writesMissing"], 1, "what the store lacks")
    store.zerofs("branch", "--from-journal", journal["id"], "back")
    equal(blocks(first.connect("back")), ["flushed", "journaled", ""], "the branch")
    store.zerofs("journals", "drop", journal["id"], "--force")
    first.process.terminate()
    equal(first.process.wait(60), 0, "the exit status of a server that has nothing left of what it lost")
    equal(store.json("journals"), [], "after it was dropped")
    equal(blocks(first.start().connect("back"), 2), ["flushed", "journaled"], "the branch after a restart")


def uploaded(store):
    (volume,) = (v for v in store.json("stats")["engine"]["volumes"] if v["name"] == "vol")
    return not (volume["uploadsWaiting"] or volume["uploadsInFlight"] or volume["writeBufferBytes"])


def test_a_journal_whose_place_was_collected_says_so(t):
    store, first, second = taken_over(t, **{"gc.retention": "0s"})
    second.stop()
    store.zerofs("gc")
    (journal,) = store.json("journals")
    equal(journal["writesMissing"], 1, "the snapshot of the take-over keeps its place")
    (snapshot,) = (v["name"] for v in store.json("list") if "@take-over-" in v["name"])
    store.zerofs("delete", snapshot)
    second.start().connect().pread(512, 0)
    second.stop()
    store.zerofs("gc")
    (journal,) = store.json("journals")
    check("writesMissing" not in journal, f"nothing can be said of it: {journal}")
    contains(store.zerofs("journals").out.splitlines()[1], " ? ", "the table")
    contains(
        store.zerofs("branch", "--from-journal", journal["id"], "back", expect="not-found").err, "gc", "branch"
    )
    store.zerofs("delete", "vol", "--force")
    contains(store.zerofs("journals").out, "(deleted)", "the table, without the volume")
    contains(
        store.zerofs("branch", "--from-journal", journal["id"], "back", expect="not-found").err, "deleted", "branch"
    )
    store.zerofs("journals", "drop", journal["id"], "--force")
