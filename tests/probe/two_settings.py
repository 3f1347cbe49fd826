"""Requests that the writers on two nodes send about settings and tags, and how a state is read back: one mark in each document.

Every function that sends raises ResponseError, and requests' exceptions.
"""

import hashlib
import re
from collections.abc import Mapping
from urllib.parse import urlencode
from xml.etree.ElementTree import fromstring

import requests

from tests.probe.two_histories import Version
from tools.client import Client, ResponseError

_TAGGING = "<Tagging><TagSet>{}</TagSet></Tagging>"
_DOCUMENTS = {
    "tagging": _TAGGING.format("<Tag><Key>mark</Key><Value>{}</Value></Tag>"),
    "cors": "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>http://mark.{}.example</AllowedOrigin></CORSRule>"
    "</CORSConfiguration>",
    "policy": '{{"Version":"2012-10-17","Statement":[{{"Sid":"mark","Effect":"Deny","Principal":"*","Action":"s3:GetObject",'
    '"Resource":"arn:aws:s3:::BUCKET/nobody-has-this/{}/*"}}]}}',
}
_MARKS = {
    "tagging": r"<Value>([^<]+)</Value>",
    "cors": r"http://mark\.([^<]+)\.example",
    "policy": r"nobody-has-this/([^/]+)/",
}
NAMES = tuple(_DOCUMENTS)


def change(client: Client, bucket: str, name: str, mark: str | None) -> None:
    """Set a bucket's setting to a document with that mark, or take it away."""
    if mark is None:
        checked(client.request("DELETE", bucket, "", ((name, ""),)))
        return
    document = _DOCUMENTS[name].format(mark).replace("BUCKET", bucket)
    checked(client.request("PUT", bucket, "", ((name, ""),), None, document.encode()))


def read_setting(client: Client, bucket: str, name: str) -> str | None:
    """The mark of a bucket's setting; None if it is not set."""
    answer = client.request("GET", bucket, "", ((name, ""),))
    if answer.status_code == requests.codes.not_found and b"<Code>NoSuchBucket<" not in answer.content:
        return None
    found = re.search(_MARKS[name], checked(answer).text)
    return found[1] if found else checked(answer).text


def tag_header(tags: Mapping[str, str]) -> dict[str, str]:
    """The header of a PUT that brings tags."""
    return {"x-amz-tagging": urlencode(tags)} if tags else {}


def put_tags(client: Client, bucket: str, key: str, tags: Mapping[str, str]) -> None:
    """PutObjectTagging."""
    rows = "".join(f"<Tag><Key>{name}</Key><Value>{value}</Value></Tag>" for name, value in tags.items())
    checked(client.request("PUT", bucket, key, (("tagging", ""),), None, _TAGGING.format(rows).encode()))


def read_object(client: Client, bucket: str, key: str) -> Version | None:
    """The state of an object; None if there is none. Two requests: only where nobody writes the key meanwhile."""
    answer = client.request("GET", bucket, key)
    if answer.status_code == requests.codes.not_found and b"NoSuchKey" in answer.content:
        return None
    checked(answer)
    root = fromstring(checked(client.request("GET", bucket, key, (("tagging", ""),))).content)
    said = [element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] in {"Key", "Value"}]
    tags = tuple(sorted(zip(said[::2], said[1::2], strict=True)))
    return Version(hashlib.md5(answer.content).hexdigest(), answer.headers.get("x-amz-meta-mark", ""), tags)


def checked(answer: requests.Response) -> requests.Response:
    """The answer; raises ResponseError unless it says success, also in its body, where S3 says it of a request that takes long."""
    if answer.status_code >= requests.codes.bad_request or answer.content.startswith(b"<") and b"<Error>" in answer.content[:200]:
        raise ResponseError(answer)
    return answer
