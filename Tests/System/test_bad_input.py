"""Bad input: one clear line that says what and what to do, the documented exit status, nothing half done."""

import os
import shutil

from harness import MIB, check, contains, equal, mark
from resources import free_port


def refused(store, code, *arguments, says=()):
    """Runs a command that must fail, and judges what it says."""
    done = store.zerofs(*arguments, expect=code)
    lines = [l for l in done.err.strip().splitlines() if l.strip()]
    check(1 <= len(lines) <= 3, f"{done}: one clear line, not {done.err!r}")
    check(not done.out.strip(), f"{done}: errors stay off standard output: {done.out!r}")
    for trace in ("Fatal error", "StorageError(", "swift-runtime", "Error Domain"):
        check(trace not in done.err, f"{done}: {done.err!r} is not for people")
    for part in says:
        contains(done.err, part, str(done))
    return done


def test_unknown_names_are_not_found(t):
    store = t.store()
    store.zerofs("create", "vol", "--size", "64M")
    for arguments in (
        ["info", "nope"],
        ["info", "vol@nope"],
        ["snapshot", "nope"],
        ["branch", "nope", "new"],
        ["branch", "vol@nope", "new"],
        ["rename", "nope", "new"],
        ["resize", "nope", "1G"],
        ["rollback", "vol@nope", "--force"],
        ["delete", "nope"],
        ["delete", "vol@nope"],
        ["hold", "nope", "tag"],
        ["release", "nope", "tag"],
        ["verify", "nope"],
    ):
        refused(store, "not-found", *arguments, says=["nope"])
    equal([v["name"] for v in store.json("list")], ["vol"], "volumes")


def test_unknown_names_are_not_found_by_a_server_either(t):
    store, server = t.served()
    refused(store, "not-found", "info", "nope", says=["nope"])
    refused(store, "not-found", "snapshot", "nope", says=["nope"])
    refused(store, "not-found", "stats", "nope", says=["nope"])
    t.run("nbdinfo", server.uri("nope"), expect=1)
    t.run("nbdinfo", server.uri("vol@nope"), expect=1)
    check(server.is_running(), "the server runs on")


def test_taken_names_already_exist(t):
    store = t.store()
    store.zerofs("create", "vol", "--size", "64M")
    store.zerofs("create", "two", "--size", "64M")
    store.zerofs("snapshot", "vol", "--name", "s")
    refused(store, "already-exists", "create", "vol", "--size", "1G", says=["vol"])
    refused(store, "already-exists", "branch", "vol", "two", says=["two"])
    refused(store, "already-exists", "rename", "vol", "two", says=["two"])
    refused(store, "already-exists", "snapshot", "vol", "--name", "s", says=["s"])
    equal(
        {v["name"]: v["sizeBytes"] for v in store.json("list")},
        {"vol": 64 * MIB, "two": 64 * MIB, "vol@s": 64 * MIB},
        "volumes",
    )


def test_invalid_names_and_sizes_are_usage_errors(t):
    store = t.store()
    for name in ("", "-x", "a b", "a/b", "ä", "x" * 201, "..", ".", "a@b", "a\nb", "@", "a@@b"):
        refused(store, "usage", "create", "--size", "1G", "--", name)
    for size in (
        "",
        "0",
        "-1",
        "1X",
        "G",
        "1.5.2G",
        "abc",
        "1e9",
        "99999P",
        "18446744073709551616",
        "12345678901234567890123",
    ):
        refused(store, "usage", "create", "vol", f"--size={size}")
    equal(store.json("list"), [], "volumes")
    refused(store, "usage", "create", "vol")
    refused(store, "usage", "create")
    refused(store, "usage", "nonsense")
    refused(store, "usage", "list", "--nonsense")
    refused(store, "usage", "rollback", "vol", "--force")
    refused(
        store,
        "usage",
        "init",
        "--store",
        "ftp://example.com/x",
        "--config",
        t.path("x.toml"),
        "--data-dir",
        t.path("x"),
    )
    refused(
        store,
        "usage",
        "init",
        "--store",
        "file://relative/path",
        "--config",
        t.path("x.toml"),
        "--data-dir",
        t.path("x"),
    )
    check(not t.path("x.toml").exists(), "a refused init leaves no zerofs.toml")


def test_unknown_settings_are_named_with_the_nearest_that_exists(t):
    store = t.store()
    text = store.config.read_text()
    store.config.write_text("durabilty = \"store\"\n" + text)
    refused(store, "usage", "list", says=["durabilty", "durability", "zerofs.toml"])
    store.config.write_text(text + "\n[nonsense]\nx = 1\n")
    refused(store, "usage", "list", says=["nonsense"])
    store.config.write_text("durability = \"sometimes\"\n" + text.replace("\ndurability", "\n# durability"))
    refused(store, "usage", "list", says=["durability"])
    store.config.write_text(text + "\nthis is not TOML\n")
    refused(store, "usage", "list", says=["zerofs.toml"])
    store.config.unlink()
    refused(store, "not-found", "list", says=["zerofs.toml"])


def test_a_wrong_key_opens_nothing_and_says_so(t):
    store = t.store()
    store.zerofs("create", "vol", "--size", "64M")
    key = next(store.home.rglob("*.key"))
    other = next(t.store().home.rglob("*.key"))
    right = key.read_bytes()
    key.write_bytes(other.read_bytes())
    refused(store, "failed", "list", says=["key"])
    key.write_bytes(b"too short")
    done = store.zerofs("list", expect=None)
    check(done.code in (1, 2), f"a malformed key file: {done.code}, {done.err!r}")
    contains(done.err, "key", "a malformed key file")
    key.unlink()
    done = store.zerofs("list", expect=None)
    check(done.code in (1, 2, 3), f"no key file: {done.code}, {done.err!r}")
    contains(done.err, str(key), "no key file")
    key.write_bytes(right)
    key.chmod(0o600)
    equal(len(store.json("list")), 1, "volumes, with the right key again")


def test_a_store_that_is_not_there_is_a_clear_error(t):
    store = t.store()
    away = store.directory.rename(store.directory.with_name("away"))
    done = store.zerofs("list", expect=None)
    check(done.code in (1, 3), f"a directory that is gone: {done.code}, {done.err!r}")
    contains(done.err, "store", "a directory that is gone")
    away.rename(store.directory)
    equal(store.json("list"), [], "volumes, with the store again")
    empty = t.path("empty")
    empty.mkdir()
    store.configure({"store.url": f"file://{empty}"})
    refused(store, "not-found", "list", says=["init"])


@mark(limit=90)
def test_an_s3_server_that_does_not_answer_is_a_clear_error_in_good_time(t):
    port = free_port()
    home = t.path("far")
    home.mkdir()
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "HOME": str(home)}
    done = t.run(
        t.binary,
        "init",
        "--store",
        "s3://bucket/p",
        "--endpoint",
        f"http://127.0.0.1:{port}",
        "--config",
        home / "zerofs.toml",
        "--data-dir",
        home / "data",
        env=environment,
        expect=1,
        timeout=60,
    )
    contains(done.err, f"127.0.0.1:{port}", "the message names the server")
    check(not (home / "zerofs.toml").exists(), "a failed init leaves no zerofs.toml")


@mark(needs=("moto",))
def test_a_bucket_that_is_not_there_is_a_clear_error(t):
    access = t.resources.access["moto"]
    home = t.path("far")
    home.mkdir()
    environment = {**os.environ, **access.environment(), "HOME": str(home)}
    done = t.run(
        t.binary,
        "init",
        "--store",
        "s3://no-such-bucket/p",
        "--endpoint",
        access.endpoint,
        "--config",
        home / "zerofs.toml",
        "--data-dir",
        home / "data",
        env=environment,
        expect=None,
    )
    check(done.code in (1, 3), f"exit status {done.code}: {done.err}")
    contains(done.err, "no-such-bucket", "the message")


@mark(limit=120, needs=("radosgw",))
def test_wrong_s3_credentials_are_a_clear_error(t):
    store = t.store("radosgw")
    done = store.zerofs("list", env={"AWS_SECRET_ACCESS_KEY": "wrong"}, expect="failed")
    lines = done.err.strip().splitlines()
    check(len(lines) <= 3, f"one clear line: {done.err!r}")


def test_a_store_of_a_newer_format_is_refused(t):
    store = t.store()
    superblock = min((p for p in store.directory.rglob("*") if p.is_file()), key=lambda p: len(p.parts))
    data = bytearray(superblock.read_bytes())
    # Magic, then the version: any large number there is a format of the future.
    for position in (4, 8):
        changed = bytearray(data)
        changed[position : position + 2] = b"\xff\x7f"
        superblock.chmod(0o644)
        superblock.write_bytes(changed)
        done = store.zerofs("list", expect=None)
        check(done.code in (1, 7), f"exit status {done.code}: {done.err!r}")
        if "newer" in done.err or "version" in done.err:
            return
    check(False, f"nothing says that the store is newer: {done.err!r}")


def test_a_second_server_on_the_same_data_directory_is_refused_as_busy(t):
    store, server = t.served()
    from harness import Server

    message = Server(store, name="second").refused("busy")
    contains(message, str(store.data), "the refusal names the data directory")
    check(server.is_running(), "the first server runs on")
    server.connect().pwrite(b"x" * 4096, 0)


def test_a_command_without_a_server_waits_for_none_and_stats_says_that_there_is_none(t):
    store = t.store()
    refused(store, "failed", "stats", says=["server"])
    done = store.zerofs("attach", "vol", expect=None)
    check(done.code in (1, 3), f"attach without a server: {done.code} {done.err!r}")


def test_an_unwritable_data_directory_is_a_clear_error(t):
    store = t.store()
    store.zerofs("create", "vol", "--size", "64M")
    shutil.rmtree(store.data, ignore_errors=True)
    store.data.write_text("a file where the folder should be")
    done = store.zerofs("list", expect=None)
    check(done.code not in (0, 134, 139), f"exit status {done.code}: {done.err!r}")
    contains(done.err, str(store.data), "the message names the data directory")
