"""ext4, XFS and btrfs on a volume: what was fsynced is in each later snapshot, and each recovers as after a power
failure, by the judgement of its own checker."""

import hashlib
import os
import pathlib
import random

from devices import Device
from harness import KIB, Background, Failure, check, equal, mark, wait_until


class Files:
    """Files that are written, fsynced and renamed into place one after another, and noted when that was done."""

    def __init__(self, folder):
        self.folder, self.done = pathlib.Path(folder), []
        self.random = random.Random(3)

    def work(self, stopping):
        while not stopping.is_set():
            number = len(self.done)
            content = self.random.randbytes(self.random.randrange(1, 96 * KIB))
            name = f"{number:05}-{hashlib.sha256(content).hexdigest()}"
            with open(self.folder / "new", "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(self.folder / "new", self.folder / name)
            directory = os.open(self.folder, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
            self.done.append(name)

    @staticmethod
    def check(folder, names, what):
        for name in names:
            content = (pathlib.Path(folder) / name).read_bytes()
            equal(hashlib.sha256(content).hexdigest(), name[6:], f"{what}: file {name[:5]}")


def recovers(t, server, kind, name, done):
    """Attaches a branch of a snapshot that was taken under load: its journal, its checker, its files."""
    device = Device(t, server.uri(name))
    device.kind = kind
    device.replay().fsck()
    device.mount(*(["-o", "nouuid"] if kind == "xfs" else []))
    Files.check(device.mountpoint, done, f"{kind} {name}")
    if kind == "btrfs":
        t.run("btrfs", "scrub", "start", "-B", device.mountpoint)
    device.unmount()
    device.fsck()
    device.close()


def snapshots_under_load(t, kind, settings=None):
    store, server = t.served(size="1G", settings=settings)
    device = Device(t, server.uri()).format(kind)
    files = Files(device.mount("-o", "discard"))
    writing = Background(files.work)
    snapshots = []
    for i in range(3):
        wait_until(lambda: len(files.done) > 25 * (i + 1) or writing.error, 40, "files to be written")
        done = list(files.done)
        store.zerofs("snapshot", "vol", "--name", f"s{i}")
        store.zerofs("branch", f"vol@s{i}", f"b{i}")
        snapshots.append(done)
        if i == 1:
            server.kill().start()
    wait_until(lambda: len(files.done) > len(snapshots[-1]) + 10 or writing.error, 40, "writing to go on")
    writing.join()
    for i, done in enumerate(snapshots):
        # Two clones of one btrfs must not be known to a kernel at once.
        if kind == "btrfs":
            device.unmount() if i == 0 else None
        recovers(t, server, kind, f"b{i}", done)
    if kind != "btrfs":
        device.unmount()
    device.fsck()
    device.mount()
    Files.check(device.mountpoint, files.done, f"{kind}, the volume itself")
    check(len(files.done) > 80, f"{len(files.done)} files were written")
    device.unmount()
    device.close()
    store.zerofs("verify", "--deep")


@mark(limit=150, needs=("devices",))
def test_each_snapshot_of_a_busy_ext4_recovers_and_holds_what_was_fsynced(t):
    snapshots_under_load(t, "ext4")


@mark(limit=150, needs=("devices",))
def test_each_snapshot_of_a_busy_xfs_recovers_and_holds_what_was_fsynced(t):
    snapshots_under_load(t, "xfs", {"durability": "journal"})


@mark(limit=150, needs=("devices", "btrfs"), full=True)
def test_each_snapshot_of_a_busy_btrfs_recovers_and_holds_what_was_fsynced(t):
    snapshots_under_load(t, "btrfs")


@mark(limit=150, needs=("devices", "fio"), alone=True)
def test_fio_on_a_block_device_does_not_notice_that_zerofs_is_killed(t):
    """Several jobs, block sizes and depths, with fsync and trims; zerofs dies five times. Then what each wrote is read."""
    store, server = t.served(size="1G")
    device = Device(t, server.uri())
    common = ["--ioengine=libaio", "--direct=1", f"--filename={device.loop}", "--verify=crc32c-intel",
              "--verify_fatal=1", "--verify_state_save=0", "--randseed=5", "--group_reporting", "--output-format=json"]
    jobs = [
        ("small", 0, ["--bs=4k", "--rw=randwrite", "--iodepth=16"]),
        ("pages", 128, ["--bs=8k", "--rw=randwrite", "--iodepth=4", "--fsync=8"]),
        ("mixed", 256, ["--bsrange=4k-128k", "--blockalign=4k", "--rw=randwrite", "--iodepth=8", "--fdatasync=32"]),
        ("large", 384, ["--bs=1m", "--rw=write", "--iodepth=2"]),
    ]
    each = [a for name, offset, options in jobs
            for a in (f"--name={name}", f"--offset={offset}m", "--size=96m", "--rate=12m", *options)]
    # As the test's own limit, these guard only against what hangs.
    running = Background(lambda stopping: t.run("fio", *common, "--do_verify=0", *each, timeout=390))
    pause = random.Random(4)
    kills = 0
    while running.thread.is_alive() and kills < 5:
        running.thread.join(pause.uniform(0.5, 2.5))
        server.kill().start()
        kills += 1
    check(kills == 5, f"fio was done after {kills} kills")
    running.join(400, stop=False)
    t.run("fio", *common, "--verify_only", *each, timeout=180)
    server.restart()
    t.run("fio", *common, "--verify_only", *each, timeout=180)
    device.close()
    store.zerofs("verify", "--deep")


@mark(limit=300, needs=("devices",), alone=True)
def test_a_mounted_file_system_goes_on_after_each_clean_restart(t):
    """Its clients are in the middle of something when the server leaves, and reconnect. None of them waits for ever."""
    store, server = t.served(size="1G")
    device = Device(t, server.uri()).format("ext4")
    device.mount("-o", "discard")
    folders = [device.mountpoint / str(i) for i in range(4)]
    for folder in folders:
        folder.mkdir()
    files = [Files(folder) for folder in folders]
    writing = [Background(one.work) for one in files]
    for round in range(60 if t.full else 6):
        server.stop()
        store.configure({"durability": "journal" if round % 2 else "store"})
        server.start()
        before = [len(one.done) for one in files]
        try:
            wait_until(
                lambda: all(len(one.done) > b + 1 for one, b in zip(files, before)) or any(w.error for w in writing),
                40,
                f"writing to go on after restart {round}",
            )
        except TimeoutError as late:
            raise Failure(f"{late}; a client that asks itself is told: {device.answer(server.uri())}") from None
    for one in writing:
        one.join()
    device.unmount()
    device.fsck()
    device.mount()
    for one in files:
        Files.check(one.folder, one.done, "after all restarts")
    device.unmount()
    device.close()
