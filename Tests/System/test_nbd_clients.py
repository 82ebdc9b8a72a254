"""Real NBD clients: libnbd's tools, qemu and fio."""

import json
import os
import random

from harness import KIB, MIB, check, contains, equal, mark


def image(t, name, size, seed=7):
    """A file with data, text, zeroes and holes."""
    path = t.path(name)
    source = random.Random(seed)
    with open(path, "wb") as file:
        file.truncate(size)
        for _ in range(24):
            file.seek(source.randrange(0, size - MIB) // 512 * 512)
            kind = source.randrange(3)
            count = source.randrange(1, MIB)
            file.write(
                source.randbytes(count)
                if kind == 0
                else b"the same line of text, again\n" * (count // 29) if kind == 1 else bytes(count)
            )
    return path


def test_nbdinfo_sees_exports_sizes_flags_and_contexts(t):
    store, server = t.served(size="128M", names=("vol", "other"))
    store.zerofs("snapshot", "vol", "--name", "monday")
    found = json.loads(t.run("nbdinfo", "--list", "--json", server.uri("")).out)
    exports = {e["export-name"]: e for e in found["exports"]}
    equal(set(exports), {"vol", "other", "vol@monday"}, "exports")
    volume, snapshot = exports["vol"], exports["vol@monday"]
    equal(volume["export-size"], 128 * MIB, "size")
    for flag in (
        "can_flush",
        "can_fua",
        "can_trim",
        "can_zero",
        "can_multi_conn",
        "can_cache",
        "can_df",
        "can_fast_zero",
    ):
        check(volume[flag], f"{flag} of a volume")
    check(not volume["is_read_only"] and snapshot["is_read_only"], "snapshots, and they alone, are read-only")
    check(snapshot["can_multi_conn"], "a snapshot may have many connections")
    equal(volume["block_size_minimum"], 1, "smallest request")
    equal(volume["block_size_preferred"], 4 * KIB, "preferred request")
    check(volume["block_size_maximum"] >= 32 * MIB, "largest request")
    contains(str(volume["contexts"]), "base:allocation", "contexts")
    described = json.loads(t.run("nbdinfo", "--json", server.uri()).out)["exports"][0]
    contains(described.get("description", ""), "vol", "an export's description")
    check(found["structured"], "structured replies")


@mark(limit=90)
def test_nbdcopy_in_and_out_is_the_same_and_holes_stay_holes(t):
    store, server = t.served(size="96M")
    source = image(t, "in", 96 * MIB)
    t.run("nbdcopy", "--flush", source, server.uri())
    t.run("nbdcopy", server.uri(), t.path("out"))
    t.run("cmp", source, t.path("out"))
    extents = json.loads(t.run("nbdinfo", "--map", "--json", server.uri()).out)
    equal(sum(e["length"] for e in extents), 96 * MIB, "the map covers the volume")
    check(sum(e["length"] for e in extents if e["type"] & 1) > 32 * MIB, "holes are holes")
    server.restart()
    t.run("nbdcopy", server.uri(), t.path("after"))
    t.run("cmp", source, t.path("after"))


@mark(limit=90, needs=("qemu",))
def test_qemu_img_converts_compares_and_maps(t):
    store, server = t.served(size="64M", names=("vol", "copy"))
    source = image(t, "in", 64 * MIB, seed=8)
    t.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, server.uri())
    contains(t.run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, server.uri()).out, "identical", "compare")
    t.run("qemu-img", "convert", "-n", "-W", "-m", "8", "-f", "raw", "-O", "raw", server.uri(), server.uri("copy"))
    contains(
        t.run("qemu-img", "compare", "-f", "raw", "-F", "raw", server.uri(), server.uri("copy")).out,
        "identical",
        "the copy",
    )
    mapped = json.loads(t.run("qemu-img", "map", "--output=json", "-f", "raw", server.uri()).out)
    equal(sum(e["length"] for e in mapped), 64 * MIB, "the map covers the volume")
    check(any(e["zero"] for e in mapped) and any(e["data"] for e in mapped), "the map has data and holes")
    info = json.loads(t.run("qemu-img", "info", "--output=json", server.uri()).out)
    equal(info["virtual-size"], 64 * MIB, "qemu-img info")


@mark(needs=("qemu",))
def test_qemu_io_patterns_zeroes_and_discards_read_back_across_a_restart(t):
    store, server = t.served(size="32M")

    def qemu_io(*commands):
        arguments = [a for c in commands for a in ("-c", c)]
        out = t.run("qemu-io", "-f", "raw", *arguments, server.uri()).out
        check("Pattern verification failed" not in out, f"qemu-io: {out}")

    # Ragged edges, overwrites, zeroes with and without unmapping, and discards.
    qemu_io(
        "write -P 0x11 0 4M",
        "write -P 0x22 1000 3000",
        "write -P 0x33 4095 2",
        "write -z 1M 64k",
        "write -z -u 2M 100000",
        "write -P 0x44 2100000 512",
        "discard 3M 256k",
        "write -f -P 0x55 31M 1M",
        "writev -P 0x66 8M 4k 8k 512",
        "flush",
    )
    checks = (
        "read -P 0x11 0 1000",
        "read -P 0x22 1000 3000",
        "read -P 0x11 4000 95",
        "read -P 0x33 4095 2",
        "read -P 0x11 4097 4095",
        "read -P 0 1M 64k",
        "read -P 0x11 1114112 4096",
        "read -P 0 2M 2848",
        "read -P 0x44 2100000 512",
        "read -P 0 3M 256k",
        "read -P 0x55 31M 1M",
        "read -P 0x66 8M 12800",
        "read -P 0 8401408 4096",
        "read -P 0 20M 1M",
    )
    qemu_io(*checks)
    server.restart()
    qemu_io(*checks)
    server.kill().start()
    qemu_io(*checks)


FIO = ("--ioengine=nbd", "--thread", "--group_reporting", "--output-format=json", "--size=24m")


@mark(limit=120, needs=("fio",))
def test_fio_verifies_what_several_jobs_wrote_also_after_a_restart(t):
    store, server = t.served(size="256M")
    jobs = [
        (f"job{i}", 24 * i, arguments)
        for i, arguments in enumerate(
            [
                ("--bs=4k", "--rw=randwrite", "--iodepth=32"),
                ("--bs=8k", "--rw=randwrite", "--iodepth=8", "--fsync=16"),
                ("--bsrange=512-128k", "--bs_unaligned", "--rw=randwrite", "--iodepth=16"),
                ("--bs=1m", "--rw=write", "--iodepth=4"),
                ("--bs=64k", "--rw=randtrimwrite", "--iodepth=4"),
                ("--bsrange=4k-256k", "--rw=write", "--iodepth=8", "--end_fsync=1"),
            ]
        )
    ]

    def fio(*phase, skip=()):
        arguments = []
        for name, offset, options in jobs:
            if name not in skip:
                arguments += [f"--name={name}", f"--offset={offset}m", *options]
        t.run(
            "fio",
            *FIO,
            f"--uri={server.uri()}",
            "--verify=crc32c-intel",
            "--verify_fatal=1",
            "--verify_state_save=0",
            "--randseed=11",
            *phase,
            *arguments,
        )

    fio("--do_verify=0")
    # What a trimming job wrote, it may have trimmed since: it has no fixed pattern to verify.
    fio("--verify_only", skip=("job4",))
    server.restart()
    fio("--verify_only", skip=("job4",))
    server.kill().start()
    fio("--verify_only", skip=("job4",))


@mark(limit=90, needs=("fio",))
def test_fio_verifies_while_it_writes_and_a_snapshot_is_taken(t):
    from harness import Background

    store, server = t.served(size="128M")

    def snapshots(stopping):
        count = 0
        while not stopping.is_set():
            count += 1
            store.zerofs("snapshot", "vol", "--name", f"s{count}")
            stopping.wait(0.3)
        return count

    background = Background(snapshots)
    t.run(
        "fio",
        "--ioengine=nbd",
        f"--uri={server.uri()}",
        "--size=128m",
        "--rw=randwrite",
        "--bs=8k",
        "--iodepth=16",
        "--name=x",
        "--verify=crc32c-intel",
        "--verify_fatal=1",
        "--verify_state_save=0",
        "--verify_backlog=512",
        "--io_size=96m",
        # Four seconds at least, so that snapshots fall into it on any machine.
        "--rate=24m,24m",
        "--output-format=json",
        timeout=80,
    )
    check(background.join() > 2, "snapshots were taken meanwhile")


def test_nbdsh_runs_scripts_as_documented(t):
    store, server = t.served()
    out = t.run(
        "nbdsh",
        "-u",
        server.uri(),
        "-c",
        "h.pwrite(b'hello', 100)",
        "-c",
        "h.flush()",
        "-c",
        "print(h.pread(5, 100).decode(), h.get_size())",
        env={**os.environ, "PATH": f"/usr/bin:{os.environ['PATH']}"},
    ).out
    equal(out.split(), ["hello", str(64 * MIB)], "nbdsh")


@mark(limit=90, needs=("devices",))
def test_attach_makes_a_block_device_with_a_file_system_and_detach_takes_it_away(t):
    store, server = t.served(size="128M")
    device = store.zerofs("attach", "vol").out.strip()
    t.at_end(lambda: store.zerofs("detach", "vol", expect=None))
    check(os.path.exists(device), f"attach prints a device: {device!r}")
    equal(int(t.run("blockdev", "--getsize64", device).out), 128 * MIB, "the device's size")
    t.run("mkfs.ext4", "-q", device)
    folder = t.path("mnt")
    folder.mkdir()
    t.run("mount", device, folder)
    (folder / "file").write_bytes(b"x" * 5 * MIB)
    t.run("umount", folder)
    refused = store.zerofs("delete", "vol", expect="busy")
    contains(refused.err, "attached", "delete of an attached volume")
    store.zerofs("detach", "vol")
    equal(t.run("blockdev", "--getsize64", device, expect=None).out.strip() in ("", "0"), True, "the device is gone")
    server.restart()
    device = store.zerofs("attach", "vol").out.strip()
    t.run("e2fsck", "-fn", device)
    t.run("mount", "-o", "ro", device, folder)
    t.at_end(lambda: t.run("umount", folder, expect=None))
    equal((folder / "file").read_bytes(), b"x" * 5 * MIB, "the file")
    t.run("umount", folder)
    store.zerofs("detach", "vol")
    store.zerofs("detach", "vol")
