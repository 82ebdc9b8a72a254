"""The main job: a PostgreSQL database is cloned under load, over real block devices, while zerofs is killed."""

import time

from devices import Device
from harness import check, equal, mark, wait_until
from postgres import Ledger, Postgres


class Database:
    """PostgreSQL on ext4 on a volume."""

    def __init__(self, t, server, volume, kind="ext4"):
        self.t = t
        self.device = Device(t, server.uri(volume))
        self.kind, self.volume = kind, volume
        self.postgres = None

    def make(self, scale):
        self.device.format(self.kind)
        self.postgres = Postgres(self.t, self.device.mount("-o", "discard"), f"pg-{self.volume}").initialise().start()
        self.postgres.pgbench("-i", "-q", "-s", scale)
        self.postgres.sql("create table mine (text text)")
        return self

    def recover(self):
        self.postgres = Postgres(self.t, self.device.mount("-o", "discard"), f"pg-{self.volume}").start()
        return self

    def load(self, seconds, clients=4):
        log = open(self.t.path(f"pgbench-{self.volume}"), "wb")
        return self.postgres.background(
            "pgbench", "-n", "-c", clients, "-j", "1", "-T", seconds, stdout=log, stderr=log
        )

    def judge(self, what):
        self.postgres.check_balances(what)
        self.postgres.amcheck()

    def leave(self):
        """Everything down, and a file system that is sound."""
        self.postgres.stop()
        self.device.unmount()
        self.device.fsck()
        self.device.close()


def finished(t, process, name):
    equal(process.wait(90), 0, f"pgbench on {name}: {t.path('pgbench-' + name).read_text()[-300:]}")


def clone_under_load(t, store, server, scale, seconds, kills):
    prod = Database(t, server, "pg-prod").make(scale)
    ledger = Ledger(prod.postgres)
    load = prod.load(seconds)
    time.sleep(2)
    for _ in range(kills):
        before = ledger.total()
        server.kill()
        time.sleep(0.5)
        server.start()
        wait_until(lambda: ledger.total() > before + 20, 40, "PostgreSQL to go on after SIGKILL of zerofs")

    promised, _ = ledger.now()
    store.zerofs("snapshot", "pg-prod", "--name", "monday")
    _, sent = ledger.now()
    store.zerofs("branch", "pg-prod@monday", "staging")

    staging = Database(t, server, "staging").recover()
    Ledger.compare(staging.postgres, promised, sent, "the branch")
    staging.postgres.check_balances("the branch")
    staging.postgres.sql("insert into mine values ('staging'); truncate ledger")
    prod.postgres.sql("insert into mine values ('prod')")
    second = Ledger(staging.postgres, first=100)
    staging_load = staging.load(max(seconds // 3, 4))
    time.sleep(2)
    if kills:
        server.kill()
        server.start()
    finished(t, staging_load, "staging")
    finished(t, load, "pg-prod")
    second.stop()
    ledger.stop()
    check(ledger.total() > 50 and second.total() > 20, f"the ledgers grew: {ledger.total()}, {second.total()}")

    equal(prod.postgres.sql("select * from mine"), "prod", "what production sees")
    equal(staging.postgres.sql("select * from mine"), "staging", "what the branch sees")
    Ledger.compare(prod.postgres, ledger.committed, ledger.sent, "production")
    Ledger.compare(staging.postgres, second.committed, second.sent, "the branch, later")
    equal(
        staging.postgres.sql("select count(*) from ledger where client < 100"),
        "0",
        "production's later commits on the branch",
    )
    prod.judge("production")
    staging.judge("the branch")
    return prod, staging, ledger


@mark(limit=170, needs=("devices", "postgres"), alone=True)
def test_a_database_is_cloned_under_load_while_zerofs_is_killed(t):
    store = t.store()
    store.zerofs("create", "pg-prod", "--size", "8G")
    server = store.serve()
    prod, staging, ledger = clone_under_load(t, store, server, scale=5, seconds=30, kills=2)
    staging.leave()
    store.zerofs("delete", "staging")
    store.zerofs("delete", "pg-prod@monday")
    report = store.json("gc")
    check(report["bytesDeleted"] > 0, f"gc gave bytes back: {report}")
    prod.leave()
    store.zerofs("verify", "--deep")
    # From the store alone: another host, without the data directory.
    server.stop()
    store.lose_data_directory()
    server.start()
    again = Database(t, server, "pg-prod").recover()
    Ledger.compare(again.postgres, ledger.committed, ledger.sent, "production, from the store alone")
    again.judge("production, from the store alone")
    again.leave()
    server.stop()


@mark(limit=170, needs=("devices", "postgres", "radosgw"), alone=True)
def test_a_database_is_cloned_under_load_on_a_real_s3_server(t):
    store = t.store("radosgw")
    store.zerofs("create", "pg-prod", "--size", "8G")
    server = store.serve()
    prod, staging, ledger = clone_under_load(t, store, server, scale=2, seconds=20, kills=1)
    staging.leave()
    prod.leave()
    store.zerofs("verify", "--deep")
    server.stop()


@mark(limit=120, needs=("devices", "postgres"), alone=True)
def test_a_lost_host_keeps_every_commit_in_mode_store(t):
    """SIGKILL of everything, the data directory gone: each commit that PostgreSQL answered is in the store."""
    store = t.store()
    store.zerofs("create", "pg-prod", "--size", "8G")
    server = store.serve()
    prod = Database(t, server, "pg-prod").make(1)
    ledger = Ledger(prod.postgres, clients=3)
    wait_until(lambda: ledger.total() > 200, 40, "the ledger to grow")
    promised, _ = ledger.now()
    server.kill()
    time.sleep(0.5)
    sent = ledger.now()[1]
    # A second host takes over while the first one's PostgreSQL still waits for its disk.
    other = store.elsewhere()
    successor = other.serve("--take-over", "pg-prod", "--accept", "pg-prod")
    again = Database(t, successor, "pg-prod").recover()
    Ledger.compare(again.postgres, promised, sent, "after the take-over")
    again.judge("after the take-over")
    again.leave()
    ledger.stopping.set()


@mark(limit=300, needs=("devices", "postgres"), alone=True, full=True)
def test_journal_mode_survives_many_kills_under_load(t):
    store = t.store(settings={"durability": "journal"})
    store.zerofs("create", "pg-prod", "--size", "8G")
    server = store.serve()
    prod, staging, ledger = clone_under_load(t, store, server, scale=5, seconds=90, kills=8)
    staging.leave()
    prod.leave()
    store.zerofs("verify", "--deep")
