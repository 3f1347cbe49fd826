"""A small S3 client on requests that signs SigV4 and x-fs: for bench, the command line, tests and the demo.

Owns one HTTP session. Sends paths exactly as encoded (dots and doubled slashes are part of keys), follows no redirect, retries
nothing, and takes neither proxies nor credentials from the environment or netrc.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from time import time
from typing import IO, Any
from urllib.parse import urlsplit

import requests
import urllib3
from defusedxml.ElementTree import ParseError, fromstring
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from fasterstore.s3 import canonical, signer
from fasterstore.s3.chunked_encoder import encode_chunked

Body = bytes | IO[bytes] | Iterable[bytes]
HTTP_ERRORS_FROM = 400


class ResponseError(Exception):
    """An answer of 400 or above: `status`, and from its XML `code`, `message`, `request_id` (empty without a body)."""

    def __init__(self, response: requests.Response) -> None:
        self.response = response
        self.status = response.status_code
        self.code, self.message = "", ""
        self.request_id = response.headers.get("x-amz-request-id", "")
        try:
            root = fromstring(response.content)
            self.code = root.findtext("Code") or ""
            self.message = root.findtext("Message") or ""
        except ParseError:
            pass
        super().__init__(f"{self.status} {self.code}: {self.message}".rstrip(": "))


class Client:
    """One endpoint, one set of keys.

    `endpoint` is a URL without path; `scheme` is "sigv4", "x-fs" or "none"; `timeout_secs` bounds the connect and each wait for
    bytes; `pool_size` is how many connections are kept; `ca_cert` is a PEM file to verify an https endpoint by in place of the usual
    authorities; `clock` gives Unix seconds. Usable from several greenlets at once.
    """

    def __init__(
        self,
        endpoint: str,
        access_key: str,
        secret_key: str,
        *,
        scheme: str = "sigv4",
        region: str = "us-east-1",
        timeout_secs: float = 60.0,
        pool_size: int = 10,
        ca_cert: str | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        if scheme not in ("sigv4", "x-fs", "none"):
            raise ValueError(f"unknown scheme {scheme}")
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ValueError(f"the endpoint must be a URL without a path, such as http://127.0.0.1:9000, not {endpoint}")
        self.endpoint = f"{parts.scheme}://{parts.netloc}"
        self.credentials = signer.Credentials(access_key, secret_key, region)
        self.scheme = scheme
        self._host = parts.netloc.rpartition("@")[2]
        self._timeout_secs = timeout_secs
        self._clock = clock
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = ca_cert or True
        self._session.mount(f"{parts.scheme}://", HTTPAdapter(pool_connections=1, pool_maxsize=pool_size, max_retries=0))

    def close(self) -> None:
        """Close every kept connection."""
        self._session.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def send(
        self,
        method: str,
        raw_path: str,
        raw_query: str = "",
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        *,
        payload_hash: str | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """Sign and send one request; the answer whatever its status.

        `raw_path` and `raw_query` go out as they are and must be encoded already (`canonical.encode_path`, `encode_query`).
        `payload_hash` defaults to the SHA-256 of a bytes `body`, else UNSIGNED-PAYLOAD. A body that is not bytes needs a
        content-length header, or goes out chunked. `stream`: the answer's body is not read yet. Raises requests' exceptions.
        """
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        if payload_hash is None:
            payload_hash = hashlib.sha256(body).hexdigest() if isinstance(body, bytes) else canonical.UNSIGNED_PAYLOAD
        sent["host"] = self._host
        if self.scheme == "sigv4":
            added, _ = signer.sign_v4_headers(method, raw_path, raw_query, sent, payload_hash, self.credentials, int(self._clock()))
            sent.update(added)
        elif self.scheme == "x-fs":
            sent.update(signer.sign_xfs(method, raw_path, raw_query, payload_hash, self.credentials, int(self._clock())))
        return self._send_signed(method, raw_path + (f"?{raw_query}" if raw_query else ""), sent, body, stream)

    def _send_signed(self, method: str, target: str, headers: dict[str, str], body: Body, stream: bool = False) -> requests.Response:
        if isinstance(body, bytes) and (body or method in ("PUT", "POST")):
            headers.setdefault("content-length", str(len(body)))
        headers.setdefault("user-agent", "fasterstore-client")
        # Built by hand: requests' own preparation would decode and normalise the path that was signed.
        prepared = requests.PreparedRequest()
        prepared.method = method
        prepared.url = self.endpoint + target
        prepared.headers = CaseInsensitiveDict(headers)
        prepared.hooks = {"response": []}
        prepared.body = body or None
        response = self._session.send(prepared, stream=True, timeout=self._timeout_secs, allow_redirects=False)
        if not stream:
            # What was stored, whatever its Content-Encoding says: requests would unpack it.
            try:
                response._content = response.raw.read(decode_content=False)
            except urllib3.exceptions.HTTPError as error:
                raise requests.ConnectionError(error) from error
            response._content_consumed = True
        return response

    def request(
        self,
        method: str,
        bucket: str = "",
        key: str | bytes = b"",
        query: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        **options: Any,
    ) -> requests.Response:
        """As `send`, for a bucket and key as they are and a query of decoded pairs."""
        return self.send(method, _path(bucket, key), canonical.encode_query(query), headers, body, **options)

    def put(self, bucket: str, key: str | bytes, body: Body, headers: Mapping[str, str] | None = None, **options: Any) -> requests.Response:
        """PutObject. Raises ResponseError, as all methods below do."""
        return _checked(self.request("PUT", bucket, key, (), headers, body, **options))

    def get(self, bucket: str, key: str | bytes, headers: Mapping[str, str] | None = None, *, stream: bool = False) -> requests.Response:
        """GetObject; the bytes are in `.content`, or with `stream` in `.iter_content()`."""
        return _checked(self.request("GET", bucket, key, (), headers, stream=stream))

    def head(self, bucket: str, key: str | bytes = b"", headers: Mapping[str, str] | None = None) -> requests.Response:
        """HeadObject, or HeadBucket without a key."""
        return _checked(self.request("HEAD", bucket, key, (), headers))

    def delete(self, bucket: str, key: str | bytes, headers: Mapping[str, str] | None = None) -> requests.Response:
        """DeleteObject. An empty key would be DeleteBucket and is refused with ValueError."""
        if not key:
            raise ValueError("an empty key would delete the bucket")
        return _checked(self.request("DELETE", bucket, key, (), headers))

    def create_bucket(self, bucket: str) -> requests.Response:
        """CreateBucket."""
        return _checked(self.request("PUT", bucket))

    def delete_bucket(self, bucket: str) -> requests.Response:
        """DeleteBucket."""
        return _checked(self.request("DELETE", bucket))

    def list_buckets(self) -> list[str]:
        """ListBuckets: the names."""
        root = fromstring(_checked(self.request("GET")).content)
        return [element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] == "Name"]

    def presign(
        self,
        method: str,
        bucket: str,
        key: str | bytes = b"",
        *,
        expires_secs: int = 3600,
        query: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """A presigned SigV4 URL; `headers` are signed too and must be sent with it."""
        signed = {name.lower(): value for name, value in (headers or {}).items()} | {"host": self._host}
        raw_path, raw_query = _path(bucket, key), canonical.encode_query(query)
        return (
            f"{self.endpoint}{raw_path}?"
            f"{signer.presign_v4(method, raw_path, raw_query, signed, self.credentials, int(self._clock()), expires_secs)}"
        )

    def send_presigned(self, method: str, url: str, headers: Mapping[str, str] | None = None, body: Body = b"") -> requests.Response:
        """Send a presigned URL of this endpoint as it is; the answer whatever its status."""
        if not url.startswith(self.endpoint + "/"):
            raise ValueError("the URL is of another endpoint")
        sent = {name.lower(): value for name, value in (headers or {}).items()} | {"host": self._host}
        return self._send_signed(method, url[len(self.endpoint) :], sent, body)

    def put_chunked(
        self,
        bucket: str,
        key: str | bytes,
        pieces: Iterable[bytes],
        *,
        payload: str = canonical.STREAMING_SIGNED,
        trailers: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """PutObject as aws-chunked, one chunk for each of `pieces`, signed with SigV4 whatever the client's scheme is.

        `payload` is a STREAMING- value of `canonical`; `trailers` by lower-case name. The answer whatever its status.
        """
        chunks = list(pieces)
        trailers = dict(trailers or {})
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        sent |= {
            "host": self._host,
            "content-encoding": "aws-chunked",
            "x-amz-decoded-content-length": str(sum(map(len, chunks))),
        }
        if trailers:
            sent["x-amz-trailer"] = ",".join(trailers)
        raw_path = _path(bucket, key)
        added, streaming = signer.sign_v4_headers("PUT", raw_path, "", sent, payload, self.credentials, int(self._clock()))
        body = b"".join(encode_chunked(chunks, payload, streaming, trailers))
        return self._send_signed("PUT", raw_path, sent | added, body)


def _path(bucket: str, key: str | bytes) -> str:
    return canonical.encode_path(bucket, key.encode("utf-8") if isinstance(key, str) else key)


def _checked(response: requests.Response) -> requests.Response:
    if response.status_code >= HTTP_ERRORS_FROM:
        raise ResponseError(response)
    return response
