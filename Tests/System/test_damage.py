"""Damage in the store is named, and never read as data."""

import os
import re
import shutil

import nbd

from harness import KIB, MIB, Failure, check, contains, equal, mark

SIZE = 24 * MIB


def kind(key):
    """The folder names of a key, without ids, numbers and hashes: one kind of object each."""
    return "/".join("*" if re.search(r"\d|^[0-9a-f-]{8,}$", part) else part for part in key.split("/"))


def prepared(t):
    """A stopped store with every kind of object, and what its volumes hold."""
    store, server = t.served(size="24M", settings={"data.disk_cache_size": "0"})
    handle = server.connect()
    data = os.urandom(MIB)
    for i in range(20):
        handle.pwrite(data[i:] + data[:i], i * MIB)
    handle.flush()
    store.zerofs("snapshot", "vol", "--name", "s")
    for i in range(0, 20, 2):
        handle.pwrite(data[i + 9 :] + data[: i + 9], i * MIB + 4096)
    handle.zero(300 * KIB, 5 * MIB)
    handle.flush()
    store.zerofs("branch", "vol", "b")
    server.connect("b").pwrite(b"branch" * 1000, 77 * KIB)
    # Relocation and packed segments.
    for i in range(20):
        for j in range(7):
            handle.pwrite(os.urandom(128 * KIB), i * MIB + j * 128 * KIB)
    handle.flush()
    store.zerofs("snapshot", "vol", "--name", "late")
    store.zerofs("delete", "vol@s")
    store.zerofs("delete", "b", expect=None)
    store.zerofs("gc")
    contents = {name: bytes(server.connect(name).pread(SIZE, 0)) for name in ("vol", "vol@late")}
    server.stop()
    return store, contents


def flip(path, position):
    """Changes one bit, in a file of its own: its other links keep theirs."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    replace(path, bytes(data))


def replace(path, data):
    path.unlink()
    path.write_bytes(data)


def restore(store, good):
    """Puts everything back: whoever reads a volume claims it, and so writes to the store."""
    shutil.rmtree(store.directory)
    shutil.copytree(good, store.directory, copy_function=os.link)


def samples(store):
    """The newest and the largest object of each kind: an older manifest or catalog may be needed by nobody."""
    kinds = {}
    for key, size in store.objects().items():
        kinds.setdefault(kind(key), []).append(((store.directory / key).stat().st_mtime_ns, size, key))
    return {
        k: sorted({max(found)[2], max(found, key=lambda f: f[1:])[2]}) for k, found in kinds.items()
    }


def read_must_not_lie(t, store, contents, what):
    """A fresh host reads everything: what it gets is right or an error."""
    from harness import Server

    host = store.elsewhere()
    server = Server(host, ["--take-over", "vol", "--accept", "vol"])
    server.launch()
    line = server.first_line(30)
    if not line.startswith("ready"):
        status = server.process.wait(20)
        check(status not in (0, -6, -11, -4, -5), f"{what}: serve ended with {status}: {server.tail()}")
        return 0
    errors = 0
    for name, expected in contents.items():
        handle = nbd.NBD()
        try:
            handle.connect_uri(server.uri(name))
        except nbd.Error:
            errors += 1
            continue
        for offset in range(0, SIZE, MIB):
            try:
                found = bytes(handle.pread(MIB, offset))
            except nbd.Error:
                errors += 1
                continue
            if found != expected[offset : offset + MIB]:
                raise Failure(f"{what}: {name} returned wrong data at {offset}")
    check(server.is_running(), f"{what}: the server died: {server.tail()}")
    server.process.kill()
    server.process.wait()
    shutil.rmtree(host.home)
    return errors


@mark(limit=240)
def test_a_flipped_byte_in_any_kind_of_object_is_named_by_verify_and_never_read_as_data(t):
    store, contents = prepared(t)
    store.zerofs("verify", "--deep")
    good = store.directory.with_name("good")
    shutil.copytree(store.directory, good)
    problems, noticed = [], set()
    for what, keys in samples(store).items():
        for key in keys:
            path = store.directory / key
            size = path.stat().st_size
            for position in sorted({min(5, size - 1), size // 2, size - 1}):
                flip(path, position)
                try:
                    if judge(t, store, contents, f"{what}: byte {position} of {key}", key):
                        noticed.add(what)
                except Failure as failure:
                    problems.append(str(failure))
                restore(store, good)
    # What nothing refers to any more may stay unnoticed, but of each kind something is needed.
    unnoticed = {kind for kind in samples(store) if not kind.startswith("cleaner")} - noticed
    if unnoticed:
        problems.append(f"verify noticed nothing in objects of these kinds: {unnoticed}")
    if problems:
        raise Failure(f"{len(problems)} of the flips: " + "; ".join(problems[:12]))


def judge(t, store, contents, place, key):
    """True where verify named the damage."""
    done = store.elsewhere().zerofs("verify", "--deep", expect=None)
    said = done.out + done.err
    errors = read_must_not_lie(t, store, contents, place)
    if done.code == 0:
        check(errors == 0, f"{place}: verify found nothing, but reading failed")
        return False
    # The format's version stands outside of what is authenticated.
    check(done.code == 7 or "version" in said, f"{place}: verify ended with {done.code}: {said.strip()[:200]!r}")
    check(key in said, f"{place}: verify does not name the object: {said.strip()[:200]!r}")
    return True


def ranges_are_exact(store, report, key):
    """What verify says is lost cannot be read, and everything else can."""
    damage = next(d for d in report["damaged"] if d["object"] == key)
    ranges = next(a["ranges"] for a in damage["affected"] if a["name"] == "vol")
    check(ranges, f"verify says which ranges of vol are lost: {damage}")
    lost = {b for r in ranges for b in range(r["firstByte"] // 4096, (r["firstByte"] + r["byteCount"] - 1) // 4096 + 1)}
    server = store.elsewhere().serve("--take-over", "vol", "--accept", "vol")
    handle = server.connect()
    for block in range(SIZE // 4096):
        try:
            handle.pread(4096, block * 4096)
            fails = False
        except nbd.Error:
            fails = True
        equal(fails, block in lost, f"block {block} cannot be read")
    server.stop()


@mark(limit=120)
def test_a_missing_or_cut_object_is_named_by_verify_and_reads_of_it_fail(t):
    store, contents = prepared(t)
    segments = [k for k in store.objects() if "/log/" in k or k.startswith("packed")]
    largest = max(segments, key=lambda k: store.objects()[k])
    path = store.directory / largest
    data = path.read_bytes()
    replace(path, data[: len(data) // 2])
    done = store.zerofs("verify", expect="corrupt")
    check(largest in done.out + done.err, f"verify names the cut object: {done.out + done.err}")
    check(read_must_not_lie(t, store, contents, "a cut object") > 0, "reads of a cut object succeeded")
    path.unlink()
    done = store.zerofs("verify", expect="corrupt")
    check(largest in done.out + done.err, f"verify names the missing object: {done.out + done.err}")
    report = store.json("verify", expect="corrupt")
    check(any(largest == d["object"] for d in report["damaged"]), f"verify --json names it: {report}")
    ranges_are_exact(store, report, largest)
    check(read_must_not_lie(t, store, contents, "a missing object") > 0, "reads of a missing object succeeded")
    store.zerofs("gc", expect=None)
    path.write_bytes(data)
    store.zerofs("verify", "--deep")
    equal(read_must_not_lie(t, store, contents, "the object put back"), 0, "errors with the object put back")


@mark(limit=90)
def test_swapped_and_replayed_objects_are_noticed(t):
    store, contents = prepared(t)
    sizes = store.objects()
    segments = sorted(k for k in sizes if "/log/" in k and sizes[k] > 64 * KIB)
    check(len(segments) >= 2, f"segments: {segments}")
    a, b = (store.directory / k for k in segments[:2])
    first, second = a.read_bytes(), b.read_bytes()
    for path, data in ((a, second), (b, first)):
        replace(path, data)
    done = store.zerofs("verify", "--deep", expect="corrupt")
    check(
        segments[0] in done.out + done.err and segments[1] in done.out + done.err,
        f"both are named: {done.out + done.err}",
    )
    read_must_not_lie(t, store, contents, "swapped segments")


@mark(limit=60)
def test_gc_stops_at_what_it_cannot_read_and_deletes_nothing(t):
    store, contents = prepared(t)
    runs = [k for k in store.objects() if "/map/" in k]
    for key in runs:
        flip(store.directory / key, store.objects()[key] // 2)
    before = set(store.objects())
    done = store.zerofs("gc", expect=None)
    equal(done.code, 7, f"how gc with damaged maps ended: {done.err}")
    contains(done.err, " event=gc-stopped ", "what it logs")
    check(any(key in done.err for key in runs), f"it names what it cannot read: {done.err}")
    gone = before - set(store.objects())
    check(not [k for k in gone if "/log/" in k or "/map/" in k or k.startswith("packed")], f"gc deleted {gone}")


@mark(limit=60)
def test_a_damaged_disk_cache_does_no_harm(t):
    store, server = t.served(size="24M", settings={"cache.memory_size": "1M"})
    handle = server.connect()
    data = os.urandom(MIB)
    for i in range(16):
        handle.pwrite(data[i:] + data[:i], i * MIB)
    handle.flush()
    server.restart()
    expected = bytes(server.connect().pread(16 * MIB, 0))
    server.stop()
    files = [
        p
        for p in store.data.rglob("*")
        if p.is_file() and "cache" in str(p.relative_to(store.data)) and p.stat().st_size
    ]
    check(files, f"the disk cache has files: {list(store.data.rglob('*'))}")
    for path in files:
        with open(path, "r+b") as file:
            for position in range(0, path.stat().st_size, 4096):
                file.seek(position)
                file.write(b"garbage!")
    server.start()
    handle = server.connect()
    equal(bytes(handle.pread(16 * MIB, 0)) == expected, True, "what is read with a damaged disk cache")
    server.stop()
    for path in files:
        path.unlink(missing_ok=True)
    server.start()
    equal(bytes(server.connect().pread(16 * MIB, 0)) == expected, True, "what is read without its files")
