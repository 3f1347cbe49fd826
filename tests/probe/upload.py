"""A multipart upload as a client makes it: each call is one request, and nothing is sent twice."""

import hashlib
from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import fromstring

import requests

from tools.client import Client, ResponseError

OK = 200


class Upload:
    """One upload. Every method that sends raises ResponseError, and requests' exceptions."""

    def __init__(self, client: Client, bucket: str, key: str) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self.id = ""
        """As the node named the upload; empty before `begin`."""
        self._etags: dict[int, str] = {}

    def begin(self, headers: Mapping[str, str] | None = None) -> None:
        """CreateMultipartUpload."""
        answer = checked(self._client.request("POST", self._bucket, self._key, (("uploads", ""),), headers))
        self.id = _text(answer, "UploadId")

    def put(self, part: int, body: bytes) -> None:
        """UploadPart; the last of the same number counts."""
        answer = checked(self._client.request("PUT", self._bucket, self._key, self._query(part), None, body))
        self._etags[part] = answer.headers["ETag"].strip('"')

    def copy(self, part: int, source_key: str) -> None:
        """UploadPartCopy of a whole object of the same bucket."""
        headers = {"x-amz-copy-source": f"/{self._bucket}/{source_key}"}
        answer = checked(self._client.request("PUT", self._bucket, self._key, self._query(part), headers))
        self._etags[part] = _text(answer, "ETag").strip('"')

    def etag(self, listed: Sequence[int]) -> str:
        """The ETag of the object that these parts make."""
        return f"{hashlib.md5(bytes.fromhex(''.join(self._etags[part] for part in listed))).hexdigest()}-{len(listed)}"

    def complete(self, listed: Sequence[int]) -> None:
        """CompleteMultipartUpload with these parts; others that were sent are left out."""
        parts = "".join(f"<Part><PartNumber>{part}</PartNumber><ETag>{self._etags[part]}</ETag></Part>" for part in listed)
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        checked(self._client.request("POST", self._bucket, self._key, (("uploadId", self.id),), None, body))

    def _query(self, part: int) -> tuple[tuple[str, str], ...]:
        return (("partNumber", str(part)), ("uploadId", self.id))


def checked(answer: requests.Response) -> requests.Response:
    """The answer; raises ResponseError unless it says success, also in its body, where S3 says it of a request that takes long."""
    if answer.status_code != OK or b"<Error>" in answer.content:
        raise ResponseError(answer)
    return answer


def _text(answer: requests.Response, name: str) -> str:
    return next(element.text or "" for element in fromstring(answer.content).iter() if element.tag.rpartition("}")[2] == name)
