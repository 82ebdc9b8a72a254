"""The few S3 requests that tests send themselves: to make a bucket, and to see what lies in it."""

import datetime
import hashlib
import hmac
import http.client
import urllib.parse
import xml.etree.ElementTree
from typing import NamedTuple


class S3Access(NamedTuple):
    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    def environment(self):
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}


class Bucket:
    def __init__(self, access, name):
        self.access = access
        self.name = name

    def create(self):
        self.request("PUT")

    def sizes(self, prefix=""):
        """Key -> bytes, of all objects."""
        found, token = {}, None
        while True:
            query = {"list-type": "2", "prefix": prefix}
            if token:
                query["continuation-token"] = token
            page = xml.etree.ElementTree.fromstring(self.request("GET", query=query))
            space = page.tag[: page.tag.index("}") + 1] if page.tag.startswith("{") else ""
            for item in page.findall(f"{space}Contents"):
                found[item.findtext(f"{space}Key")] = int(item.findtext(f"{space}Size"))
            token = page.findtext(f"{space}NextContinuationToken")
            if not token:
                return found

    def get(self, key):
        return self.request("GET", key)

    def empty(self):
        """Deletes all objects."""
        for key in self.sizes():
            self.request("DELETE", key)

    def request(self, method, key="", body=b"", query=None):
        host = urllib.parse.urlparse(self.access.endpoint).netloc
        path = urllib.parse.quote(f"/{self.name}/{key}" if key else f"/{self.name}")
        text = "&".join(
            f"{urllib.parse.quote(k, safe='')}={urllib.parse.quote(v, safe='')}"
            for k, v in sorted((query or {}).items())
        )
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            connection.request(
                method, f"{path}?{text}" if text else path, body, self.signed(method, host, path, text, body)
            )
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:300]!r}")
        return data

    def signed(self, method, host, path, query, body):
        """Signature version 4."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
        names = ";".join(sorted(headers))
        canonical = "\n".join(
            [method, path, query, *(f"{k}:{headers[k]}" for k in sorted(headers)), "", names, digest]
        )
        scope = f"{now[:8]}/{self.access.region}/s3/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = f"AWS4{self.access.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return headers
