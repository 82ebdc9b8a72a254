"""Processes, mounts and loop devices: who started what, and how it ends."""

import ctypes
import os
import pathlib
import signal
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    """Daemons become children of the caller, so that it can find and end them."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def parents():
    """pid -> parent's pid, of all that run."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            state, parent = stat[stat.rindex(")") + 2 :].split()[:2]
            if state != "Z":
                found[int(entry)] = int(parent)
    return found


def children(pid):
    return [p for p, parent in parents().items() if parent == pid]


def descendants(pid):
    tree = parents()
    found, fresh = [], [pid]
    while fresh:
        fresh = [p for p, parent in tree.items() if parent in fresh]
        found += fresh
    return found


def is_alive(pid):
    return pid in parents()


def kill(pids):
    """SIGKILL, with all that they started."""
    everyone = [p for pid in pids for p in [pid, *descendants(pid)]]
    for pid in everyone:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for pid in pids:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            continue


def end(process, grace=10):
    """SIGTERM, then SIGKILL. Returns the exit status."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(10)


def wait_until(condition, seconds, what, pause=0.05):
    """Polls until the condition's value is true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(pause)


def listens(path):
    """Whether clients of a unix socket can connect; its file is there a moment earlier."""
    lines = pathlib.Path("/proc/net/unix").read_text().splitlines()
    return any(line.split()[3] == "00010000" for line in lines if line.endswith(f" {path}"))


def mounts_below(folder):
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].replace("\\040", " ") for line in lines]
    return [p for p in points if p.startswith(f"{folder}/")]


def loops_below(folder):
    found = []
    for backing in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if backing.read_text().startswith(f"{folder}/"):
                found.append(f"/dev/{backing.parts[3]}")
        except OSError:
            continue
    return found


def release_devices(folder):
    """Unmounts and detaches, by force, whatever is still there below a folder."""
    for _ in range(3):
        points, loops = mounts_below(folder), loops_below(folder)
        if not points and not loops:
            return
        for point in sorted(points, key=len, reverse=True):
            subprocess.run(["umount", "-l", point], stderr=subprocess.DEVNULL, timeout=30)
        for loop in loops:
            subprocess.run(["losetup", "-d", loop], stderr=subprocess.DEVNULL, timeout=30)
        time.sleep(0.1)
