"""PostgreSQL on a volume, under load, while everything below it is killed, cut off and filled up; and the judgement.

Used by test_kills.py (a few rounds) and scripts/soak (as many as one likes). A round is one kind of trouble. After each
the ledger outside, pgbench's own log, its invariants and the file system of a snapshot must agree with the database.
"""

import itertools
import os
import random
import shutil
import signal
import subprocess
import time
from typing import NamedTuple

import processes
from devices import Device, SmallDisk
from faults import ROUGH, FaultProxy
from harness import Background, Failure, check, equal, wait_until
from objectstores import Bucket
from postgres import Ledger, Postgres

VOLUME = "pg"

# Kinds of trouble, and what they do.
KINDS = {
    "zerofs": "SIGKILL of zerofs, again and again, while PostgreSQL runs on",
    "both": "SIGKILL of zerofs and of PostgreSQL at once",
    "machine": "SIGKILL of everything: the file system is recovered from its journal",
    "lost": "as machine, and the data directory is gone: another host takes the volume over",
    "takeover": "another server takes the volume over while this one is paused; then this one wakes up",
    "busy": "snapshots, branches, deletions and gc without a pause, with SIGKILLs of zerofs",
    "full": "the disk under journal and cache is full, with a SIGKILL of zerofs",
    "outage": "the store is away, with a SIGKILL of zerofs meanwhile",
    "slow": "the store is far away and slow, with a SIGKILL of zerofs",
    "rough": "the store throttles, fails, loses answers and cuts connections, with a SIGKILL of zerofs",
}
# These need a proxy before the store.
PROXIED = ("outage", "slow", "rough")
# Load that a full disk takes beyond a round's own: the journal must use up the files that it has before it wants room.
FULL_SECONDS = 30


class Report(NamedTuple):
    """A round's figures."""

    kind: str
    durability: str
    kills: int
    acknowledged: int
    checked: int
    recovery_seconds: float
    faults: int
    stopped: bool

    def line(self):
        more = f", {self.faults} faults of the store" if self.faults else ""
        more += ", PostgreSQL was started anew" if self.stopped else ""
        return (
            f"{self.kind:8} {self.durability:8} kills {self.kills}, acknowledged {self.acknowledged}, "
            f"checked {self.checked}, lost 0, recovered in {self.recovery_seconds:.1f} s{more}"
        )


class Rig:
    """A store, perhaps behind a proxy, a server with a small disk for its data directory, a device, and PostgreSQL."""

    def __init__(self, t, store="directory", file_system="ext4", scale=2, seed=1, outage_seconds=8):
        self.t, self.file_system, self.outage_seconds = t, file_system, outage_seconds
        self.random = random.Random(seed)
        self.proxy = None
        if store != "directory":
            self.proxy = FaultProxy(t, t.resources.access[store], seed)
        self.disk = SmallDisk(t, t.unique("disk"), "1G")
        self.durability = "store"
        self.store = t.store(
            store,
            access=self.proxy and self.proxy.access,
            settings={
                "durability": self.durability,
                "data.directory": str(self.disk.path / "data"),
                "data.disk_cache_size": "64M",
                "write.upload_delay": "500ms",
                "gc.retention": "1s",
            },
        )
        self.store.data = self.disk.path / "data"
        # The bucket without the proxy, which ends with the test.
        self.bucket = self.store.bucket and Bucket(t.resources.access[store], self.store.bucket.name)
        self.store.zerofs("create", VOLUME, "--size", "4G")
        self.server = self.store.serve()
        self.device = self.attached(VOLUME).format(file_system)
        self.mount()
        self.postgres = Postgres(t, self.device.mountpoint, "postgres").initialise().start()
        self.postgres.pgbench("-i", "-q", "-s", scale)
        self.history_rows = 0
        # Mode `journal` and a lost disk: what was not in the store yet is gone, as documented.
        self.is_set_back = False
        self.ledger = Ledger(self.postgres)
        self.logs = 0
        self.kills = self.acknowledged = 0
        self.stopped = False

    def attached(self, volume):
        device = Device(self.t, self.server.uri(volume))
        device.kind = self.file_system
        return device

    def mount(self):
        self.device.mount("-o", "discard")

    # Rounds

    def kinds(self):
        return [kind for kind in KINDS if self.proxy or kind not in PROXIED]

    def round(self, kind, durability, seconds=8):
        """One round of trouble under load, and the judgement. Returns the figures."""
        self.use(durability)
        self.kills, self.acknowledged, self.stopped, self.is_set_back = 0, 0, False, False
        struck = self.proxy.struck() if self.proxy else 0
        more = {"outage": self.outage_seconds, "full": FULL_SECONDS}
        load = self.load(seconds + more.get(kind, 0))
        self.wait_for_ledger("the ledger to grow before the trouble", 60)
        time.sleep(self.random.uniform(0.5, 2))
        recovery = getattr(self, kind)()
        checked = self.judge(load, f"after {kind} in mode {durability}")
        struck = (self.proxy.struck() if self.proxy else 0) - struck
        return Report(kind, durability, self.kills, self.acknowledged, checked, recovery, struck, self.stopped)

    def use(self, durability):
        if durability != self.durability:
            self.durability = durability
            self.server.stop()
            self.store.configure({"durability": durability})
            self.server.start(60)

    def load(self, seconds, clients=4):
        """pgbench, with a log of its transactions that lies elsewhere: it is not killed."""
        self.logs += 1
        folder = self.postgres.sockets / f"load{self.logs}"
        folder.mkdir()
        shutil.chown(folder, "postgres")
        output = open(folder / "output", "wb")
        process = self.postgres.background(
            "pgbench", "-n", "-c", clients, "-T", seconds, "-l", f"--log-prefix={folder}/t", stdout=output, stderr=output
        )
        return process, folder, clients

    def zerofs(self):
        recovery = 0
        for _ in range(self.random.randint(1, 3)):
            time.sleep(self.random.uniform(0, 1.5))
            self.kill_server()
            time.sleep(self.random.uniform(0, 1))
            recovery = max(recovery, self.timed(self.start_and_go_on))
        return recovery

    def both(self):
        self.kill_server(self.postgres.kill)
        return self.timed(lambda: (self.server.start(60), self.start_postgres()))

    def machine(self):
        self.kill_everything()
        return self.timed(lambda: self.server.start(60)) + self.recover_machine()

    def lost(self):
        promised = self.uploaded()
        sent = self.kill_everything()
        promised = promised or self.ledger.noted()
        self.store.lose_data_directory()
        self.server.options = ["--take-over", VOLUME, "--accept", VOLUME]
        recovery = self.timed(lambda: self.server.start(60))
        self.server.options = []
        return recovery + self.recover_machine(promised, sent)

    def takeover(self):
        promised = self.uploaded()
        first, old = self.server, self.store
        os.kill(first.pid, signal.SIGSTOP)
        began = time.monotonic()
        self.store = old.elsewhere()
        self.store.data = self.disk.path / self.t.unique("data")
        self.store.configure({"data.directory": str(self.store.data)})
        self.server = self.store.serve("--take-over", VOLUME, "--accept", VOLUME)
        self.server.options = []
        # The file system is on the first one still. It wakes up, and must not acknowledge what the second never sees.
        check(self.attaches(), "the second server serves the volume")
        logged = first.log.stat().st_size
        os.kill(first.pid, signal.SIGCONT)
        first.await_event("fenced", 20, logged)
        time.sleep(2)
        self.acknowledge()
        self.kill_clients()
        self.ledger.abandon()
        first.kill()
        self.journal_is_kept(old)
        self.kills += 1
        recovery = time.monotonic() - began + self.recover_machine(promised or self.ledger.noted(), self.ledger.sent)
        shutil.rmtree(old.data)
        return recovery

    def journal_is_kept(self, store):
        """What the loser answered and never uploaded is listed. In mode `journal` the load left some of that."""
        journals = [j for j in store.json("journals") if j["volume"] == VOLUME and j["writesMissing"] > 0]
        check(journals or self.durability == "store", "the journal of the server that lost the volume is not listed")

    def busy(self):
        recovery = 0
        for _ in range(2):
            commands = Background(self.manage)
            time.sleep(self.random.uniform(1, 3))
            self.kill_server()
            # A command may have begun to work on its own, and keeps servers away meanwhile.
            commands.join()
            recovery = max(recovery, self.timed(self.start_and_go_on))
        self.clear()
        return recovery

    def manage(self, stopping):
        for number in itertools.count():
            for command in (
                ["snapshot", VOLUME, "--name", f"s{number}"],
                ["branch", f"{VOLUME}@s{number}", f"b{number}"],
                ["delete", f"b{number - 1}", "--force"],
                ["gc"],
                ["delete", f"{VOLUME}@s{number}", "--force"],
            ):
                if stopping.is_set():
                    return
                self.store.zerofs(*command, expect=None)

    def clear(self):
        """Deletes what commands that were killed left: a name may stay, but only as one that works."""
        names = [v["name"] for v in self.store.json("list") if v["name"] != VOLUME]
        for name in sorted(names, key=lambda n: "@" in n):
            self.store.zerofs("delete", name)
        equal([v["name"] for v in self.store.json("list")], [VOLUME], "what is left after deletion")

    def full(self):
        logged = self.server.log.stat().st_size

        def says_so():
            # What the journal gives back is taken at once, until it wants room that is not there.
            self.disk.fill()
            return self.server.has_logged("disk-full", logged)

        wait_until(says_so, 120, "the log to say event=disk-full")
        time.sleep(2)
        check(self.server.is_running(), f"a full disk does not end the server: {self.server.tail()}")
        self.kill_server()
        self.server.launch()
        # It may refuse to serve the volume, and say so; it may not lose anything.
        time.sleep(3)
        self.disk.clear()
        began = time.monotonic()
        if not (self.server.is_running() and self.gets_ready()):
            self.server.start(60)
        if not self.goes_on(45):
            # The database got an error, which it may after a clear one. What it had promised must be there.
            self.stopped = True
            self.kill_clients()
            self.recover_machine()
        return time.monotonic() - began

    def gets_ready(self):
        """False where the server, which met a full disk at its start, has ended instead."""
        try:
            self.server.await_ready(60)
        except Failure:
            # Its output ends a moment before it does.
            time.sleep(1)
            if self.server.is_running():
                raise
            return False
        return True

    def outage(self):
        self.proxy.down()
        time.sleep(self.outage_seconds / 2)
        self.kill_server()
        time.sleep(self.outage_seconds / 2)
        self.proxy.up()
        return self.timed(self.start_and_go_on)

    def slow(self):
        return self.troubled([], delay=0.08, jitter=0.25, bandwidth=4 << 20)

    def rough(self):
        return self.troubled(ROUGH, delay=0.005)

    def troubled(self, rules, **settings):
        self.proxy.plan(rules, **settings)
        time.sleep(4)
        self.wait_for_ledger("the ledger to grow in spite of the store", 90)
        self.kill_server()
        recovery = self.timed(self.start_and_go_on)
        time.sleep(4)
        self.proxy.plan()
        return recovery

    # Killing and recovering

    def uploaded(self):
        """In mode `journal`: waits until what is promised is in the store, and returns it; what comes later may be there.
        In mode `store` all that was acknowledged must be: None."""
        if self.durability == "store":
            return None
        self.pause_ledger()
        promised = self.ledger.noted()
        wait_until(self.is_uploaded, 60, "the uploads")
        self.resume_ledger(promised)
        self.wait_for_ledger("the ledger to go on", 60)
        self.is_set_back = True
        return promised

    def attaches(self):
        return self.t.run("nbdinfo", "--size", self.server.uri(VOLUME), expect=None, timeout=60).code == 0

    def kill_server(self, also=lambda: None):
        self.acknowledge()
        self.server.process.kill()
        also()
        self.server.kill()
        self.kills += 1

    def kill_clients(self):
        if self.postgres.is_running():
            self.postgres.kill()
        self.device.kill()

    def kill_everything(self):
        """Returns what was sent before nothing could be sent any more."""
        self.kill_server(self.kill_clients)
        self.ledger.abandon()
        return dict(self.ledger.sent)

    def start_and_go_on(self):
        self.server.start(60)
        self.wait_for_ledger("PostgreSQL to go on after SIGKILL of zerofs", 90)

    def goes_on(self, seconds):
        try:
            self.wait_for_ledger("PostgreSQL to go on", seconds)
            return True
        except (TimeoutError, Failure):
            return False

    def recover_machine(self, promised=None, sent=None):
        """As after a power failure: the file system's journal, its check, PostgreSQL's recovery."""
        self.device = self.attached(VOLUME)
        self.device.replay().fsck()
        began = time.monotonic()
        self.mount()
        self.postgres.data = self.device.mountpoint / "pg"
        self.start_postgres(promised, sent)
        return time.monotonic() - began

    def start_postgres(self, promised=None, sent=None):
        """Starts PostgreSQL after it was killed; the ledger must hold, and goes on."""
        self.ledger.abandon()
        self.postgres.start()
        found = Ledger.compare(
            self.postgres, promised or self.ledger.noted(), sent or self.ledger.sent, "after recovery"
        )
        self.resume_ledger(found)
        self.wait_for_ledger("the ledger to go on", 60)

    def pause_ledger(self):
        self.acknowledge()
        self.ledger.stop()

    def resume_ledger(self, begin):
        self.acknowledge()
        self.ledger = Ledger(self.postgres, begin=begin)

    def acknowledge(self):
        """Adds what the ledger grew by to this round's figures."""
        grown = self.ledger.grown()
        self.acknowledged += grown - getattr(self.ledger, "counted", 0)
        self.ledger.counted = grown

    def wait_for_ledger(self, what, seconds, count=10):
        before = self.ledger.total()

        def has_grown():
            if self.ledger.error:
                raise Failure(f"while waiting for {what}: {self.ledger.error}")
            return self.ledger.total() > before + count

        wait_until(has_grown, seconds, what)

    def is_uploaded(self):
        one = next(v for v in self.server.stats()["engine"]["volumes"] if v["name"] == VOLUME)
        return not (one["uploadsWaiting"] or one["uploadsInFlight"] or one["writeBufferBytes"])

    @staticmethod
    def timed(action):
        began = time.monotonic()
        action()
        return time.monotonic() - began

    # Judging

    def judge(self, load, what):
        """Returns how many acknowledged transactions were looked for, and found."""
        process, folder, clients = load
        process.wait(120)
        logged = sum(len(log.read_bytes().splitlines()) for log in folder.glob("t.*"))
        self.snapshot_is_sound(what)
        self.pause_ledger()
        noted = self.ledger.noted()
        Ledger.compare(self.postgres, noted, self.ledger.sent, what)
        self.history(logged, clients, what)
        self.postgres.check_balances(what)
        self.postgres.amcheck()
        self.store.zerofs("verify", "--deep", timeout=240)
        self.acknowledged += logged
        self.resume_ledger(noted)
        return sum(noted.values()) + self.history_rows

    def history(self, logged, clients, what):
        """Each transaction that pgbench saw committed is there, and at most one more for each of its clients."""
        rows = int(self.postgres.sql("select count(*) from pgbench_history"))
        least = self.history_rows + (0 if self.is_set_back else logged)
        most = self.history_rows + logged + clients
        check(least <= rows, f"{what}: pgbench saw {least} transactions committed, {rows} are there")
        check(rows <= most, f"{what}: pgbench has {rows} transactions, and sent {most} at most")
        self.history_rows = rows

    def snapshot_is_sound(self, what):
        """A snapshot taken under load recovers as a disk does after a power failure."""
        self.wait_for_ledger(f"the ledger to grow, {what}", 60)
        self.store.zerofs("snapshot", VOLUME, "--name", "judged")
        self.store.zerofs("branch", f"{VOLUME}@judged", "judged")
        device = self.attached("judged")
        device.replay().fsck()
        device.close()
        self.store.zerofs("delete", "judged")
        self.store.zerofs("delete", f"{VOLUME}@judged")

    def collect(self):
        self.store.zerofs("gc", timeout=240)

    def finish(self, from_store=True):
        """Everything down in order, the file system checked; and once more from the store alone."""
        self.ledger.stop()
        noted, sent = self.ledger.noted(), dict(self.ledger.sent)
        self.leave()
        self.store.zerofs("verify", "--deep", timeout=240)
        if not from_store:
            return
        self.server.stop()
        self.store.lose_data_directory()
        self.server.start(60)
        self.device = self.attached(VOLUME)
        self.device.fsck()
        self.mount()
        self.postgres.data = self.device.mountpoint / "pg"
        self.postgres.start()
        Ledger.compare(self.postgres, noted, sent, "from the store alone")
        rows = int(self.postgres.sql("select count(*) from pgbench_history"))
        equal(rows, self.history_rows, "pgbench's transactions, from the store alone")
        self.leave()
        self.server.stop()

    def leave(self):
        self.postgres.stop()
        self.device.unmount()
        self.device.fsck()
        self.device.close()

    def freeze(self):
        """Stops everything where it is, so that what went wrong can be looked at."""
        self.server.process.kill()
        if self.postgres.is_running():
            self.postgres.kill()
        processes.kill([self.device.exporter.pid, self.device.retrying.pid])
        if self.bucket:
            folder = self.t.path("bucket")
            for key in self.bucket.sizes():
                file = folder / key
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(self.bucket.get(key))
        subprocess.run(["sync"], timeout=60)
