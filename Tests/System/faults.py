"""A running fault proxy, as a test steers it."""

import http.client
import json
import pathlib
import subprocess
import sys
import urllib.parse

import processes

PROGRAM = pathlib.Path(__file__).resolve().parent / "faultproxy.py"

# What a busy or badly connected store does now and then; none of it may be seen by a client of zerofs.
ROUGH = [
    {"fault": "error-503", "probability": 0.12},
    {"fault": "error-500", "probability": 0.04},
    {"fault": "drop-after", "probability": 0.05, "methods": ["PUT"]},
    {"fault": "error-after", "probability": 0.03, "methods": ["PUT"]},
    {"fault": "late", "probability": 0.02, "methods": ["PUT"], "seconds": 1.5},
    {"fault": "error-409", "probability": 0.03, "methods": ["PUT"]},
    {"fault": "cut-request", "probability": 0.03, "methods": ["PUT"]},
    {"fault": "drop-before", "probability": 0.03},
    {"fault": "cut-answer", "probability": 0.04, "methods": ["GET"]},
    {"fault": "truncate", "probability": 0.02, "methods": ["GET"]},
    {"fault": "stall", "probability": 0.01, "seconds": 2},
]


class FaultProxy:
    """A proxy in a process of its own, in front of an S3 server. `access` reaches the server through it."""

    def __init__(self, case, access, seed=1):
        target = urllib.parse.urlparse(access.endpoint).netloc
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), "--target", target, "--seed", str(seed)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=open(case.path("faultproxy.log"), "ab"),
        )
        case.at_end(processes.end, self.process, 5)
        line = self.process.stdout.readline().split()
        if len(line) != 2:
            raise RuntimeError(f"the proxy did not start: {case.path('faultproxy.log').read_text()[-300:]}")
        self.port, self.control_port = map(int, line)
        self.access = access._replace(endpoint=f"http://127.0.0.1:{self.port}")

    def command(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            found = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"the proxy: {found.get('error')}")
        return found

    def plan(self, rules=(), **settings):
        """From now on these rules hold, and no others. See faultproxy.py."""
        self.command("PUT", "/plan", {"rules": list(rules), **settings})

    def down(self):
        self.command("POST", "/down")

    def up(self):
        self.command("POST", "/up")

    def counts(self):
        return self.command("GET", "/counts")

    def struck(self):
        """How many faults there were."""
        return sum(n for name, n in self.counts().items() if name not in ("requests", "forwarded", "late-failed"))
