"""The same promises where the store is a bucket."""

import os
import re

from harness import MIB, Failure, check, contains, equal, mark


@mark(limit=120, needs=("radosgw",))
def test_volumes_in_a_bucket_are_written_read_and_collected(t):
    store = t.store("radosgw")
    store.zerofs("create", "vol", "--size", "256M")
    server = store.serve()
    source = t.path("in")
    source.write_bytes(os.urandom(48 * MIB))
    t.run("nbdcopy", "--flush", source, server.uri())
    store.zerofs("snapshot", "vol", "--name", "s")
    store.zerofs("branch", "vol@s", "b")
    t.run("nbdcopy", "--flush", t.path("in"), server.uri("b"))
    server.kill()
    store.lose_data_directory()
    server.options += ["--take-over", "vol", "--take-over", "b", "--accept", "vol", "--accept", "b"]
    server.start()
    for name in ("vol", "b", "vol@s"):
        t.run("cmp", "-n", 48 * MIB, source, copy_of(t, server, name))
    store.zerofs("delete", "vol", "--force")
    before = store.bytes()
    report = store.json("gc")
    equal(report["bytesAfter"], store.bytes(), "the bytes that gc says are left")
    check(before - store.bytes() >= 40 * MIB, f"gc gave {before - store.bytes()} bytes back: {report}")
    t.run("cmp", "-n", 48 * MIB, source, copy_of(t, server, "b"))
    store.zerofs("verify", "--deep")


def copy_of(t, server, name):
    path = t.path(t.unique("copy"))
    t.run("nbdcopy", server.uri(name), path)
    return path


@mark(limit=90, needs=("radosgw",))
def test_nothing_readable_lies_in_the_bucket(t):
    store = t.store("radosgw")
    store.zerofs("create", "secret-name", "--size", "64M")
    server = store.serve()
    handle = server.connect("secret-name")
    handle.pwrite(b"the quick brown fox " * 5000, 0)
    handle.flush()
    store.zerofs("snapshot", "secret-name", "--name", "secret-snapshot")
    server.stop()
    for key in store.bucket.sizes():
        data = store.bucket.get(key)
        for secret in (b"quick brown", b"secret-name", b"secret-snapshot"):
            if secret in data or secret.decode() in key:
                raise Failure(f"{key} shows {secret.decode()!r}")
        check(not re.search(rb"(.)\1{63}", data[64:4096]), f"{key} has a run of equal bytes")


@mark(limit=60, needs=("moto",))
def test_moto_serves_a_volume_across_restarts_and_kills(t):
    store, server = t.served(kind="moto")
    data = os.urandom(20 * MIB)
    server.connect().pwrite(data, 4096)
    server.kill().start()
    equal(bytes(server.connect().pread(20 * MIB, 4096)) == data, True, "after SIGKILL")
    server.restart()
    equal(bytes(server.connect().pread(20 * MIB, 4096)) == data, True, "after a restart")
    store.zerofs("verify", "--deep")


@mark(needs=("moto",))
def test_two_stores_in_one_bucket_do_not_touch_each_other(t):
    store = t.store("moto")
    store.zerofs("create", "one", "--size", "64M")
    home = t.path("second")
    home.mkdir()
    url = f"s3://{store.bucket.name}/other"
    t.run(
        t.binary,
        "init",
        "--store",
        url,
        "--endpoint",
        store.access.endpoint,
        "--config",
        home / "zerofs.toml",
        "--data-dir",
        home / "data",
        env=store.environment,
    )
    other = {**store.environment, "ZEROFS_CONFIG": str(home / "zerofs.toml")}
    t.run(t.binary, "create", "two", "--size", "64M", env=other)
    t.run(t.binary, "gc", env=other)
    equal([v["name"] for v in store.json("list")], ["one"], "the first store")
    equal([v["name"] for v in t.run(t.binary, "list", "--json", env=other).json], ["two"], "the second store")


@mark(needs=("moto",))
def test_credentials_come_from_files_and_profiles_too(t):
    store = t.store("moto")
    folder = store.home / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        f"[zerofs]\naws_access_key_id = {store.access.access_key}\n"
        f"aws_secret_access_key = {store.access.secret_key}\n"
    )
    bare = {k: v for k, v in store.environment.items() if not k.startswith("AWS_")}
    equal(t.run(t.binary, "list", "--json", env={**bare, "AWS_PROFILE": "zerofs"}).json, [], "with $AWS_PROFILE")
    done = t.run(t.binary, "list", env=bare, expect=1)
    contains(done.err, "credentials", "without any credentials")
