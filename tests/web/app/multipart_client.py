"""What the tests of multipart uploads send: an upload step by step, as an SDK does it."""

import re
import time
from html import unescape

from actors.directory import Directory
from actors.runtime import sleep

PART_BYTES = 5 << 20
"""The least that a part may have which is not the last."""


def element(answer, name):
    """The text of the first element of that name in an answer's document; None if there is none."""
    found = re.search(f"<{name}>([^<]*)</{name}>", answer.body.decode())
    return None if found is None else unescape(found[1])


def elements(answer, name):
    """The texts of all of them."""
    return [unescape(text) for text in re.findall(f"<{name}>([^<]*)</{name}>", answer.body.decode())]


def code(answer):
    """(status, S3's code) of an answer; the code is None for one that is no error document."""
    return answer.status, element(answer, "Code")


def until(holds, secs=30):
    """Wait for what an actor does on its own."""
    deadline = time.monotonic() + secs
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        sleep(0.05)


class Upload:
    """One multipart upload of `key` in `box`; `etags` are those of the parts that were sent, by number."""

    def __init__(self, store, key="k", headers=None, sign="v4", bucket="box"):
        self.store, self.sign = store, sign
        self.path = f"/{bucket}/{key}"
        self.created = store.send("POST", f"{self.path}?uploads", headers=headers, sign=sign)
        self.id = element(self.created, "UploadId")
        self.etags = {}
        self.checksums = {}

    def put(self, number, body, headers=None):
        """UploadPart."""
        answer = self.store.send("PUT", f"{self.path}?partNumber={number}&uploadId={self.id}", body, headers, sign=self.sign)
        return self._kept(number, answer, answer.headers.get("etag"))

    def copy(self, number, source, span=None, headers=None):
        """UploadPartCopy; `span` is (first, last)."""
        sent = {"x-amz-copy-source": source, **(headers or {})}
        if span is not None:
            sent["x-amz-copy-source-range"] = f"bytes={span[0]}-{span[1]}"
        answer = self.store.send("PUT", f"{self.path}?partNumber={number}&uploadId={self.id}", headers=sent, sign=self.sign)
        return self._kept(number, answer, element(answer, "ETag"))

    def _kept(self, number, answer, etag):
        if answer.status == 200:
            self.etags[number] = etag
            prefix = "x-amz-checksum-"
            self.checksums[number] = {
                name.removeprefix(prefix).upper(): value for name, value in answer.headers.items() if name.startswith(prefix)
            }
        return answer

    def document(self, parts=None):
        """The body of a Complete of those (number, etag), or of every part that was sent, with the checksums that were answered."""
        listed = sorted(self.etags.items()) if parts is None else parts
        items = []
        for number, etag in listed:
            checksums = "".join([f"<Checksum{name}>{value}</Checksum{name}>" for name, value in self.checksums.get(number, {}).items()])
            items.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{checksums}</Part>")
        return f"<CompleteMultipartUpload>{''.join(items)}</CompleteMultipartUpload>".encode()

    def complete(self, parts=None, headers=None, body=None):
        """CompleteMultipartUpload."""
        sent = self.document(parts) if body is None else body
        return self.store.send("POST", f"{self.path}?uploadId={self.id}", sent, headers, sign=self.sign)

    def abort(self):
        """AbortMultipartUpload."""
        return self.store.send("DELETE", f"{self.path}?uploadId={self.id}", sign=self.sign)

    def listed(self, query=""):
        """ListParts."""
        return self.store.send("GET", f"{self.path}?uploadId={self.id}{query}", sign=self.sign)


class Meddler:
    """Stands between the worker and the journal: before the first message of a kind gets there it does what another client might."""

    def __init__(self, store, kind, act):
        self._ref = store.directory.get("metadata-journal")
        self._kind, self._act = kind, act
        store.worker.directory = directory = Directory()
        for name in store.directory.names():
            directory.register(name, store.directory.get(name))
        directory.register("metadata-journal", self)

    def ask(self, message, block=True, timeout=None):
        if isinstance(message, self._kind) and self._act is not None:
            act, self._act = self._act, None
            act()
        return self._ref.ask(message, block=block, timeout=timeout)

    def __getattr__(self, name):
        return getattr(self._ref, name)
