"""Servers that many tests share: started when the first test needs them, stopped at the end of the run."""

import os
import pathlib
import random
import shutil
import socket
import subprocess

import processes
from objectstores import S3Access

HERE = pathlib.Path(__file__).resolve().parent


def free_port():
    """Below those that the system chooses from (ip_local_port_range): no other socket is given it before its server."""
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def answers(port):
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


class Resources:
    """`access[name]` tells tests how to reach what they need."""

    def __init__(self, root):
        self.root = root
        self.access = {}
        self.stops = []
        self.known_pids = set()
        self.missing = {}

    def lacking(self, needs):
        """Starts what is needed. Returns why that cannot be done, or None."""
        for name in needs:
            if name not in self.access and name not in self.missing:
                try:
                    self.access[name] = getattr(self, name)()
                except (OSError, RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
                    self.missing[name] = str(error)
            if name in self.missing:
                return self.missing[name]
        return None

    def pids(self):
        return self.known_pids

    def close(self):
        for stop in reversed(self.stops):
            stop()

    def address(self):
        """One of this machine's own that is not the loopback one: clients over it count as another machine's."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Nothing is sent: the kernel only looks for a route.
            probe.connect(("192.0.2.1", 9))
            own = probe.getsockname()[0]
        if own.startswith("127."):
            raise RuntimeError("this machine has no address but the loopback one")
        return own

    def moto(self):
        """Quick to start, and takes any signature."""
        python = next(
            (
                p
                for p in ("python3", "/usr/bin/python3")
                if shutil.which(p)
                and subprocess.run([p, "-c", "import moto.server"], stderr=subprocess.DEVNULL).returncode == 0
            ),
            None,
        )
        if not python:
            raise RuntimeError("moto is not installed (pip install 'moto[server]')")
        port = free_port()
        log = open(self.root / "moto.log", "wb")
        server = subprocess.Popen(
            [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.known_pids.add(server.pid)
        self.stops.append(lambda: processes.end(server, 5))
        processes.wait_until(lambda: answers(port), 90, "moto")
        return S3Access(f"http://127.0.0.1:{port}", "test", "testtest")

    def radosgw(self):
        """A real one: that which ZEROFS_TEST_S3_ENDPOINT names, else our own."""
        if endpoint := os.environ.get("ZEROFS_TEST_S3_ENDPOINT"):
            return S3Access(
                endpoint,
                os.environ.get("ZEROFS_TEST_S3_ACCESS_KEY", ""),
                os.environ.get("ZEROFS_TEST_S3_SECRET_KEY", ""),
            )
        if not all(shutil.which(p) for p in ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin")):
            raise RuntimeError("Ceph's radosgw is not installed")
        folder = self.root / "ceph"
        self.stops.append(lambda: subprocess.run([HERE / "radosgw", "down", folder], timeout=60))
        with open(self.root / "ceph.log", "wb") as log:
            started = subprocess.run(
                [HERE / "radosgw", "up", folder],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                timeout=240,
                text=True,
                start_new_session=True,
            )
        self.known_pids |= {int(f.read_text()) for f in folder.glob("run/*.pid") if f.read_text().strip().isdigit()}
        if started.returncode != 0:
            raise RuntimeError(
                "radosgw did not start: " + (self.root / "ceph.log").read_text(errors="replace")[-400:]
            )
        words = dict(line.split("=", 1) for line in started.stdout.splitlines() if "=" in line)
        return S3Access(
            words["ZEROFS_TEST_S3_ENDPOINT"], words["ZEROFS_TEST_S3_ACCESS_KEY"], words["ZEROFS_TEST_S3_SECRET_KEY"]
        )

    def postgres(self):
        from postgres import server_programs

        if not server_programs():
            raise RuntimeError("PostgreSQL's server is not installed")
        return server_programs()

    def devices(self):
        for program in ("nbdfuse", "fusermount3", "losetup", "nbdkit", "mkfs.ext4"):
            if not shutil.which(program):
                raise RuntimeError(f"{program} is not installed")
        if not os.path.exists("/dev/fuse") or not os.path.exists("/dev/loop-control"):
            raise RuntimeError("this kernel has no FUSE or no loop devices")
        return True

    def fio(self):
        return self.program("fio")

    def btrfs(self):
        return self.program("mkfs.btrfs") and self.program("btrfs")

    def qemu(self):
        return self.program("qemu-img") and self.program("qemu-io")

    def program(self, name):
        if not shutil.which(name):
            raise RuntimeError(f"{name} is not installed")
        return True
