#!/usr/bin/python3
"""A proxy between zerofs and an S3 server that goes wrong on demand, the same way each time for the same seed.

usage: faultproxy.py --target HOST:PORT [--port N] [--control N] [--seed N]     prints both ports, then serves

It understands HTTP/1.1 as far as S3 needs: it reads a request whole, decides what shall happen to it, and sends it to
the server on a connection of its own, with the headers that the client signed. The control port takes

    PUT /plan    {"rules": [RULE, ...], "delay": SECONDS, "jitter": SECONDS, "bandwidth": BYTES_PER_SECOND}
    GET /counts  {"requests": N, "forwarded": N, "FAULT": N, ...}
    POST /down   new connections are refused, those that stand are cut;  POST /up  ends that

A rule names a `fault`, and which requests it meets: `methods` (all, without), `path` (a regular expression),
`probability` (1), `skip` (how many that match are left alone first) and `times` (no limit). The first rule that strikes
decides. `delay`, `jitter` and `bandwidth` are for all requests.

Whether a rule strikes follows from the seed, the rule, the method, the path and how often that request was seen before:
not from the order in which requests of several connections happen to arrive.
"""

import argparse
import asyncio
import json
import random
import re
import sys

HEAD_BYTES_MAX = 64 << 10

# Answers that the proxy gives itself: status, S3's code.
ERRORS = {
    "error-500": (500, "InternalError"),
    "error-503": (503, "SlowDown"),
    "error-409": (409, "ConditionalRequestConflict"),
}

FAULTS = {
    **{name: f"answered with {status} {code}, not forwarded" for name, (status, code) in ERRORS.items()},
    "drop-before": "the connection is cut, nothing was forwarded",
    "drop-after": "the server has carried it out; the connection is cut before its answer",
    "error-after": "the server has carried it out; the client is told of a 500",
    "late": "the connection is cut, and the request is carried out `seconds` (2) later",
    "cut-request": "half of the request's body reaches the server",
    "cut-answer": "half of the answer's body reaches the client, then the connection is cut",
    "truncate": "half of the answer's body, with a length that says so",
    "corrupt": "one bit of the answer's body is flipped",
    "stall": "no answer for `seconds` (5), then the connection is cut",
}
NOT_FORWARDED = {*ERRORS, "drop-before", "stall"}


class Cut(Exception):
    """The client's connection ends here."""


class Message:
    """A request or an answer: its first line, its headers as they came, its body."""

    def __init__(self, first, headers, body=b""):
        self.first, self.headers, self.body = first, headers, body

    def header(self, name):
        return next((value for key, value in self.headers if key.lower() == name), None)

    def without(self, *names):
        return [(key, value) for key, value in self.headers if key.lower() not in names]

    @property
    def status(self):
        return int(self.first.split(" ")[1])

    def encoded(self, length=None):
        """With a body of known length, however it came."""
        headers = self.without("transfer-encoding", "content-length", "expect", "connection")
        if length is not None or self.body:
            headers.append(("Content-Length", str(len(self.body) if length is None else length)))
        lines = [self.first, *(f"{key}: {value}" for key, value in headers)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


async def read_head(reader):
    """The first line and the headers, or None at the end."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise Cut from None
        return None
    first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
    return Message(first, [(key, value.strip()) for key, _, value in (line.partition(":") for line in lines)])


async def read_body(reader, message, until_end=False):
    if "chunked" in (message.header("transfer-encoding") or ""):
        parts = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        while (await reader.readline()).strip():
            pass
        return b"".join(parts)
    if length := message.header("content-length"):
        return await reader.readexactly(int(length))
    return await reader.read() if until_end else b""


class Plan:
    """What goes wrong. Decisions depend on the seed and on the request, not on time."""

    def __init__(self, seed, rules=(), delay=0.0, jitter=0.0, bandwidth=0):
        self.seed, self.rules = seed, list(rules)
        self.delay, self.jitter, self.bandwidth = delay, jitter, bandwidth
        for rule in self.rules:
            if rule["fault"] not in FAULTS:
                raise ValueError(f"there is no fault {rule['fault']}; known: {', '.join(FAULTS)}")
        self.seen = {}
        self.matched = [0] * len(self.rules)
        self.struck = [0] * len(self.rules)

    def draw(self, *what):
        return random.Random(":".join(map(str, (self.seed, *what)))).random()

    def decide(self, method, path):
        """The rule that strikes, or None; and the seconds to wait."""
        occurrence = self.seen[method, path] = self.seen.get((method, path), 0) + 1
        wait = self.delay + self.jitter * self.draw("wait", method, path, occurrence)
        for index, rule in enumerate(self.rules):
            if rule.get("methods") and method not in rule["methods"]:
                continue
            if rule.get("path") and not re.search(rule["path"], path):
                continue
            self.matched[index] += 1
            if self.matched[index] <= rule.get("skip", 0) or self.struck[index] >= rule.get("times", 1 << 62):
                continue
            if self.draw(index, method, path, occurrence) < rule.get("probability", 1):
                self.struck[index] += 1
                return rule, wait
        return None, wait


class Proxy:
    def __init__(self, host, port, seed):
        self.host, self.target_port, self.seed = host, port, seed
        self.plan = Plan(seed)
        self.counts = {"requests": 0, "forwarded": 0}
        self.clients = set()
        self.listener = None
        self.port = 0
        self.later = set()

    async def up(self):
        if self.listener is None:
            self.listener = await asyncio.start_server(
                self.serve, "127.0.0.1", self.port, limit=HEAD_BYTES_MAX, backlog=256, reuse_address=True
            )
            self.port = self.listener.sockets[0].getsockname()[1]

    async def down(self):
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        for writer in list(self.clients):
            writer.transport.abort()

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    async def serve(self, reader, writer):
        self.clients.add(writer)
        try:
            while request := await read_head(reader):
                if (request.header("expect") or "").lower() == "100-continue":
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.body = await read_body(reader, request)
                await self.handle(request, writer)
                if (request.header("connection") or "").lower() == "close":
                    break
        except (Cut, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            writer.transport.abort()
        finally:
            self.clients.discard(writer)
            writer.close()

    async def handle(self, request, writer):
        method, path = request.first.split(" ")[:2]
        rule, wait = self.plan.decide(method, path)
        fault = rule["fault"] if rule else None
        self.count("requests")
        if fault:
            self.count(fault)
        if wait:
            await asyncio.sleep(wait)
        await self.pace(len(request.body))
        if fault in ERRORS:
            return await self.answer(self.error(*ERRORS[fault]), method, writer)
        if fault == "drop-before":
            raise Cut
        if fault == "stall":
            await asyncio.sleep(rule.get("seconds", 5))
            raise Cut
        if fault == "late":
            task = asyncio.create_task(self.forward_later(request, rule.get("seconds", 2)))
            self.later.add(task)
            task.add_done_callback(self.later.discard)
            raise Cut
        if fault == "cut-request" and request.body:
            await self.forward_half(request)
            raise Cut
        answer = await self.forward(request)
        await self.pace(len(answer.body))
        if fault == "drop-after":
            raise Cut
        if fault == "error-after":
            answer = self.error(500, "InternalError")
        if fault == "truncate":
            answer.body = answer.body[: len(answer.body) // 2]
            answer.headers = answer.without("content-length")
        if fault == "corrupt" and answer.body:
            answer.body = self.flipped(answer.body, method, path)
        await self.answer(answer, method, writer, is_cut=fault == "cut-answer")

    @staticmethod
    def error(status, code):
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>planned</Message></Error>".encode()
        return Message(f"HTTP/1.1 {status} {code}", [("Content-Type", "application/xml")], body)

    def flipped(self, body, method, path):
        place = int(self.plan.draw("flip", method, path, self.plan.seen[method, path]) * len(body) * 8)
        flipped = bytearray(body)
        flipped[place // 8] ^= 1 << place % 8
        return bytes(flipped)

    async def pace(self, count):
        if self.plan.bandwidth and count:
            await asyncio.sleep(count / self.plan.bandwidth)

    async def answer(self, message, method, writer, is_cut=False):
        # The answer to HEAD tells a length and has no body.
        is_bare = method == "HEAD" or message.status in (204, 304)
        length = int(message.header("content-length") or 0) if method == "HEAD" else len(message.body)
        writer.write(message.encoded(None if message.status in (204, 304) else length))
        if not is_bare:
            writer.write(message.body[: len(message.body) // 2] if is_cut else message.body)
        await writer.drain()
        if is_cut:
            # What was written arrives; the rest never does.
            writer.close()
            raise Cut

    async def open(self):
        return await asyncio.open_connection(self.host, self.target_port, limit=HEAD_BYTES_MAX)

    async def forward(self, request):
        """Carries the request out, and returns the server's answer."""
        reader, writer = await self.open()
        try:
            writer.write(self.for_server(request))
            writer.write(request.body)
            await writer.drain()
            self.count("forwarded")
            while answer := await read_head(reader):
                if answer.status >= 200:
                    break
            if answer is None:
                raise Cut
            if request.first.startswith("HEAD ") or answer.status in (204, 304):
                return answer
            answer.body = await read_body(reader, answer, until_end=True)
            return answer
        finally:
            writer.close()

    @staticmethod
    def for_server(request):
        length = len(request.body) if request.body or request.header("content-length") else None
        return request.encoded(length)[:-2] + b"Connection: close\r\n\r\n"

    async def forward_half(self, request):
        _, writer = await self.open()
        writer.write(self.for_server(request))
        writer.write(request.body[: len(request.body) // 2])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    async def forward_later(self, request, seconds):
        await asyncio.sleep(seconds)
        try:
            await self.forward(request)
        except (Cut, OSError, asyncio.IncompleteReadError):
            self.count("late-failed")

    async def control(self, reader, writer):
        try:
            request = await read_head(reader)
            request.body = await read_body(reader, request)
            method, path = request.first.split(" ")[:2]
            status, answer = await self.command(method, path, request.body)
        except (ValueError, KeyError, TypeError) as error:
            status, answer = 400, {"error": str(error)}
        body = json.dumps(answer).encode()
        writer.write(f"HTTP/1.1 {status} OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
        writer.write(body)
        await writer.drain()
        writer.close()

    async def command(self, method, path, body):
        match method, path:
            case "PUT", "/plan":
                self.plan = Plan(self.seed, **json.loads(body))
            case "POST", "/down":
                await self.down()
            case "POST", "/up":
                await self.up()
            case "GET", "/counts":
                return 200, self.counts
            case _:
                return 404, {"error": f"there is no {method} {path}"}
        return 200, {}


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", required=True, metavar="HOST:PORT")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    host, _, port = options.target.rpartition(":")
    proxy = Proxy(host, int(port), options.seed)
    proxy.port = options.port
    await proxy.up()
    controller = await asyncio.start_server(proxy.control, "127.0.0.1", options.control)
    print(proxy.port, controller.sockets[0].getsockname()[1], flush=True)
    await controller.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
