"""Block devices made of NBD exports: nbdkit's retry filter, nbdfuse and a loop device.

The retry filter keeps the device alive while zerofs is killed and started again, as the kernel's own client does.
"""

import os
import pathlib
import signal
import subprocess

import processes
from harness import Failure
from processes import wait_until


class FileSystem:
    """What is done with a device, however it was made. Has `case`, `loop` and `mountpoint`."""

    kind = "ext4"

    def format(self, kind="ext4"):
        self.kind = kind
        extra = ["-E", "lazy_itable_init=1"] if kind == "ext4" else []
        self.case.run(f"mkfs.{kind}", "-q", *extra, self.loop)
        return self

    def mount(self, *options):
        self.case.run("mount", *options, self.loop, self.mountpoint)
        return self.mountpoint

    def unmount(self):
        self.case.run("umount", self.mountpoint)

    def replay(self):
        """Lets the file system's own journal bring it in order, as a mount after a crash does."""
        # A clone carries its source's UUID, which XFS takes only once.
        self.mount(*(["-o", "nouuid"] if self.kind == "xfs" else []))
        self.unmount()
        return self

    def fsck(self):
        """The file system is sound. It was unmounted cleanly, or its journal replayed."""
        judge = {"ext4": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n"], "btrfs": ["btrfs", "check", "--readonly"]}
        self.case.run(*judge[self.kind], self.loop)


class Device(FileSystem):
    def __init__(self, case, uri, retries=120):
        self.case = case
        self.folder = case.path(case.unique("d"))
        self.folder.mkdir()
        self.mountpoint = self.folder / "mnt"
        self.mountpoint.mkdir()
        self.fuse = self.folder / "fuse"
        self.fuse.mkdir()
        self.loop = None
        case.at_end(self.close)
        middle = self.folder / "mid.sock"
        self.retrying = self.start(
            "nbdkit",
            "-f",
            "-U",
            middle,
            "--filter=retry",
            "nbd",
            f"uri={uri}",
            f"retries={retries}",
            "retry-delay=1",
            "retry-exponential=no",
        )
        wait_until(lambda: processes.listens(middle), 20, "nbdkit to listen")
        self.exporter = self.start("nbdfuse", "-C", "4", self.fuse / "disk", f"nbd+unix:///?socket={middle}")
        try:
            wait_until(lambda: (self.fuse / "disk").exists() or self.exporter.poll() is not None, 30, "nbdfuse")
        except TimeoutError as late:
            raise Failure(f"{late}; a client that asks itself is told: {self.answer(uri)}") from None
        if self.exporter.poll() is not None:
            raise Failure(f"nbdfuse ended: {(self.folder / 'log').read_text(errors='replace')[-300:]}")
        self.loop = case.run(
            "losetup", "--find", "--show", "--direct-io=on", "--sector-size", "4096", self.fuse / "disk"
        ).out.strip()

    def start(self, *arguments):
        log = open(self.folder / "log", "ab")
        return subprocess.Popen([str(a) for a in arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def close(self):
        if str(self.mountpoint) in processes.mounts_below(self.folder):
            subprocess.run(["umount", self.mountpoint], timeout=60)
        if self.loop:
            subprocess.run(["losetup", "-d", self.loop], timeout=60)
            self.loop = None
        if str(self.fuse) in processes.mounts_below(self.folder) or str(self.fuse / "disk") in processes.mounts_below(
            self.folder
        ):
            subprocess.run(["fusermount3", "-u", self.fuse], timeout=30)
        processes.end(self.exporter, 10)
        # It waits for its clients after SIGTERM; there are none any more.
        self.retrying.send_signal(signal.SIGTERM)
        processes.end(self.retrying, 3)

    def answer(self, uri):
        """What the server says to a client; nbdkit and nbdfuse keep that to themselves."""
        debugging = {**os.environ, "LIBNBD_DEBUG": "1"}
        lines = self.case.run("nbdinfo", uri, expect=None, timeout=60, env=debugging).err.splitlines()
        return " / ".join(line for line in lines if "message: " in line) or "nothing that explains it"

    def kill(self):
        """The machine that had it mounted is gone: whatever was not written yet is lost."""
        processes.kill([self.exporter.pid, self.retrying.pid])
        # Without its file the loop device fails what is still to be written, and the file system gives up: so do those
        # that waited for it, and were killed.
        wait_until(self.is_unmounted, 60, f"{self.mountpoint} to be left by everyone")
        for command in (["losetup", "-d", self.loop], ["fusermount3", "-uz", self.fuse]):
            subprocess.run([str(c) for c in command], stderr=subprocess.DEVNULL, timeout=60)
        self.loop = None

    def is_unmounted(self):
        if str(self.mountpoint) not in processes.mounts_below(self.folder):
            return True
        command = ["umount", str(self.mountpoint)]
        return subprocess.run(command, stderr=subprocess.DEVNULL, timeout=60).returncode == 0


class SmallDisk:
    """A disk of its own, with ext4, to fill it up."""

    def __init__(self, case, name, size):
        self.path = pathlib.Path(case.path(name))
        self.path.mkdir()
        image = case.path(f"{name}.img")
        case.run("truncate", "-s", size, image)
        case.run("mkfs.ext4", "-q", "-m", "0", image)
        case.run("mount", "-o", "loop", image, self.path)
        case.at_end(lambda: subprocess.run(["umount", "-l", self.path]))

    @property
    def filler(self):
        return self.path / "filler"

    def fill(self):
        with open(self.filler, "ab", buffering=0) as file:
            for size in (1 << 20, 4096):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def clear(self):
        self.filler.unlink(missing_ok=True)


class SmallFileSystem:
    """A tmpfs with a limit, to fill it up."""

    def __init__(self, case, name, size):
        self.case = case
        self.path = pathlib.Path(case.path(name))
        self.path.mkdir()
        case.run("mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", self.path)
        case.at_end(lambda: subprocess.run(["umount", "-l", self.path]))

    def resize(self, size):
        self.case.run("mount", "-o", f"remount,size={size}", self.path)
