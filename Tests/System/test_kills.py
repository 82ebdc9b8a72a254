"""Real kills: PostgreSQL with synchronous_commit=on under load, a ledger outside, and everything below it in trouble.

Three rounds each; scripts/soak runs as many as one likes.
"""

from harness import mark
from kills import Rig


@mark(limit=240, needs=("devices", "postgres"), alone=True)
def test_no_acknowledged_transaction_is_lost_to_kills(t):
    rig = Rig(t, seed=31)
    for kind, durability in (("zerofs", "store"), ("machine", "journal"), ("lost", "store")):
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
