"""The command line's contract: what each command does, prints and ends with."""

import os
import re
import socket
import stat

from harness import MIB, check, contains, equal, mark, wait_until

COMMANDS = (
    "init",
    "create",
    "list",
    "info",
    "serve",
    "snapshot",
    "branch",
    "rename",
    "resize",
    "rollback",
    "delete",
    "hold",
    "release",
    "gc",
    "verify",
    "stats",
    "attach",
    "detach",
)


def by_name(store):
    return {v["name"]: v for v in store.json("list")}


def test_every_command_explains_itself_with_examples(t):
    for command in COMMANDS:
        text = t.run(t.binary, command, "--help").out
        contains(text, f"zerofs {command}", f"{command} --help shows how it is used")
        contains(text, "example", f"{command} --help has examples")
    overview = t.run(t.binary, "--help").out
    for command in COMMANDS:
        contains(overview, command, "zerofs --help")
    check(re.match(r"\d+\.\d+\.\d+", t.run(t.binary, "--version").out), "--version prints a version")


def test_init_makes_a_store_a_config_and_a_key_that_only_the_owner_reads(t):
    store = t.store()
    keys = [p for p in store.home.rglob("*") if p.is_file() and p.suffix == ".key"]
    equal(len(keys), 1, "key files")
    equal(stat.S_IMODE(keys[0].stat().st_mode), 0o600, "the key file's mode")
    text = store.config.read_text()
    for setting in (
        "durability",
        "listen",
        "log_level",
        "memory_size",
        "disk_cache_size",
        "buffer_size",
        "uploads",
        "directory",
    ):
        contains(text, setting, "zerofs.toml")
    check(store.objects(), "init wrote a superblock")
    equal(store.json("list"), [], "a new store's volumes")


def test_init_says_where_the_key_is_and_that_losing_it_loses_the_data(t):
    store = t.store()
    other = t.path("more")
    other.mkdir()
    done = store.zerofs(
        "init", "--store", f"file://{other}/store", "--config", other / "zerofs.toml", "--data-dir", other / "data"
    )
    contains(done.out + done.err, ".key", "init says where the key lies")
    contains(done.out + done.err, "los", "init says what losing it means")


def test_init_takes_an_empty_directory_and_refuses_an_existing_store(t):
    (t.path("place")).mkdir()
    store = t.store(location=t.path("place"))
    before = store.objects()
    again = t.path("again")
    again.mkdir()
    done = store.zerofs(
        "init",
        "--store",
        store.url,
        "--config",
        again / "zerofs.toml",
        "--data-dir",
        again / "data",
        expect="already-exists",
    )
    check(len(done.err.strip().splitlines()) <= 2, f"one clear line: {done.err!r}")
    equal(store.objects(), before, "the store after a refused init")
    check(not (again / "zerofs.toml").exists(), "a refused init leaves no zerofs.toml")


def test_a_passphrase_opens_the_store_that_was_made_with_it(t):
    passphrase = t.path("passphrase")
    passphrase.write_text("correct horse battery staple\n")
    passphrase.chmod(0o600)
    store = t.store(init=("--passphrase-file", passphrase))
    store.zerofs("create", "vol", "--size", "1G")
    equal(list(by_name(store)), ["vol"], "volumes")
    passphrase.write_text("incorrect horse\n")
    done = store.zerofs("list", expect="failed")
    contains(done.err, "passphrase", "the message about a wrong passphrase")


def test_a_key_file_of_ones_own_opens_the_store(t):
    first = t.store()
    key = next(p for p in first.home.rglob("*.key"))
    store = t.store(init=("--key-file", key))
    store.zerofs("create", "vol", "--size", "1G")
    equal(list(by_name(store)), ["vol"], "volumes")


def life_cycle(t, store):
    """Every command that changes volumes, with and without a server (the caller starts one or not)."""
    store.zerofs("create", "pg-prod", "--size", "2G")
    created = store.json("create", "other", "--size", "512M")
    equal((created["name"], created["sizeBytes"]), ("other", 512 * MIB), "create --json")
    snapshot = store.zerofs("snapshot", "pg-prod", "--name", "monday")
    equal(snapshot.out.strip(), "pg-prod@monday", "what snapshot prints")
    named = store.zerofs("snapshot", "pg-prod").out.strip()
    check(re.match(r"pg-prod@\d{4}", named), f"a snapshot's default name is the time: {named}")
    equal(store.json("snapshot", "pg-prod", "--name", "tuesday")["name"], "pg-prod@tuesday", "snapshot --json")
    store.zerofs("branch", "pg-prod@monday", "from-snapshot")
    branch = store.json("branch", "pg-prod", "from-volume")
    equal(
        (branch["name"], branch["kind"], branch["sizeBytes"]), ("from-volume", "branch", 2048 * MIB), "branch --json"
    )
    volumes = by_name(store)
    equal(volumes["from-snapshot"]["parent"], "pg-prod@monday", "the branch's parent")
    equal(
        set(volumes),
        {"pg-prod", "other", "pg-prod@monday", "pg-prod@tuesday", named, "from-snapshot", "from-volume"},
        "list",
    )
    tree = store.zerofs("list", "--tree").out
    check(
        tree.index("pg-prod") < tree.index("monday") < tree.index("from-snapshot"), f"the tree shows descent: {tree}"
    )

    store.zerofs("rename", "other", "another")
    equal(store.json("rename", "another", "third")["name"], "third", "rename --json")
    store.zerofs("resize", "third", "1G")
    equal(store.json("info", "third")["summary"]["sizeBytes"], 1024 * MIB, "size after resize")
    store.zerofs("resize", "third", "256M", expect="usage")
    equal(by_name(store)["third"]["sizeBytes"], 1024 * MIB, "size after a refused resize")
    equal(store.json("resize", "third", "256M", "--force")["sizeBytes"], 256 * MIB, "resize --force --json")

    details = store.json("info", "pg-prod")
    equal(details["summary"]["name"], "pg-prod", "info")
    equal(set(details["snapshots"]), {"monday", "tuesday", named.split("@")[1]}, "info: snapshots")
    equal(store.json("info", "pg-prod@monday")["summary"]["kind"], "snapshot", "info of a snapshot")
    contains(store.zerofs("info", "pg-prod").out, "2G", "info for people shows the size")

    store.zerofs("rollback", "pg-prod@monday", expect="usage")
    back = store.json("rollback", "pg-prod@monday", "--force")
    check(
        back["safetySnapshot"].split("@")[-1] in {n.split("@")[-1] for n in by_name(store)},
        f"the safety snapshot exists: {back}",
    )

    store.zerofs("hold", "pg-prod@monday", "audit")
    equal(by_name(store)["pg-prod@monday"]["holds"], ["audit"], "holds")
    held = store.zerofs("delete", "pg-prod@monday", "--force", expect="busy")
    contains(held.err, "audit", "the refusal names the hold")
    store.zerofs("hold", "pg-prod@monday", "audit")
    store.zerofs("release", "pg-prod@monday", "other-tag")
    equal(
        by_name(store)["pg-prod@monday"]["holds"],
        ["audit"],
        "holding twice and releasing what is not held change nothing",
    )
    equal(store.json("release", "pg-prod@monday", "audit")["tag"], "audit", "release --json")

    refused = store.zerofs("delete", "pg-prod", expect="busy")
    contains(refused.err, "monday", "the refusal names the snapshots")
    store.zerofs("delete", "pg-prod@tuesday")
    check("pg-prod@tuesday" not in by_name(store), "a deleted snapshot is gone")
    deleted = store.json("delete", "pg-prod", "--force")
    check({"pg-prod", "pg-prod@monday"} <= set(deleted["names"]), f"delete --json names what is gone: {deleted}")
    equal(set(by_name(store)), {"third", "from-snapshot", "from-volume"}, "branches outlive their source")
    for name in ("third", "from-snapshot", "from-volume"):
        store.zerofs("delete", name)
    equal(store.json("list"), [], "volumes at the end")
    report = store.json("gc")
    check(report["bytesAfter"] <= report["bytesBefore"], f"gc: {report}")
    store.zerofs("verify", "--deep")


@mark(limit=90)
def test_the_life_cycle_without_a_server(t):
    life_cycle(t, t.store())


@mark(limit=90)
def test_the_life_cycle_through_a_running_server(t):
    store = t.store()
    server = store.serve()
    life_cycle(t, store)
    check(server.is_running(), "the server runs on")
    server.stop()


@mark(limit=120, needs=("moto",))
def test_the_life_cycle_in_an_s3_bucket(t):
    store = t.store("moto")
    life_cycle(t, store)


@mark(limit=120, needs=("radosgw",))
def test_the_life_cycle_on_a_real_s3_server(t):
    store = t.store("radosgw")
    server = store.serve()
    life_cycle(t, store)
    server.stop()


def test_snapshot_and_branch_work_on_what_is_attached_at_once(t):
    store, server = t.served(size="64M")
    handle = server.connect()
    handle.pwrite(b"a" * 4096, 0)
    store.zerofs("snapshot", "vol", "--name", "one")
    handle.pwrite(b"b" * 4096, 0)
    store.zerofs("branch", "vol@one", "old")
    store.zerofs("branch", "vol", "new")
    handle.pwrite(b"c" * 4096, 0)
    equal(server.connect("old").pread(1, 0), b"a", "the snapshot's branch")
    equal(server.connect("new").pread(1, 0), b"b", "the volume's branch: a write that was acknowledged, not flushed")
    equal(server.connect("vol@one").pread(1, 0), b"a", "the snapshot itself")
    equal(handle.pread(1, 0), b"c", "the volume")


def test_delete_refuses_what_is_attached_and_says_so(t):
    store, server = t.served()
    handle = server.connect()
    refused = store.zerofs("delete", "vol", expect="busy")
    contains(refused.err, "attached", "the refusal")
    contains(refused.err, "vol", "the refusal")
    handle.shutdown()
    wait_until(lambda: not store.json("info", "vol")["summary"].get("attachedCount"), 10, "the client to be gone")
    store.zerofs("delete", "vol")


def test_a_resize_reaches_clients_that_connect_afterwards_and_shows_no_old_data(t):
    store, server = t.served(size="16M")
    handle = server.connect()
    handle.pwrite(b"x" * MIB, 15 * MIB)
    handle.shutdown()
    store.zerofs("resize", "vol", "8M", "--force")
    equal(server.connect().get_size(), 8 * MIB, "size")
    store.zerofs("resize", "vol", "32M")
    handle = server.connect()
    equal(handle.get_size(), 32 * MIB, "size")
    equal(handle.pread(MIB, 15 * MIB), bytes(MIB), "what was cut off")


def test_a_volume_may_have_a_pebibyte(t):
    store = t.store()
    store.zerofs("create", "large", "--size", "1P")
    server = store.serve()
    handle = server.connect("large")
    equal(handle.get_size(), 1 << 50, "size")
    handle.pwrite(b"end", (1 << 50) - 3)
    handle.flush()
    equal(server.restart().connect("large").pread(3, (1 << 50) - 3), b"end", "its last bytes")
    check(store.bytes() < MIB, "it costs nothing until written")
    store.zerofs("create", "larger", "--size", "1025T", expect="usage")


def test_ready_is_said_once_to_people_and_to_systemd(t):
    store = t.store()
    store.zerofs("create", "vol", "--size", "64M")
    path = t.path("notify")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(path))
    listener.settimeout(20)
    store.environment["NOTIFY_SOCKET"] = str(path)
    server = store.serve()
    contains(listener.recv(4096).decode(), "READY=1", "what systemd is told")
    contains(server.ready, str(server.socket), "the ready line")
    equal(stat.S_IMODE((store.data / "control.sock").stat().st_mode), 0o600, "the control socket's mode")
    import nbd

    handle = nbd.NBD()
    handle.set_export_name("vol")
    handle.connect_tcp("127.0.0.1", str(server.tcp_port()))
    equal(handle.get_size(), 64 * MIB, "size over TCP")


def test_a_control_socket_elsewhere_is_found_and_tcp_alone_is_enough(t):
    store = t.store()
    store.zerofs("create", "vol", "--size", "64M")
    server = store.serve("--control", t.path("c.sock"))
    check(t.path("c.sock").exists(), "the control socket is where it was asked for")
    handle = server.connect()
    handle.pwrite(b"q" * 4096, 0)
    store.zerofs("snapshot", "vol", "--name", "s")
    equal(server.connect("vol@s").pread(1, 0), b"q", "the snapshot went through the server")


def test_serve_volume_serves_nothing_else(t):
    store = t.store()
    for name in ("one", "two"):
        store.zerofs("create", name, "--size", "64M")
    server = store.serve("--volume", "one")
    server.connect("one")
    t.run("nbdinfo", server.uri("two"), expect=1)
    exports = t.run("nbdinfo", "--list", server.uri("")).out
    contains(exports, "one", "exports")
    check("two" not in exports, "an export that was not asked for is listed")


def test_sigterm_drains_and_leaves_and_a_second_one_stops_at_once(t):
    store, server = t.served()
    handle = server.connect()
    handle.pwrite(os.urandom(4 * MIB), 0)
    server.stop()
    check(not server.socket.exists(), "the NBD socket is gone")
    check(not (store.data / "control.sock").exists(), "the control socket is gone")
    server.start()
    server.process.terminate()
    server.process.terminate()
    wait_until(lambda: server.process.poll() is not None, 10, "the server to stop at once")


def test_metrics_health_and_stats_tell_what_happened(t):
    store, server = t.served()
    handle = server.connect()
    handle.pwrite(os.urandom(MIB), 0)
    handle.flush()
    handle.pread(4096, 0)
    status, text = server.http("GET", "/healthz")
    equal(status, 200, "healthz")
    contains(text, "ok", "healthz")
    status, text = server.http("GET", "/metrics")
    equal(status, 200, "metrics")
    for line in text.splitlines():
        check(
            not line or line.startswith("#") or re.match(r"[a-z_:][a-z0-9_:]*(\{.*\})? \S+$", line),
            f"not Prometheus text: {line}",
        )
    contains(text, 'zerofs_operations_total{kind="write",volume="vol"} 1', "metrics")
    stats = store.json("stats")
    figures = {o["kind"]: o for o in next(e for e in stats["exports"] if e["name"] == "vol")["operations"]}
    equal((figures["write"]["requests"], figures["write"]["bytes"]), (1, MIB), "stats: writes")
    check(figures["flush"]["requests"] == 1 and figures["read"]["requests"] == 1, f"stats: {figures}")
    check(stats["store"]["requests"]["create"] > 0, "stats: object-store requests")
    check(figures["write"]["latency"]["p99"] > 0, "stats: percentiles")
    contains(store.zerofs("stats").out, "vol", "stats for people")
    one = store.json("stats", "vol")
    equal([e["name"] for e in one["exports"]], ["vol"], "stats of one volume")


def test_json_stands_alone_on_standard_output_and_no_colour_gets_into_files(t):
    store = t.store()
    store.json("create", "vol", "--size", "64M")
    for command in (
        ["list"],
        ["list", "--tree"],
        ["info", "vol"],
        ["gc"],
        ["gc", "--dry-run"],
        ["verify"],
        ["verify", "vol", "--deep"],
    ):
        store.json(*command)
        plain = store.zerofs(*command)
        check("\x1b" not in plain.out + plain.err, f"{command} writes escape codes into a pipe")


def test_gc_dry_run_deletes_nothing(t):
    store, server = t.served()
    handle = server.connect()
    handle.pwrite(os.urandom(8 * MIB), 0)
    handle.shutdown()
    server.stop()
    store.zerofs("delete", "vol")
    before = store.objects()
    report = store.json("gc", "--dry-run")
    check(report["dryRun"] and report["bytesDeleted"] > 8 * MIB, f"it tells what would go: {report}")
    after = store.objects()
    equal(set(before) - set(after), set(), "objects that a dry run deleted")


def test_the_configuration_is_found_where_the_contract_says(t):
    store = t.store()
    store.zerofs("create", "vol", "--size", "64M")
    bare = {k: v for k, v in store.environment.items() if k != "ZEROFS_CONFIG"}
    empty = t.path("empty")
    empty.mkdir()

    def names(*arguments, env, cwd):
        return t.run(t.binary, "list", *arguments, "--json", env=env, cwd=cwd).json

    equal(len(names("--config", store.config, env=bare, cwd=empty)), 1, "--config")
    equal(len(names(env={**bare, "ZEROFS_CONFIG": str(store.config)}, cwd=empty)), 1, "$ZEROFS_CONFIG")
    equal(len(names(env=bare, cwd=store.home)), 1, "./zerofs.toml")
    home = t.path("home")
    (home / ".config/zerofs").mkdir(parents=True)
    (home / ".config/zerofs/zerofs.toml").write_text(store.elsewhere().config.read_text())
    equal(len(names(env={**bare, "HOME": str(home)}, cwd=empty)), 1, "~/.config/zerofs/zerofs.toml")
