"""What tests use: a case with a folder of its own, stores, servers and the zerofs command."""

import http.client
import json
import os
import pathlib
import re
import secrets
import select
import shutil
import socket
import subprocess
import threading
import time

import processes
from objectstores import Bucket
from processes import wait_until

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# The exit status of each kind of failure (docs/cli.md).
EXIT = {"done": 0, "failed": 1, "usage": 2, "not-found": 3, "already-exists": 4, "busy": 5, "fenced": 6, "corrupt": 7}


class Failure(AssertionError):
    """A promise was not kept."""


class Stopped(BaseException):
    """The test's time is over, or someone pressed Ctrl-C."""


def mark(**marks):
    """Marks a test: limit=SECONDS, needs=(RESOURCE, …), full=True for the long form only, alone=True."""

    def apply(function):
        function.marks = marks
        return function

    return apply


def check(condition, what):
    if not condition:
        raise Failure(what)


def equal(actual, expected, what):
    if actual != expected:
        raise Failure(f"{what}: expected {shown(expected)}, found {shown(actual)}")


def contains(text, part, what):
    if part.lower() not in text.lower():
        raise Failure(f"{what}: '{part}' does not occur in {shown(text)}")


def shown(value):
    text = repr(value)
    return text if len(text) <= 600 else f"{text[:400]} … {text[-150:]}"


class Finished:
    """How a command ended."""

    def __init__(self, arguments, code, out, err):
        self.arguments, self.code, self.out, self.err = arguments, code, out, err

    @property
    def json(self):
        try:
            return json.loads(self.out)
        except ValueError:
            raise Failure(f"{self}: standard output is not JSON: {shown(self.out)}") from None

    def expect(self, code):
        if self.code != code:
            raise Failure(
                f"{self} ended with {self.code}, not {code}; it said: {shown((self.err or self.out).strip())}"
            )
        return self

    def __str__(self):
        return " ".join(pathlib.Path(str(a)).name if i == 0 else str(a) for i, a in enumerate(self.arguments))


class Case:
    """One test: its folder, and what must be undone at its end, last first."""

    def __init__(self, name, folder, options, resources):
        self.name, self.folder, self.full = name, folder, options.full
        self.binary = options.binary
        self.resources = resources
        self.servers = []
        self.undo = []
        self.counter = 0

    def close(self):
        """Undoes everything, whatever fails, and returns what failed."""
        problems = []
        while self.undo:
            try:
                self.undo.pop()()
            except Exception as error:
                problems.append(f"{type(error).__name__}: {error}")
        # Where the caller runs several cases in one process, servers that they share are its children too.
        processes.kill(set(processes.children(os.getpid())) - self.resources.pids())
        processes.release_devices(self.folder)
        return problems

    def at_end(self, action, *arguments):
        self.undo.append(lambda: action(*arguments))

    def path(self, name):
        return self.folder / name

    def unique(self, stem):
        self.counter += 1
        return f"{stem}{self.counter}"

    def run(self, *arguments, expect=0, timeout=120, input=None, env=None, cwd=None):
        """Runs a program to its end. `expect=None` takes any exit status."""
        arguments = [str(a) for a in arguments]
        try:
            done = subprocess.run(
                arguments,
                input=input,
                capture_output=True,
                timeout=timeout,
                env=env,
                cwd=cwd,
                stdin=None if input is not None else subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as late:
            raise Failure(
                f"{pathlib.Path(arguments[0]).name} {' '.join(arguments[1:])} did not end within {timeout} s; "
                f"it said {shown((late.stderr or b'')[-300:])}"
            ) from None
        finished = Finished(
            arguments, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )
        return finished if expect is None else finished.expect(expect)

    def spawn(self, arguments, log=None, **options):
        """Starts a program that is ended with the test at the latest."""
        with open(self.path(log or f"{pathlib.Path(str(arguments[0])).name}.log"), "ab") as output:
            options = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, **options}
            process = subprocess.Popen([str(a) for a in arguments], **options)
        self.at_end(processes.end, process)
        return process

    def store(self, kind="directory", access=None, settings=None, name=None, init=(), location=None):
        """A new store, made by `zerofs init`. `kind`: directory, moto or radosgw."""
        name = name or self.unique("s")
        if kind == "directory":
            store = Store(self, self.folder / name, f"file://{location or self.folder / name / 'store'}")
        else:
            access = access or self.resources.access[kind]
            bucket = Bucket(access, f"t-{secrets.token_hex(6)}")
            bucket.create()
            store = Store(self, self.folder / name, f"s3://{bucket.name}/vol", access, bucket)
        store.home.mkdir()
        store.init(*init)
        # Room on the test machine is dear, and many journals are made.
        store.configure({"data.journal_size": "128M", "data.disk_cache_size": "256M", **(settings or {})})
        return store

    def served(self, size="64M", names=("vol",), kind="directory", settings=None, **options):
        """A store with volumes, and its running server."""
        store = self.store(kind, settings=settings)
        for name in names:
            store.zerofs("create", name, "--size", size)
        return store, store.serve(**options)

    def log_tails(self, lines=15):
        tails = []
        for server in self.servers[-2:]:
            if server.log.exists():
                text = server.log.read_text(errors="replace").splitlines()
                crash = next((i for i, line in enumerate(text) if "crashed" in line or "Fatal error" in line), None)
                tail = text[-lines:] if crash is None else text[max(crash - 3, 0) : crash + 60]
                tails += [f"--- {server.log.relative_to(self.folder)}", *tail]
        return "\n".join(tails)


class Store:
    """A store, its configuration and its data directory, as one host sees them."""

    def __init__(self, case, home, url, access=None, bucket=None):
        self.case, self.home, self.url = case, home, url
        self.access, self.bucket = access, bucket
        self.config = home / "zerofs.toml"
        self.data = home / "data"
        self.directory = pathlib.Path(url.removeprefix("file://")) if url.startswith("file://") else None
        self.environment = {
            **os.environ,
            "ZEROFS_CONFIG": str(self.config),
            "HOME": str(home),
            **(access.environment() if access else {}),
        }

    def init(self, *options, expect=0):
        where = ["--endpoint", self.access.endpoint] if self.access else []
        return self.zerofs(
            "init",
            "--store",
            self.url,
            "--config",
            self.config,
            "--data-dir",
            self.data,
            *where,
            *options,
            expect=expect,
        )

    def zerofs(self, *arguments, expect=0, timeout=60, env=None, input=None, cwd=None):
        """Runs a command. `expect`: the exit status, or its name in EXIT."""
        expect = EXIT.get(expect, expect)
        return self.case.run(
            self.case.binary,
            *arguments,
            expect=expect,
            timeout=timeout,
            input=input,
            env={**self.environment, **(env or {})},
            cwd=cwd or self.home,
        )

    def json(self, *arguments, **options):
        return self.zerofs(*arguments, "--json", **options).json

    def serve(self, *options, **more):
        return Server(self, options, **more).start()

    def configure(self, settings):
        """Sets values in zerofs.toml, by `section.key`."""
        for name, value in settings.items():
            section, _, key = name.rpartition(".")
            self.config.write_text(with_setting(self.config.read_text(), section, key, toml(value)))

    def elsewhere(self, name=None):
        """The same store as another host has it: another data directory."""
        other = Store(
            self.case, self.case.folder / (name or self.case.unique("host")), self.url, self.access, self.bucket
        )
        other.home.mkdir()
        shutil.copy(self.config, other.config)
        other.configure({"data.directory": str(other.data)})
        for key in self.home.glob("*.key"):
            shutil.copy(key, other.home / key.name)
            other.config.write_text(other.config.read_text().replace(str(key), str(other.home / key.name)))
        return other

    def lose_data_directory(self):
        shutil.rmtree(self.data)

    def objects(self):
        """Key -> bytes, of all objects."""
        if self.bucket:
            return {k.removeprefix("vol/"): n for k, n in self.bucket.sizes("vol/").items()}
        files = (p for p in self.directory.rglob("*") if p.is_file())
        return {str(p.relative_to(self.directory)): p.stat().st_size for p in files}

    def bytes(self):
        return sum(self.objects().values())


def toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else json.dumps(value)


def with_setting(text, section, key, value):
    """Replaces a setting's line, commented or not; without one, adds it to its section."""
    lines, current, heading = text.splitlines(), "", None
    for index, line in enumerate(lines):
        if match := re.match(r"\s*\[([^\]]+)\]", line):
            current = match[1].strip()
        if current == section and re.match(rf"\s*(#\s*)?{re.escape(key)}\s*=", line):
            lines[index] = f"{key} = {value}"
            return "\n".join(lines) + "\n"
        if current == section:
            heading = index
    if heading is None:
        raise Failure(f"zerofs.toml has no section [{section}]")
    lines.insert(heading + 1 if section else 0, f"{key} = {value}")
    return "\n".join(lines) + "\n"


class Server:
    """`zerofs serve`, on a unix socket. The same object starts it again after it has ended."""

    def __init__(self, store, options=(), name="nbd", wrapper=()):
        self.store, self.case = store, store.case
        self.options, self.wrapper = list(options), list(wrapper)
        self.socket = store.home / f"{name}.sock"
        self.log = store.home / f"{name}.log"
        self.process = None
        self.ready = None
        # Clients may see their connections break: we do it.
        self.is_ending = False
        self.case.servers.append(self)
        self.case.at_end(self.abandon)

    @property
    def pid(self):
        return self.process.pid

    def launch(self):
        """Starts it without waiting for it."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.wrapper,
                    self.case.binary,
                    "serve",
                    "--listen",
                    "127.0.0.1:0",
                    "--nbd-socket",
                    str(self.socket),
                    *map(str, self.options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.store.environment,
                cwd=self.store.home,
            )
        return self

    def start(self, seconds=60):
        self.launch()
        return self.await_ready(seconds)

    def await_ready(self, seconds=30):
        """Waits for a server that was launched."""
        line = self.first_line(seconds)
        self.is_ending = False
        check(
            line.startswith("ready"), f"serve did not get ready within {seconds} s; it said {line!r}; {self.tail()}"
        )
        self.ready = line.strip()
        return self

    def first_line(self, seconds):
        readable, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline().decode() if readable else ""

    def refused(self, code, seconds=30):
        """Starts a server that must not get ready, and returns what it said."""
        self.launch()
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure("a server that should have been refused runs") from None
        equal(status, EXIT.get(code, code), f"the exit status of the refused server ({self.tail(3)})")
        return self.tail(3)

    def tail(self, lines=5):
        return " / ".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, seconds=60):
        """SIGTERM, and the clean end that it promises."""
        self.is_ending = True
        self.process.terminate()
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"the server did not leave within {seconds} s after SIGTERM") from None
        equal(status, 0, f"the server's exit status after SIGTERM ({self.tail()})")
        return self

    def kill(self):
        self.is_ending = True
        self.process.kill()
        self.process.wait(10)
        return self

    def restart(self):
        return self.stop().start()

    def abandon(self):
        if self.process and self.process.poll() is None:
            processes.end(self.process, 20)

    def is_running(self):
        return self.process.poll() is None

    def has_logged(self, code, since=0):
        """Whether the log has an event with this code (docs/operations.md), behind its first `since` bytes."""
        return f" event={code} " in self.log.read_bytes()[since:].decode(errors="replace")

    def await_event(self, code, seconds=10, since=0):
        wait_until(lambda: self.has_logged(code, since), seconds, f"the log to say event={code}")

    def uri(self, name="vol"):
        return f"nbd+unix:///{name}?socket={self.socket}"

    def tcp_port(self):
        match = re.search(r"127\.0\.0\.1:(\d+)", self.ready)
        check(match, f"the ready line names no address: {self.ready!r}")
        return int(match[1])

    def connect(self, name="vol", strict=True, contexts=()):
        """A libnbd handle."""
        import nbd

        handle = nbd.NBD()
        if not strict:
            handle.set_strict_mode(0)
        for context in contexts:
            handle.add_meta_context(context)
        try:
            handle.connect_uri(self.uri(name))
        except nbd.Error as error:
            raise nbd.Error(f"{error.string} ({self.refusal(name)})", error.errnum) from None
        return handle

    def refusal(self, name):
        """What the server says to a client that it refuses; libnbd shows that in its debugging output alone."""
        out = self.case.run(
            "nbdinfo", self.uri(name), expect=None, timeout=20, env={**os.environ, "LIBNBD_DEBUG": "1"}
        ).err
        lines = [line.split("message: ", 1)[1] for line in out.splitlines() if "message: " in line]
        return lines[0] if lines else "it gave no reason"

    def http(self, method, path, body=None, timeout=60):
        """A request to the control socket; returns status and text."""
        connection = UnixHTTPConnection(self.store.data / "control.sock", timeout)
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def stats(self):
        return self.store.json("stats")


class UnixHTTPConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Background:
    """Runs a function in a thread until it returns or is told to stop; `join` raises what it raised."""

    def __init__(self, function, *arguments):
        self.stopping = threading.Event()
        self.error = self.result = None
        self.thread = threading.Thread(target=self.work, args=(function, arguments), daemon=True)
        self.thread.start()

    def work(self, function, arguments):
        try:
            self.result = function(self.stopping, *arguments)
        except Exception as error:
            self.error = error

    def join(self, seconds=120, stop=True):
        if stop:
            self.stopping.set()
        self.thread.join(seconds)
        if self.thread.is_alive():
            raise TimeoutError(f"a thread of the test did not end within {seconds} s")
        if self.error:
            raise self.error
        return self.result


def timed(action):
    began = time.monotonic()
    value = action()
    return value, time.monotonic() - began


__all__ = [
    "KIB",
    "MIB",
    "GIB",
    "EXIT",
    "Failure",
    "Background",
    "Server",
    "check",
    "contains",
    "equal",
    "mark",
    "shown",
    "timed",
    "wait_until",
]
