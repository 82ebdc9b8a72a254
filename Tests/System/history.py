"""What was written, in order, so that what is read back can be judged.

Every 512-byte sector names the write that it came from. After a crash a volume must hold the effect of the first k
writes, with k at least the last one that was promised: not a mixture of old and new.
"""

import os
import random
import struct

from harness import Failure

SECTOR = 512
# Sectors of a block.
BLOCK = 8
POOL = os.urandom(1 << 16)


def sector(number, sequence):
    """The content of a sector; sequence 0 is a sector that was never written, or was zeroed."""
    if sequence == 0:
        return bytes(SECTOR)
    start = (sequence * 7919 + number * 104729) % (len(POOL) - SECTOR)
    return struct.pack("<8sQQ", b"zfstest1", sequence, number) + POOL[start : start + SECTOR - 24]


class History:
    """The writes to one region of a volume, by a writer that waits for each reply. Sequences begin with 1."""

    def __init__(self, base, count, seed):
        self.base, self.count = base, count
        self.random = random.Random(seed)
        # (first sector, sectors, what stands in them): what was sent, in order. The last one may be unanswered.
        self.writes = []
        # Grows with every crash, so that a write that a crash undid is told from one that took its number.
        self.timeline = 0
        self.acknowledged = 0
        self.flushed = 0
        # What the last `verify` found of the write behind those that it counted: zeroes that were done in part.
        self.tail = []

    def step(self, handle, flush_every=0, sectors_max=128, zero_share=0.1, flags=0):
        """Sends one write, and now and then a flush."""
        first = self.random.randrange(self.count)
        count = min(self.random.randint(1, sectors_max), self.count - first)
        sequence = len(self.writes) + 1
        zeroes = self.random.random() < zero_share
        value = 0 if zeroes else self.timeline << 32 | sequence
        self.writes.append((first, count, value))
        offset = (self.base + first) * SECTOR
        if zeroes:
            handle.zero(count * SECTOR, offset, flags)
        else:
            handle.pwrite(b"".join(sector(self.base + first + i, value) for i in range(count)), offset, flags)
        self.acknowledged = sequence
        if flags or (flush_every and sequence % flush_every == 0):
            if not flags:
                handle.flush()
            self.flushed = sequence

    def flush(self, handle):
        done = self.acknowledged
        handle.flush()
        self.flushed = done

    def verify(self, handle, at_least, what, at_most=None):
        """Returns k, the number of writes whose effect the volume holds; fails where there is no such number."""
        found = self.read(handle)
        newest = max(value & 0xFFFFFFFF for value in found)
        at_most = len(self.writes) if at_most is None else at_most
        if newest > at_most:
            raise Failure(f"{what}: it holds write {newest}, later than {at_most}")
        state = [0] * self.count
        k = max(newest, at_least)
        for sequence in range(1, k + 1):
            self.apply(state, sequence)
        self.tail = []
        # Writes of zeroes leave no number: those that follow may have happened as well, the next one in part.
        while state != found and k < at_most:
            for part in self.parts_of_zeroes(k + 1):
                held = list(state)
                for first, count, _ in part:
                    held[first : first + count] = [0] * count
                if held == found:
                    self.tail = part
                    return k
            k += 1
            self.apply(state, k)
        if state != found:
            wrong = [i for i in range(self.count) if state[i] != found[i]]
            first = wrong[0]
            raise Failure(
                f"{what}: {len(wrong)} of {self.count} sectors are wrong; sector {self.base + first} holds write "
                f"{found[first]}, not {state[first]} (newest {newest}, promised {at_least}, sent {len(self.writes)})"
            )
        return k

    def parts_of_zeroes(self, sequence):
        """What may be there of zeroes that no flush covers: whole blocks, and what they share at either end, are zeroed
        one after the other, each whole, and a seal may come in between."""
        first, count, value = self.writes[sequence - 1]
        if value != 0:
            return []
        end = first + count
        head, tail = -(-first // BLOCK) * BLOCK, end // BLOCK * BLOCK
        bounds = [first, head, tail, end] if head < tail else [first, end]
        pieces = [(a, b - a, 0) for a, b in zip(bounds, bounds[1:]) if a < b]
        return [pieces[:done] for done in range(1, len(pieces))]

    def apply(self, state, sequence):
        first, count, value = self.writes[sequence - 1]
        state[first : first + count] = [value] * count

    def read(self, handle):
        found = []
        chunk = 2048
        for start in range(0, self.count, chunk):
            count = min(chunk, self.count - start)
            data = bytes(handle.pread(count * SECTOR, (self.base + start) * SECTOR))
            found += [self.sequence(data[i * SECTOR : (i + 1) * SECTOR], self.base + start + i) for i in range(count)]
        return found

    def sequence(self, data, number):
        magic, sequence, named = struct.unpack_from("<8sQQ", data)
        if magic == bytes(8) and not any(data):
            return 0
        if magic != b"zfstest1" or named != number or data != sector(number, sequence):
            raise Failure(f"sector {number} holds something that was never written there: {data[:32].hex()}…")
        return sequence

    def continue_from(self, k):
        """After a crash: what came after write k did not happen, but for what `verify` found of the next one."""
        self.writes[k:] = self.tail
        self.timeline += 1
        self.acknowledged = len(self.writes)
        self.flushed = min(self.flushed, k)
