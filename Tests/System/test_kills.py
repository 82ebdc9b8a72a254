"""Real kills: PostgreSQL with synchronous_commit=on under load, a ledger outside, and everything below it in trouble.

Three rounds each; scripts/soak runs as many as one likes.
"""

from harness import Failure, equal, mark, wait_until
from kills import Rig
from postgres import Ledger, Postgres


@mark(limit=240, needs=("devices", "postgres"), alone=True)
def test_no_acknowledged_transaction_is_lost_to_kills(t):
    rig = Rig(t, seed=31)
    for kind, durability in (("zerofs", "store"), ("machine", "journal"), ("busy", "store")):
        print(rig.round(kind, durability).line(), flush=True)
    rig.finish(from_store=False)


@mark(limit=240, needs=("devices", "postgres", "radosgw"), alone=True)
def test_no_acknowledged_transaction_is_lost_to_a_store_that_is_away_slow_or_throttling(t):
    rig = Rig(t, store="radosgw", file_system="xfs", seed=32, outage_seconds=6)
    for kind, durability in (("outage", "store"), ("rough", "store"), ("slow", "journal")):
        print(rig.round(kind, durability, seconds=10).line(), flush=True)
    rig.finish(from_store=True)


@mark(limit=240, needs=("devices", "postgres"), alone=True)
def test_no_acknowledged_transaction_is_lost_to_a_full_disk_and_kills_of_everything(t):
    rig = Rig(t, seed=33)
    for kind, durability in (("full", "journal"), ("both", "journal"), ("lost", "journal")):
        print(rig.round(kind, durability).line(), flush=True)
    rig.finish(from_store=True)


@mark(needs=("postgres",))
def test_the_ledger_notices_a_transaction_that_is_lost_made_up_or_out_of_order(t):
    folder = t.path("plain")
    folder.mkdir()
    postgres = Postgres(t, folder, "postgres").initialise().start("fsync=off")
    ledger = Ledger(postgres)
    wait_until(lambda: min(ledger.committed.values()) > 20, 20, "the ledger to grow")
    ledger.stop()
    noted, sent = ledger.noted(), ledger.sent
    equal(noted, ledger.committed, "what the files outside say")
    client, highest = max(noted.items())
    Ledger.compare(postgres, noted, sent, "untouched")
    for what, change in (
        ("the last one lost", f"delete from ledger where client = {client} and number = {highest}"),
        ("one in the middle lost", f"delete from ledger where client = {client} and number = 7"),
        ("one too many", f"insert into ledger values ({client}, {sent[client] + 1})"),
    ):
        postgres.sql("create table kept as select * from ledger")
        postgres.sql(change)
        try:
            Ledger.compare(postgres, noted, sent, what)
        except Failure:
            postgres.sql("truncate ledger; insert into ledger select * from kept; drop table kept")
        else:
            raise Failure(f"{what}: it was not noticed")
    postgres.stop()
