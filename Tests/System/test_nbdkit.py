"""nbdkit between a client and zerofs: its filters delay, fail, split, check and record requests."""

import random
import re

import nbd

import processes
from harness import KIB, MIB, check, equal, mark, wait_until
from history import History
from test_nbd_clients import image

REGION = 8 * MIB // 512


class Filtered:
    """nbdkit with filters, as a client of zerofs and a server of its own."""

    def __init__(self, t, server, *filters, name="vol", parameters=()):
        self.socket = t.path(t.unique("filtered"))
        arguments = [f"--filter={f}" for f in filters]
        target = f"uri={server.uri(name)}"
        self.process = t.spawn(
            ["nbdkit", "-f", "-U", self.socket, *arguments, "nbd", target, *parameters], log="nbdkit.log"
        )
        wait_until(lambda: processes.listens(self.socket), 20, "nbdkit to listen")
        self.uri = f"nbd+unix:///?socket={self.socket}"

    def connect(self):
        handle = nbd.NBD()
        handle.connect_uri(self.uri)
        return handle


@mark(limit=90, needs=("fio",))
def test_fio_verifies_through_delays_that_reorder_requests(t):
    store, server = t.served(size="64M")
    slow = Filtered(
        t, server, "delay",
        parameters=["delay-read=3ms", "delay-write=7ms", "delay-zero=1ms", "delay-trim=5ms", "shared=1"],
    )
    common = ["fio", "--ioengine=nbd", "--thread", f"--uri={slow.uri}", "--verify=crc32c-intel",
              "--verify_fatal=1", "--verify_state_save=0",
              "--randseed=3", "--size=12m", "--group_reporting", "--output-format=json"]
    jobs = []
    for i, options in enumerate((["--bs=4k", "--iodepth=64", "--rw=randwrite"], ["--bs=64k", "--iodepth=8", "--rw=write"],
                                 ["--bsrange=512-32k", "--bs_unaligned", "--iodepth=32", "--rw=randwrite"])):
        jobs += [f"--name=j{i}", f"--offset={i * 16}m", *options]
    t.run(*common, *jobs, timeout=80)
    server.kill().start()
    t.run(*common[:3], f"--uri={server.uri()}", *common[4:], "--verify_only", *jobs, timeout=60)


@mark(limit=90)
def test_requests_that_fail_on_their_way_have_no_effect_and_can_be_repeated(t):
    store, server = t.served(size="16M")
    failing = Filtered(
        t, server, "error",
        parameters=["error-pwrite-rate=20%", "error-zero-rate=20%", "error-pread-rate=10%", "error-pwrite=EIO",
                    "error-zero=ENOSPC"],
    )
    history = History(0, REGION, 77)
    handle = failing.connect()
    failures = 0

    def until_done(action):
        nonlocal failures
        while True:
            try:
                return action()
            except nbd.Error:
                failures += 1

    for i in range(300):
        writes = len(history.writes)

        def write():
            del history.writes[writes:]
            history.step(handle, sectors_max=64)

        state = history.random.getstate()

        def repeat():
            history.random.setstate(state)
            write()

        until_done(repeat)
        if i % 20 == 0:
            history.flush(handle)
    check(failures > 30, f"{failures} requests failed")
    history.verify(server.connect(), history.acknowledged, "after failures")
    server.kill().start()
    history.verify(server.connect(), history.acknowledged, "after failures and SIGKILL")


def logged(path):
    """The log filter's account: (connection, id) -> [request, its text, the answer's]."""
    requests = {}
    for line in path.read_text().splitlines():
        if found := re.search(r"connection=(\d+) (\w+) id=(\d+) (.*)", line):
            requests[found[1], found[3]] = [found[2], found[4], None]
        elif found := re.search(r"connection=(\d+) \.\.\.(\w+) id=(\d+) (.*)", line):
            requests[found[1], found[3]][2] = found[4]
    return requests


@mark(limit=90, needs=("qemu",))
def test_the_log_of_a_session_names_every_flag_and_no_failed_request(t):
    store, server = t.served(size="64M")
    record = t.path("requests")
    between = Filtered(t, server, "log", parameters=[f"logfile={record}"])
    t.run("qemu-io", "-f", "raw", "-t", "none", "-c", "write -f -P 1 0 64k", "-c", "write -z -u 64k 64k", "-c", "flush",
          "-c", "discard 128k 64k", "-c", "read -P 1 0 64k", between.uri)
    source = image(t, "in", 64 * MIB)
    t.run("nbdcopy", "--flush", "--allocated", source, between.uri)
    t.run("nbdcopy", between.uri, t.path("out"))
    t.run("cmp", source, t.path("out"))
    requests = logged(record)
    kinds = {kind for kind, *_ in requests.values()}
    check({"Read", "Write", "Zero", "Flush", "Extents"} <= kinds, f"requests of all kinds were seen: {kinds}")
    check(any(kind == "Write" and "fua=1" in text for kind, text, _ in requests.values()), "FUA was passed on")
    failed = [r for r in requests.values() if r[2] is None or "return=-1" in r[2] or "error=" in r[2]]
    equal(failed, [], "requests that failed, or got no answer")


@mark(limit=90)
def test_foreign_filters_find_what_was_written(t):
    """FUA forced on every write, requests split up; checkwrite compares a copy with what is there."""
    store, server = t.served(size="64M")
    source = image(t, "in", 64 * MIB)
    forced = Filtered(t, server, "fua", "blocksize", parameters=["fuamode=force", "maxdata=64k"])
    t.run("nbdcopy", source, forced.uri)
    # Every write carried FUA: nothing of it may need a flush.
    server.kill()
    store.lose_data_directory()
    server.options += ["--take-over", "vol", "--accept", "vol"]
    server.start()
    checked = Filtered(t, server, "checkwrite")
    t.run("nbdcopy", source, checked.uri)
    server.connect().pwrite(b"changed", 40 * MIB)
    t.run("nbdcopy", source, checked.uri, expect=1)


@mark(limit=90, needs=("qemu",))
def test_qemu_io_agrees_with_a_model_over_hundreds_of_random_commands_and_kills(t):
    store, server = t.served(size="16M")
    source = random.Random(21)
    sectors = 16 * MIB // 512
    model = [0] * sectors

    def qemu_io(commands):
        out = t.run("qemu-io", "-f", "raw", *[a for c in commands for a in ("-c", c)], server.uri()).out
        check("failed" not in out.lower(), f"qemu-io: {out[-500:]}")

    for round in range(4):
        commands = []
        for _ in range(100):
            count = source.randint(1, 256)
            first = source.randrange(sectors - count)
            pattern, kind = source.randint(1, 255), source.randrange(10)
            area = f"{first * 512} {count * 512}"
            if kind < 6:
                commands.append(f"{source.choice(['write', 'write -f', 'aio_write'])} -P {pattern} {area}")
            else:
                pattern = 0
                commands.append(f"{source.choice(['write -z', 'write -z -u', 'discard'])} {area}")
            if commands[-1].startswith("aio"):
                commands.append("aio_flush")
            model[first : first + count] = [pattern] * count
        qemu_io(commands)
        server.kill().start()
        reads, start = [], 0
        for i in range(1, sectors + 1):
            if i == sectors or model[i] != model[start]:
                reads.append(f"read -P {model[start]} {start * 512} {(i - start) * 512}")
                start = i
        for i in range(0, len(reads), 300):
            qemu_io(reads[i : i + 300])
