"""PostObject: an upload from a browser's form. Its fields are the headers of a PutObject, its policy the signature.

The form is read up to its file; the policy's signature, its conditions and what it may do are judged then, and only after that the file
is read and handed to PutObject's own handler. A form without a policy is nobody's: it uploads where everybody may. Fields that PutObject
has no header for are ignored, and so are the request's own headers that would change an object.
Source: S3 API page PostObject; S3 user guide, "Browser-based uploads using POST".
"""

from collections.abc import Callable, Mapping
from time import perf_counter
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from fasterstore.s3 import canonical
from fasterstore.s3.auth_result import AuthResult
from fasterstore.s3.errors import S3Error, from_store
from fasterstore.s3.form_data import FIELDS_MAX_BYTES, PIECE_BYTES, Form, FormReader, is_form
from fasterstore.s3.names import validate_key
from fasterstore.s3.post_policy import PostPolicy, parse_policy
from fasterstore.s3.post_signature import is_signed
from fasterstore.s3.tags import OBJECT_TAGS_MAX, parse_tagging
from fasterstore.s3.xml_text import document, element
from web import object
from web.authenticate import admit_form
from web.authorise import authorise_as
from web.context import ANONYMOUS, Request
from web.customer_key import key_to_seal
from web.form_file import FormFile
from web.lookup import need_bucket
from web.object_headers import SYSTEM_NAMES, describe
from web.reply import Headers, Reply, xml_reply
from web.upload import STREAMED_UPLOADS_MAX
from web.worker import Worker

FILENAME = "${filename}"
_OWN_HEADERS = frozenset((*SYSTEM_NAMES, "content-md5", "if-match", "if-none-match"))
_KEPT_FIELDS = frozenset((*SYSTEM_NAMES, "content-md5", "x-amz-date", "x-amz-storage-class", "x-amz-website-redirect-location"))
_KEPT_PREFIXES = (
    "x-amz-meta-", "x-amz-checksum-", "x-amz-sdk-checksum-", "x-amz-server-side-encryption", "x-amz-object-lock-",
)  # fmt: skip
_AROUND_FILE_MAX_BYTES = 4 * FIELDS_MAX_BYTES
"""A body this much longer than the largest object is refused unread."""


def post(worker: Worker, request: Request) -> Reply:
    """PostObject. Raises: S3Error."""
    worker.writer()
    content_length = _refuse_no_form(worker, request)
    reader = FormReader(request.headers.get("content-type", ""), _receive_from(request, content_length))
    form = reader.read_fields()
    if not form.has_file:
        raise S3Error("IncorrectNumberOfFilesInPostRequest")
    fields = _with_filename(form)
    policy = _admit(worker, request, fields)
    need_bucket(worker, request)
    seals = worker.keyring.seals
    has_key = describe(request.headers, seals).has_key
    if has_key:
        key_to_seal(worker, request)
    file = FormFile(worker, content_length, is_secret=has_key or seals)
    _receive_file(worker, request, reader, file, policy)
    request.bytes_in += reader.bytes_in - file.size_bytes
    request.content_length = file.size_bytes
    request.input = file.input()
    stored = object.put(worker, request)
    return _answer(request, fields, [pair for pair in stored.headers if pair[0] != "Content-Length"])


def _refuse_no_form(worker: Worker, request: Request) -> int:
    """The length of a body that is a form. Raises: S3Error."""
    if not is_form(request.headers.get("content-type", "")):
        if request.identity.scheme == ANONYMOUS.scheme and worker.settings.auth_enabled:
            raise S3Error("AccessDenied")
        condition = "Bucket POST must be of the enclosure-type multipart/form-data"
        raise S3Error("PreconditionFailed", Condition=condition)
    if request.identity.scheme != ANONYMOUS.scheme:
        raise S3Error("InvalidRequest", "A form is authenticated by its own fields: send no other signature with it.")
    if request.content_length is None:
        raise S3Error("MissingContentLength")
    limit = worker.settings.max_request_bytes
    if request.content_length > limit + _AROUND_FILE_MAX_BYTES:
        raise S3Error("EntityTooLarge", ProposedSize=str(request.content_length), MaxSizeAllowed=str(limit))
    return request.content_length


def _receive_from(request: Request, content_length: int) -> Callable[[int], bytes]:
    """What a FormReader pulls the body through: never more than belongs to it."""
    left = content_length
    readinto = getattr(request.input, "readinto", None)
    buffer = bytearray(min(PIECE_BYTES, content_length)) if readinto is not None else bytearray()

    def receive(limit: int) -> bytes:
        nonlocal left
        size = min(limit, left)
        if not size:
            return b""
        if readinto is None:
            piece = request.input.read(size)
        else:
            view = memoryview(buffer)[:size]
            piece = bytes(view[: readinto(view)])
        left -= len(piece)
        return piece

    return receive


def _with_filename(form: Form) -> dict[str, str]:
    """The fields with the file's name where they ask for it; not in documents, whose markup a name must not become part of."""
    if "key" not in form.fields:
        raise S3Error("UserKeyMustBeSpecified")
    return {
        name: value.replace(FILENAME, form.filename) if FILENAME in value and name not in ("policy", "tagging") else value
        for name, value in form.fields.items()
    }


def _admit(worker: Worker, request: Request, fields: Mapping[str, str]) -> PostPolicy | None:
    """Judge the form, and make the request the PutObject that it stands for. Returns its policy. Raises: S3Error."""
    identity = AuthResult(ANONYMOUS.scheme, "", canonical.UNSIGNED_PAYLOAD)
    policy: PostPolicy | None = None
    if is_signed(fields):
        if worker.settings.auth_enabled:
            identity = admit_form(worker.settings, request, fields)
        if "policy" in fields:
            policy = parse_policy(fields["policy"])
            policy.check(fields, request.bucket, worker.now_ms() / 1000)
    request.identity = identity
    if worker.rate_limit is not None:
        worker.rate_limit.count(request, perf_counter())
    key = fields["key"].encode()
    validate_key(key)
    request.key = key
    request.headers = _headers_of(request.headers, fields)
    authorise_as(worker, request, "PutObject")
    return policy


def _headers_of(headers: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, str]:
    """The headers of the PutObject: the request's that say nothing of an object, and those that came as fields."""
    found = {name: value for name, value in headers.items() if name not in _OWN_HEADERS and not name.startswith("x-amz-")}
    for name, value in fields.items():
        if name in _KEPT_FIELDS or name.startswith(_KEPT_PREFIXES):
            found[name] = _wire(value)
    if "acl" in fields:
        found["x-amz-acl"] = _wire(fields["acl"])
    if "tagging" in fields:
        found["x-amz-tagging"] = urlencode(parse_tagging(fields["tagging"].encode(), OBJECT_TAGS_MAX))
    return found


def _receive_file(worker: Worker, request: Request, reader: FormReader, file: FormFile, policy: PostPolicy | None) -> None:
    """Take the file in. Raises: S3Error, as soon as it is too long; and what receiving raises."""
    if worker.streamed_uploads >= STREAMED_UPLOADS_MAX:
        raise from_store("Overloaded", "too many large uploads at once")
    worker.streamed_uploads += 1
    limit = worker.settings.max_request_bytes
    try:
        request.account.take(min(request.content_length or 0, file.memory_max_bytes + PIECE_BYTES))
        for piece in reader.file_pieces():
            size_bytes = file.size_bytes + len(piece)
            if policy is not None and policy.max_bytes is not None and size_bytes > policy.max_bytes:
                policy.check_size(size_bytes)
            if size_bytes > limit:
                raise S3Error("EntityTooLarge", ProposedSize=str(size_bytes), MaxSizeAllowed=str(limit))
            file.append(piece)
    finally:
        worker.streamed_uploads -= 1
    if policy is not None:
        policy.check_size(file.size_bytes)


def _answer(request: Request, fields: Mapping[str, str], headers: Headers) -> Reply:
    """What the form asked to be told: another page, a status without a body, or a document."""
    assert request.key is not None
    key = request.key.decode("utf-8")
    etag = next(value for name, value in headers if name == "ETag")
    redirect = fields.get("success_action_redirect", fields.get("redirect"))
    target = None if redirect is None else _redirect_target(redirect, request.bucket, key, etag)
    if target is not None:
        return Reply(303, [*headers, ("Location", target), ("Content-Length", "0")])
    location = _location(request)
    headers.append(("Location", location))
    status = fields.get("success_action_status")
    if status == "200":
        return Reply(200, [*headers, ("Content-Length", "0")])
    if status == "201":
        parts = [element("Location", location), element("Bucket", request.bucket), element("Key", key), element("ETag", etag)]
        reply = xml_reply(201, document("PostResponse", parts, namespace=""))
        reply.headers += headers
        return reply
    return Reply(204, headers)


def _location(request: Request) -> str:
    host = request.headers.get("host", "")
    path = canonical.encode_path("" if request.host_bucket else request.bucket)
    key = canonical.uri_encode(request.key or b"", slash=False)
    return f"{'https' if request.is_secure else 'http'}://{host}{path.rstrip('/')}/{key}"


def _redirect_target(url: str, bucket: str, key: str, etag: str) -> str | None:
    """The page to go to, which is told what was stored; None if the text is no such URL: it then counts as not given, as in S3."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    told = urlencode({"bucket": bucket, "key": key, "etag": etag}, quote_via=quote, safe="")
    query = f"{parts.query}&{told}" if parts.query else told
    # Nothing but visible ASCII may stand in a header; what is escaped already stays so.
    return quote(urlunsplit((parts.scheme, parts.netloc, parts.path, query, parts.fragment)), safe="!#$%&'()*+,/:;=?@[]~")


def _wire(value: str) -> str:
    return value.encode("utf-8").decode("latin-1")


HANDLERS: dict[str, Callable[[Worker, Request], Reply]] = {"PostObject": post}
"""By S3 action."""
