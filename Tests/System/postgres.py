"""PostgreSQL on a mounted volume, and a ledger of what it promised."""

import os
import pathlib
import re
import shutil
import subprocess
import threading

import processes
from harness import Failure, check, equal


def server_programs():
    """The folder with initdb, or None."""
    if shutil.which("pg_config"):
        folder = pathlib.Path(
            subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True).stdout.strip()
        )
        if (folder / "initdb").exists():
            return folder
    found = sorted(
        pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda p: int(p.parts[-3]) if p.parts[-3].isdigit() else 0,
    )
    return found[-1].parent if found else None


class Postgres:
    """A server of user postgres, reached over a unix socket in a folder of its own."""

    def __init__(self, case, mountpoint, name):
        self.case, self.programs = case, case.resources.access["postgres"]
        self.data = pathlib.Path(mountpoint) / "pg"
        self.sockets = case.path(case.unique(name))
        self.sockets.mkdir()
        shutil.chown(self.sockets, "postgres")
        self.log = self.sockets / "log"
        case.at_end(self.abandon)

    def as_postgres(self, program, *arguments, **options):
        command = ["runuser", "-u", "postgres", "--", self.programs / program, *arguments]
        return self.case.run(*command, cwd="/", **options)

    def initialise(self):
        self.data.mkdir()
        shutil.chown(self.data, "postgres")
        self.data.chmod(0o700)
        self.as_postgres("initdb", "-D", self.data, "-A", "trust", "--no-instructions")
        return self

    def start(self, *settings):
        # A clone carries the lock file of the server that it was taken from.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        options = [
            "listen_addresses=",
            "shared_buffers=64MB",
            "max_wal_size=256MB",
            "wal_sync_method=fdatasync",
            *settings,
        ]
        text = f"-k {self.sockets} " + " ".join(f"-c {s}" for s in options)
        done = self.as_postgres(
            "pg_ctl", "-D", self.data, "-l", self.log, "-w", "-t", "60", "-o", text, "start", expect=None
        )
        check(done.code == 0, f"PostgreSQL did not start: {self.tail()}")
        return self

    def stop(self, mode="fast"):
        pid = self.pid()
        self.as_postgres("pg_ctl", "-D", self.data, "-w", "-t", "60", "-m", mode, "stop")
        # It removes its file of the pid a moment before it leaves the folder.
        processes.wait_until(lambda: not processes.is_alive(pid), 20, "PostgreSQL's last process to end")

    def abandon(self):
        if (self.data / "postmaster.pid").exists():
            self.as_postgres(
                "pg_ctl", "-D", self.data, "-w", "-t", "20", "-m", "immediate", "stop", expect=None, timeout=40
            )

    def pid(self):
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def is_running(self):
        try:
            return processes.is_alive(self.pid())
        except (OSError, ValueError, IndexError):
            return False

    def kill(self):
        """SIGKILL of all its processes."""
        processes.kill([self.pid()])

    def tail(self):
        return " / ".join(self.log.read_text(errors="replace").splitlines()[-8:]) if self.log.exists() else "no log"

    def sql(self, text, database="postgres"):
        return self.as_postgres(
            "psql", "-h", self.sockets, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", text, database
        ).out.strip()

    def pgbench(self, *arguments, database="postgres", **options):
        return self.as_postgres("pgbench", "-h", self.sockets, *arguments, database, **options)

    def background(self, program, *arguments, database="postgres", **options):
        command = [
            "runuser",
            "-u",
            "postgres",
            "--",
            self.programs / program,
            "-h",
            self.sockets,
            *arguments,
            database,
        ]
        process = subprocess.Popen([str(a) for a in command], cwd="/", **options)
        self.case.at_end(processes.end, process, 5)
        return process

    def amcheck(self):
        self.as_postgres("pg_amcheck", "-h", self.sockets, "--install-missing", "--heapallindexed", "postgres")

    def check_balances(self, what):
        """pgbench's own invariant: every transaction moved the same amount in four tables."""
        sums = self.sql(
            "select (select sum(abalance) from pgbench_accounts), (select sum(bbalance) from pgbench_branches), "
            "(select sum(tbalance) from pgbench_tellers), (select coalesce(sum(delta), 0) from pgbench_history)"
        )
        equal(len(set(sums.split("|"))), 1, f"{what}: the sums of accounts, branches, tellers and history {sums}")


def transactions_per_second(text):
    match = re.search(r"^tps = ([\d.]+)", text, re.MULTILINE)
    check(match, f"pgbench printed no tps: {text}")
    return float(match[1])


class Ledger:
    """Numbers that clients commit one by one. Each is noted in a file outside, fsynced, when PostgreSQL had said so and
    before the next is sent."""

    TABLE = "create table if not exists ledger (client int, number int, primary key (client, number))"

    def __init__(self, postgres, clients=2, first=0, begin=None):
        """`begin`: client -> the number that it had reached, to go on from there."""
        self.postgres = postgres
        begin = begin or {c: 0 for c in range(first, first + clients)}
        self.clients = list(begin)
        self.sent, self.committed, self.began = dict(begin), dict(begin), dict(begin)
        self.error = None
        self.stopping = threading.Event()
        self.folder = postgres.case.path(postgres.case.unique("ledger"))
        self.folder.mkdir()
        postgres.sql(self.TABLE)
        self.threads = [threading.Thread(target=self.work, args=(c,), daemon=True) for c in self.clients]
        for thread in self.threads:
            thread.start()

    def work(self, client):
        psql = self.postgres.background(
            "psql",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        notes = os.open(self.folder / str(client), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            while not self.stopping.is_set():
                number = self.sent[client] + 1
                self.sent[client] = number
                psql.stdin.write(f"insert into ledger values ({client}, {number}) returning number;\n")
                psql.stdin.flush()
                answer = psql.stdout.readline().strip()
                if answer != str(number):
                    raise Failure(f"client {client} of the ledger got {answer!r} for {number}: {psql.stderr.read()}")
                os.write(notes, b"%d\n" % number)
                os.fdatasync(notes)
                self.committed[client] = number
        except (OSError, Failure) as error:
            self.error = error
        finally:
            os.close(notes)
            if psql.poll() is None:
                psql.stdin.close()
                psql.wait(30)

    def noted(self):
        """What the files outside say was committed."""
        found = {}
        for client in self.clients:
            lines = (self.folder / str(client)).read_text().split()
            found[client] = int(lines[-1]) if lines else self.began[client]
        return found

    def grown(self):
        """Transactions that were acknowledged."""
        return sum(self.committed[c] - self.began[c] for c in self.clients)

    def abandon(self, seconds=60):
        """Ends it after its PostgreSQL was killed: what was sent last has no answer."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(seconds)
            check(not thread.is_alive(), "a client of the ledger hangs")

    def total(self):
        return sum(self.committed.values())

    def now(self):
        """What is committed for certain, and what may be, at this moment."""
        return dict(self.committed), dict(self.sent)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(120)
            check(not thread.is_alive(), "a client of the ledger hangs")
        if self.error:
            raise Failure(f"the ledger: {self.error}")

    @staticmethod
    def compare(postgres, at_least, at_most, what):
        """Every number that was committed is there, none that was sent later, and none is missing between. Returns what
        is there."""
        found = {}
        for client, promised in at_least.items():
            answer = postgres.sql(f"select count(*), coalesce(max(number), 0) from ledger where client = {client}")
            count, highest = map(int, answer.split("|"))
            check(
                promised <= highest <= at_most[client],
                f"{what}: client {client} has {highest}, but {promised} was promised and {at_most[client]} sent",
            )
            equal(count, highest, f"{what}: numbers of client {client}")
            found[client] = highest
        return found
