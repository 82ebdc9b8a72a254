"""The proxy that goes wrong on demand: each fault is what it says, and the same seed strikes the same requests."""

import http.client
import http.server
import threading
import time

from faults import FaultProxy
from harness import Failure, check, equal, mark, wait_until
from objectstores import S3Access

PLAIN = bytes(range(256)) * 16


class Bucket(http.server.BaseHTTPRequestHandler):
    """Keeps what is PUT, and what was asked for, in the order in which it came."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_PUT(self):
        expected = int(self.headers["Content-Length"])
        body = self.rfile.read(expected)
        if len(body) == expected:
            self.server.kept[self.path] = body
        self.reply(200, b"")

    def do_GET(self):
        self.reply(200, self.server.kept.get(self.path, PLAIN))

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "4096")
        self.end_headers()

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Setup:
    def __init__(self, t, seed=1):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
        self.server.kept = {}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        t.at_end(self.server.server_close)
        t.at_end(self.server.shutdown)
        self.proxy = FaultProxy(t, S3Access(f"http://127.0.0.1:{self.server.server_port}", "a", "b"), seed=seed)

    @property
    def kept(self):
        return self.server.kept

    def request(self, method, path, body=None):
        """Status and body, or the name of what went wrong."""
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__, b""
        finally:
            connection.close()


def is_cut(answer, what):
    check(isinstance(answer[0], str), f"{what}: the client got {answer[0]}, not a broken connection")


def test_without_a_plan_requests_pass_unchanged(t):
    s = Setup(t)
    equal(s.request("PUT", "/a", PLAIN * 500), (200, b""), "a PUT of 2 MiB")
    equal(s.request("GET", "/a"), (200, PLAIN * 500), "the GET")
    equal(s.request("HEAD", "/a"), (200, b""), "a HEAD, whose answer has a length and no body")
    connection = http.client.HTTPConnection("127.0.0.1", s.proxy.port, timeout=10)
    for i in range(3):
        connection.request("PUT", f"/{i}", iter([b"chunks ", b"of a body"]), encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})
        equal(connection.getresponse().read(), b"", "an answer on a connection that stays")
    equal(s.kept["/2"], b"chunks of a body", "a body in chunks")
    counts = s.proxy.counts()
    equal((counts["requests"], counts["forwarded"]), (6, 6), "counts")


def test_each_fault_is_what_it_says(t):
    s = Setup(t)

    def with_fault(fault, method, path, body=None, **more):
        s.proxy.plan([{"fault": fault, "times": 1, **more}])
        return s.request(method, path, body)

    for status in (500, 503, 409):
        answer = with_fault(f"error-{status}", "PUT", f"/{status}", b"x")
        equal(answer[0], status, f"error-{status}")
        check(b"<Code>" in answer[1] and f"/{status}" not in s.kept, "it has S3's form, and nothing was forwarded")
    is_cut(with_fault("drop-before", "PUT", "/before", b"x"), "drop-before")
    check("/before" not in s.kept, "drop-before: nothing reached the server")
    is_cut(with_fault("drop-after", "PUT", "/after", b"x"), "drop-after")
    equal(s.kept["/after"], b"x", "drop-after: the server has it")
    equal(with_fault("error-after", "PUT", "/told", b"x")[0], 500, "error-after")
    equal(s.kept["/told"], b"x", "error-after: the server has it")
    is_cut(with_fault("cut-request", "PUT", "/half", PLAIN), "cut-request")
    check("/half" not in s.kept, "cut-request: the server never had all of it")
    is_cut(with_fault("cut-answer", "GET", "/x"), "cut-answer")
    equal(with_fault("truncate", "GET", "/x"), (200, PLAIN[: len(PLAIN) // 2]), "truncate")
    corrupt = with_fault("corrupt", "GET", "/x")[1]
    equal(sum((a ^ b).bit_count() for a, b in zip(corrupt, PLAIN, strict=True)), 1, "bits that corrupt has flipped")
    began = time.monotonic()
    is_cut(with_fault("stall", "GET", "/x", seconds=0.6), "stall")
    check(0.5 < time.monotonic() - began < 5, "stall takes the time that was asked for")
    is_cut(with_fault("late", "PUT", "/late", b"x", seconds=3), "late")
    check("/late" not in s.kept, "late: not yet")
    wait_until(lambda: s.kept.get("/late") == b"x", 20, "the late request")
    equal(s.request("GET", "/x"), (200, PLAIN), "a rule is over after its times")
    equal(s.proxy.counts()["late"], 1, "counts name each fault")


def test_delay_bandwidth_and_being_down(t):
    s = Setup(t)

    def seconds(path):
        began = time.monotonic()
        equal(s.request("GET", path)[0], 200, "status")
        return time.monotonic() - began

    s.proxy.plan(delay=0.2)
    check(0.2 <= seconds("/x") < 10, "a delay")
    s.proxy.plan(bandwidth=8192)
    check(0.5 <= seconds("/x") < 10, "4 KiB at 8 KiB/s")
    s.proxy.down()
    equal(s.request("GET", "/x")[0], "ConnectionRefusedError", "a proxy that is down")
    s.proxy.up()
    s.proxy.plan()
    check(seconds("/x") < 10, "it is up again, and quick")


def test_the_same_seed_strikes_the_same_requests_in_any_order(t):
    def struck(seed, order):
        s = Setup(t, seed)
        s.proxy.plan([{"fault": "error-503", "probability": 0.4, "methods": ["GET"]}])
        return {path for path in order if s.request("GET", path)[0] == 503}

    paths = [f"/{i}" for i in range(60)]
    first = struck(7, paths)
    check(10 < len(first) < 40, f"about 40 % of 60: {len(first)}")
    equal(struck(7, reversed(paths)), first, "the same seed in another order")
    check(struck(8, paths) != first, "another seed")


def test_rules_match_methods_and_paths_and_leave_the_first_alone(t):
    s = Setup(t)
    s.proxy.plan([{"fault": "error-500", "methods": ["PUT"], "path": "/log/", "skip": 1, "times": 2}])
    found = [s.request(m, p, b"x" if m == "PUT" else None)[0]
             for m, p in (("GET", "/log/1"), ("PUT", "/map/1"), *[("PUT", f"/log/{i}") for i in range(4)])]
    equal(found, [200, 200, 200, 500, 500, 200], "statuses")
    try:
        s.proxy.plan([{"fault": "no such"}])
    except RuntimeError:
        return
    raise Failure("a fault that does not exist was taken")


@mark(needs=("radosgw",))
def test_a_real_s3_server_takes_signed_requests_through_it(t):
    access = t.resources.access["radosgw"]
    proxy = FaultProxy(t, access)
    store = t.store("radosgw", access=proxy.access)
    store.zerofs("create", "vol", "--size", "64M")
    handle = store.serve().connect()
    handle.pwrite(PLAIN * 4096, 0)
    handle.flush()
    check(proxy.counts()["forwarded"] > 5, "zerofs talks through the proxy")
