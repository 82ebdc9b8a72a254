"""`zerofs serve --stdio`: clients that start their own server."""

import json
import subprocess

from harness import MIB, check, contains, equal
from test_nbd_clients import image


def server(store, *options):
    return [store.case.binary, "serve", "--stdio", *options, "--config", store.config]


def nbdsh(t, store, script, expect=0):
    lines = f"command = {[str(word) for word in server(store, 'vol')]!r}\n{script}\nprint('done')\n"
    finished = t.run("/usr/bin/python3", "-m", "nbd", "-c", lines, expect=expect, env=store.environment)
    equal(finished.out, "done\n", f"nbdsh; it said {finished.err}")


def volume(t, size="48M"):
    store = t.store()
    store.zerofs("create", "vol", "--size", size)
    return store


def test_libnbd_starts_it_and_what_it_flushed_is_there_the_next_time(t):
    store = volume(t)
    nbdsh(
        t,
        store,
        """
h.connect_command(command)
assert h.get_size() == 48 << 20 and not h.is_read_only()
h.pwrite(bytes(range(256)) * 1000, 777)
h.flush()
h.shutdown()
again = nbd.NBD()
again.connect_command(command)
assert again.pread(256000, 777) == bytes(range(256)) * 1000
again.trim(4096, 4096)
assert again.pread(8192, 4096)[:4096] == bytes(4096)
again.shutdown()
""",
    )
    equal(store.json("info", "vol")["summary"].get("attachedCount", 0), 0, "nobody is attached")


def test_it_serves_the_one_export_that_was_named(t):
    store = volume(t)
    store.zerofs("create", "other", "--size", "1M")
    nbdsh(
        t,
        store,
        """
h.set_opt_mode(True)
h.connect_command(command)
names = []
h.opt_list(lambda name, description: names.append(name))
assert names == ['vol'], names
h.set_export_name('other')
try:
    h.opt_info()
    assert False
except nbd.Error as error: pass
h.set_export_name('')
h.opt_go()
assert h.get_size() == 48 << 20
""",
    )


def test_nbdinfo_and_nbdcopy_hand_it_a_socket(t):
    store = volume(t)
    store.zerofs("snapshot", "vol", "--name", "empty")
    source = image(t, "in", 48 * MIB)
    t.run("nbdcopy", "--flush", source, "--", "[", *server(store, "vol"), "]", env=store.environment)
    t.run("nbdcopy", "--", "[", *server(store, "vol"), "]", t.path("out"), env=store.environment)
    t.run("cmp", source, t.path("out"))
    for name, read_only in (("vol", False), ("vol@empty", True)):
        found = json.loads(t.run("nbdinfo", "--json", "--", "[", *server(store, name), "]", env=store.environment).out)
        equal(found["exports"][0]["export-size"], 48 * MIB, f"size of {name}")
        equal(found["exports"][0]["is_read_only"], read_only, f"{name} is read-only")


def test_a_second_one_waits_and_commands_are_carried_out_by_the_first(t):
    store = volume(t)
    first = subprocess.Popen(
        [str(word) for word in server(store, "vol")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=store.environment,
    )
    try:
        equal(first.stdout.read(18), b"NBDMAGICIHAVEOPT\0\3", "the greeting")
        equal(store.json("stats")["pid"], first.pid, "who carries out commands")
        busy = store.zerofs("serve", "--listen", "127.0.0.1:0", expect="busy", timeout=30)
        contains(busy.err, str(first.pid), "who has the data directory")
    finally:
        first.stdin.close()
        first.wait(30)
    equal(first.returncode, 0, "a client that goes is no error")
    equal((first.stdout.read(), first.stderr.read()), (b"", b""), "what it says besides")
    check(store.zerofs("info", "vol").out, "the store is free again")
