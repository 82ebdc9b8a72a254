"""Keys change while servers run; secrets stay unseen."""

import mmap
import os
import pty
import re
import signal
import subprocess

from harness import MIB, check, contains, equal, mark

PASSPHRASE = "correct horse battery staple 8d1f"
OTHER = "another phrase 77ac"


def with_passphrase(t, **options):
    file = t.path("passphrase")
    file.write_text(PASSPHRASE + "\n")
    file.chmod(0o600)
    return t.store(init=("--passphrase-file", str(file)), **options), file


@mark(limit=90)
def test_a_changed_passphrase_opens_the_store_and_the_old_one_does_not(t):
    store, file = with_passphrase(t)
    store.zerofs("create", "vol", "--size", "16M")
    server = store.serve()
    handle = server.connect()
    handle.pwrite(b"x" * MIB, 0)
    handle.flush()
    new = t.path("new")
    new.write_text(OTHER + "\n")
    new.chmod(0o600)
    old_host = store.elsewhere()
    done = store.zerofs("keys", "passphrase", "--new-passphrase-file", new)
    contains(done.err, str(new), "it says what to change")
    equal(len([k for k in store.objects() if k.startswith("superblock/")]), 1, "superblocks")
    done = old_host.zerofs("list", expect=1)
    contains(done.err, "wrong passphrase", "the old passphrase")
    # The running server goes on; a repetition finds it done.
    handle.pwrite(b"y" * MIB, MIB)
    handle.flush()
    again = store.json("keys", "passphrase", "--new-passphrase-file", new)
    check(again["wasDone"], f"the second run: {again}")
    server.stop()
    store.configure({"keys.passphrase_file": str(new)})
    handle = store.serve().connect()
    equal(bytes(handle.pread(2 * MIB, 0)), b"x" * MIB + b"y" * MIB, "the data")
    report = store.json("keys", "list")
    equal(report["unlockedBy"], "passphrase", "what opens it")


def superblock(store, number):
    return store.directory / f"superblock/{2**64 - 1 - number:016x}"


@mark(limit=60)
def test_a_copy_of_an_older_superblock_replaces_nothing(t):
    store, _ = with_passphrase(t)
    first = superblock(store, 1).read_bytes()
    store.zerofs("create", "vol", "--size", "16M")
    store.zerofs("keys", "rotate")
    check(superblock(store, 2).exists() and not superblock(store, 1).exists(), f"superblocks: {store.objects()}")
    superblock(store, 3).write_bytes(first)
    new = t.path("new")
    new.write_text(OTHER + "\n")
    new.chmod(0o600)
    done = store.zerofs("keys", "passphrase", "--new-passphrase-file", new, expect="corrupt")
    contains(done.err, superblock(store, 3).name, "what is in the way")
    store.elsewhere().zerofs("list", expect="corrupt")
    check(superblock(store, 2).exists(), "the genuine one is kept")
    superblock(store, 3).unlink()
    store.zerofs("keys", "passphrase", "--new-passphrase-file", new)
    store.configure({"keys.passphrase_file": str(new)})
    equal([k["id"] for k in store.json("keys", "list", "--quick")["keys"]], [1, 2], "the keys")


@mark(limit=60)
def test_a_passphrase_is_asked_for_without_showing_it(t):
    store, file = with_passphrase(t)
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [t.binary, "keys", "passphrase"], stdin=terminal, stdout=subprocess.PIPE, stderr=terminal,
        env=store.environment, cwd=store.home)
    shown = b""
    for prompt in (b"new passphrase: ", b"once more: "):
        while prompt not in shown.split(b"\n")[-1]:
            shown += os.read(controller, 4096)
        os.write(controller, OTHER.encode() + b"\n")
    out, _ = process.communicate(timeout=30)
    equal(process.returncode, 0, f"exit status; it said {shown!r} {out!r}")
    check(OTHER.encode() not in shown and OTHER.encode() not in out, "the passphrase was shown")
    file.write_text(OTHER)
    store.zerofs("list")
    done = store.zerofs("keys", "passphrase", expect=2, input=b"secret\nsecret\n")
    contains(done.err, "no terminal", "without a terminal")


@mark(limit=120)
def test_keys_rotate_under_a_running_server_and_the_old_one_retires_after_a_restart(t):
    store, server = t.served(size="24M")
    handle = server.connect()
    data = os.urandom(MIB)
    for i in range(16):
        handle.pwrite(data[i:] + data[:i], i * MIB)
    handle.flush()
    store.zerofs("snapshot", "vol", "--name", "s")
    for i in range(8):
        handle.pwrite(data, i * MIB)
    handle.flush()
    report = store.json("keys", "rotate")
    equal((report["current"], report["older"]), (2, [1]), "the keys after a rotation")
    handle.pwrite(b"new" * 1000, 20 * MIB)
    handle.flush()
    expected = {name: bytes(server.connect(name).pread(24 * MIB, 0)) for name in ("vol", "vol@s")}
    listed = store.json("keys", "list")["keys"]
    check(all(k["objects"] > 0 for k in listed) and len(listed) == 2, f"objects under both keys: {listed}")
    done = store.zerofs("keys", "rewrite", expect="busy")
    contains(done.out, "opened before the rotation", "why the key is kept")
    handle.pwrite(b"newer" * 1000, 21 * MIB)
    handle.flush()
    for name in expected:
        expected[name] = bytes(server.connect(name).pread(24 * MIB, 0))
    server.stop()
    report = store.json("keys", "rewrite")
    equal(report["retired"], [1], f"retired keys: {report}")
    equal([k["id"] for k in store.json("keys", "list", "--quick")["keys"]], [2], "keys that are left")
    store.zerofs("verify", "--deep")
    server = store.elsewhere().serve()
    for name, content in expected.items():
        check(bytes(server.connect(name).pread(24 * MIB, 0)) == content, f"contents of {name}")
    server.stop()
    store.zerofs("gc")
    store.zerofs("verify", "--deep")


@mark(limit=90)
def test_a_rotation_that_rewrites_retires_the_old_key_at_once(t):
    store, server = t.served(size="24M")
    handle = server.connect()
    data = os.urandom(MIB)
    for i in range(12):
        handle.pwrite(data[i:] + data[:i], i * MIB)
    handle.flush()
    store.zerofs("snapshot", "vol", "--name", "s")
    handle.pwrite(data, MIB)
    handle.flush()
    expected = {name: bytes(server.connect(name).pread(24 * MIB, 0)) for name in ("vol", "vol@s")}
    server.stop()
    report = store.json("keys", "rotate", "--rewrite")
    equal((report["current"], report["rewrite"]["retired"]), (2, [1]), f"the rotation: {report}")
    equal(report["rewrite"]["remaining"], [], "what is left under the old key")
    equal([k["id"] for k in store.json("keys", "list")["keys"]], [2], "keys that are left")
    store.zerofs("verify", "--deep")
    server = store.elsewhere().serve()
    for name, content in expected.items():
        check(bytes(server.connect(name).pread(24 * MIB, 0)) == content, f"contents of {name}")


@mark(limit=90)
def test_a_rolled_back_bucket_is_noticed_by_a_host_that_has_a_witness(t):
    store, server = t.served(size="16M")
    old = {key: (store.directory / key).read_bytes() for key in store.objects()}
    handle = server.connect()
    handle.pwrite(os.urandom(MIB), 0)
    handle.flush()
    server.stop()
    witness = t.path("witness")
    witness.write_text(store.zerofs("verify", "--print-witness").out)
    epoch = store.json("info", "vol")["epoch"]
    store.zerofs("verify", "--witness", witness)
    store.zerofs("verify", "vol", "--at-least", epoch)
    store.zerofs("verify", "vol", "--at-least", epoch + 1, expect="corrupt")
    for key in store.objects():
        (store.directory / key).unlink()
    for key, data in old.items():
        (store.directory / key).parent.mkdir(parents=True, exist_ok=True)
        (store.directory / key).write_bytes(data)
    done = store.zerofs("list", expect="corrupt")
    contains(done.err, "rolled back", "the data directory remembers")
    fresh = store.elsewhere()
    fresh.zerofs("list")
    fresh.zerofs("verify")
    done = fresh.zerofs("verify", "--witness", witness, expect="corrupt")
    contains(done.out, "rolled back", "the witness")
    fresh.zerofs("verify", "vol", "--at-least", epoch, expect="corrupt")


def secrets_of(store):
    """What must not be seen: as text, and as bytes."""
    text = next(line for line in (store.home / "zerofs.key").read_text().splitlines() if not line.startswith("#"))
    return [text.encode(), bytes.fromhex(text)]


def core_dump_of(t, server):
    """A core dump that root takes of a running server: every page but those the server withholds. Mapped."""
    core = t.path(t.unique("core"))
    t.run("gcore", "-o", core, server.pid)
    dump = core.with_name(f"{core.name}.{server.pid}")
    with open(dump, "rb") as file:
        dump.unlink()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@mark(limit=120)
def test_neither_keys_nor_a_passphrase_are_in_a_core_dump(t):
    shared, ordinary = os.urandom(32).hex(), b"AKIDORDINARYMEMORY00"
    file = t.path("clients.psk")
    file.write_text(f"db1:{shared}\n")
    file.chmod(0o600)
    with_key, with_phrase = t.store(), with_passphrase(t)[0]
    for store, hidden in (
        (with_key, dict(zip(("the key's text", "the key"), secrets_of(with_key)))),
        (with_phrase, {"the passphrase": PASSPHRASE.encode()}),
    ):
        store.configure({"store.access_key_id": ordinary.decode(), "store.secret_access_key": "x"})
        store.config.chmod(0o600)
        store.zerofs("create", "vol", "--size", "16M")
        # A dump counts what is reserved and never used: a gigabyte for the arenas of many threads.
        store.environment["MALLOC_ARENA_MAX"] = "1"
        server = store.serve("--tls", "on", "--tls-psk", file)
        handle = server.connect()
        handle.pwrite(os.urandom(MIB), 0)
        handle.flush()
        dump = core_dump_of(t, server)
        check(dump.find(ordinary) >= 0, "the dump lacks what lies in ordinary memory: it proves nothing")
        shared_key = {"a shared key's text": shared.encode(), "a shared key": bytes.fromhex(shared)}
        for what, secret in {**hidden, **shared_key}.items():
            check(dump.find(secret) < 0, f"a core dump holds {what}")
        dump.close()
        server.stop()


@mark(limit=120)
def test_secrets_are_neither_logged_nor_dumped_nor_answered(t):
    s3 = "S3SecretNobodyMaySee0123456789"
    store = t.store(settings={
        "log_level": "trace", "store.access_key_id": "AKIDEXAMPLE", "store.secret_access_key": s3})
    store.config.chmod(0o600)
    store.zerofs("create", "vol", "--size", "16M")
    # Its own report of a crash takes minutes of a debug build.
    store.environment["SWIFT_BACKTRACE"] = "enable=no"
    server = store.serve()
    handle = server.connect()
    handle.pwrite(os.urandom(MIB), 0)
    handle.flush()
    secrets = secrets_of(store) + [s3.encode()]
    seen = b""
    for path in ("/metrics", "/v1/stats", "/healthz"):
        seen += repr(server.http("GET", path)).encode()
    for command in (("list",), ("info", "vol"), ("keys", "list"), ("stats",), ("verify", "--print-witness")):
        done = store.zerofs(*command, "--log-level", "trace")
        seen += (done.out + done.err).encode()
    # Errors that come close to them.
    for name, value in (("keys.key_file", str(store.home / "zerofs.toml")), ("store.secret_access_key", 5)):
        other = store.elsewhere()
        other.configure({name: value})
        done = other.zerofs("list", expect=None)
        check(done.code != 0, f"{name} = {value} is refused")
        seen += (done.out + done.err).encode()
    arguments = open(f"/proc/{server.pid}/cmdline", "rb").read()
    seen += arguments
    status = open(f"/proc/{server.pid}/limits").read()
    limit = re.search(r"Max core file size\s+(\S+)", status).group(1)
    equal(limit, "0", "the soft limit of core dumps")
    owner = os.stat(f"/proc/{server.pid}/mem")
    equal(owner.st_uid, 0, "the owner of the memory of a process that cannot be dumped")
    os.kill(server.pid, signal.SIGABRT)
    server.process.wait(60)
    check(not list(store.home.glob("core*")), "a core dump was written")
    seen += server.log.read_bytes()
    for secret in secrets:
        check(secret not in seen, f"a secret is to be seen: {seen[max(seen.find(secret) - 80, 0):][:200]!r}")


@mark(limit=60)
def test_files_with_secrets_that_others_can_read_are_named(t):
    store = t.store()
    store.configure({"store.access_key_id": "abc", "store.secret_access_key": "def"})
    store.config.chmod(0o644)
    (store.home / "zerofs.key").chmod(0o644)
    done = store.zerofs("list")
    contains(done.err, f"{store.config} holds a secret", "the configuration")
    contains(done.err, "zerofs.key can be read by others", "the key file")


@mark(limit=60)
def test_too_little_locked_memory_is_told_and_no_obstacle(t):
    store = t.store()
    done = t.run(
        "prlimit", "--memlock=0:0", "setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock",
        t.binary, "list", env=store.environment, expect=None)
    equal(done.code, 0, f"exit status: {done.err}")
    contains(done.err, "swap", "what to do")
