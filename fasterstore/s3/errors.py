"""S3's errors: one table from code to status and message, the exception that carries one, and its XML.

Owns the wording and the HTTP status of every refusal. Must never put a secret or an expected signature into one.
Source: Amazon S3 API Reference, "Error responses"; wording as AWS sends it. XMinioStorageFull and its text are MinIO's, which
S3 has no code for. Where a code has many messages the caller's detail takes the table's place.
"""

from typing import NamedTuple

from fasterstore.s3.xml_text import DECLARATION, element


class ErrorKind(NamedTuple):
    """HTTP status and the message used when the caller gives none."""

    status: int
    message: str


ERRORS: dict[str, ErrorKind] = {
    "AccessDenied": ErrorKind(403, "Access Denied"),
    "AuthorizationHeaderMalformed": ErrorKind(400, "The authorization header that you provided is not valid."),
    "AuthorizationQueryParametersError": ErrorKind(400, "The authorization query parameters that you provided are not valid."),
    "BadDigest": ErrorKind(400, "The Content-MD5 you specified did not match what we received."),
    "BucketAlreadyExists": ErrorKind(
        409,
        "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
        "Please select a different name and try again.",
    ),
    "BucketAlreadyOwnedByYou": ErrorKind(409, "Your previous request to create the named bucket succeeded and you already own it."),
    "BucketNotEmpty": ErrorKind(409, "The bucket you tried to delete is not empty"),
    "ConditionalRequestConflict": ErrorKind(409, "A conflicting conditional operation is currently in progress against this resource."),
    "EntityTooLarge": ErrorKind(400, "Your proposed upload exceeds the maximum allowed size"),
    "IllegalLocationConstraintException": ErrorKind(
        400, "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to."
    ),
    "IncompleteBody": ErrorKind(400, "You did not provide the number of bytes specified by the Content-Length HTTP header"),
    "InternalError": ErrorKind(500, "We encountered an internal error. Please try again."),
    "InvalidAccessKeyId": ErrorKind(403, "The AWS Access Key Id you provided does not exist in our records."),
    "InvalidArgument": ErrorKind(400, "Invalid Argument"),
    "InvalidBucketName": ErrorKind(400, "The specified bucket is not valid."),
    "InvalidChunkSizeError": ErrorKind(403, "Only the last chunk is allowed to have a size less than 8192 bytes"),
    "InvalidDigest": ErrorKind(400, "The Content-MD5 you specified was invalid."),
    "InvalidEncryptionAlgorithmError": ErrorKind(400, "The Encryption request you specified is not valid. Supported value: AES256."),
    "InvalidLocationConstraint": ErrorKind(400, "The specified location-constraint is not valid"),
    "InvalidRange": ErrorKind(416, "The requested range is not satisfiable"),
    "InvalidRequest": ErrorKind(400, "Invalid Request"),
    "InvalidToken": ErrorKind(400, "The provided token is malformed or otherwise invalid."),
    "InvalidTrailer": ErrorKind(400, "The trailer that you provided is not valid."),
    "InvalidURI": ErrorKind(400, "Couldn't parse the specified URI."),
    "KeyTooLongError": ErrorKind(400, "Your key is too long"),
    "MalformedTrailerError": ErrorKind(
        400, "The request contained trailing data that was not well-formed or did not conform to our published schema."
    ),
    "MalformedXML": ErrorKind(400, "The XML you provided was not well-formed or did not validate against our published schema"),
    "MaxMessageLengthExceeded": ErrorKind(400, "Your request was too big."),
    "MetadataTooLarge": ErrorKind(400, "Your metadata headers exceed the maximum allowed metadata size"),
    "MethodNotAllowed": ErrorKind(405, "The specified method is not allowed against this resource."),
    "MissingContentLength": ErrorKind(411, "You must provide the Content-Length HTTP header."),
    "MissingSecurityHeader": ErrorKind(400, "Your request was missing a required header"),
    "NoSuchBucket": ErrorKind(404, "The specified bucket does not exist"),
    "NoSuchKey": ErrorKind(404, "The specified key does not exist."),
    "NoSuchUpload": ErrorKind(
        404,
        "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    ),
    "NoSuchVersion": ErrorKind(404, "The specified version does not exist."),
    "NotImplemented": ErrorKind(501, "A header you provided implies functionality that is not implemented"),
    "OperationAborted": ErrorKind(
        409, "A conflicting conditional operation is currently in progress against this resource. Please try again."
    ),
    "PreconditionFailed": ErrorKind(412, "At least one of the pre-conditions you specified did not hold"),
    "RequestHeaderSectionTooLarge": ErrorKind(400, "Your request header section exceeds the maximum allowed size."),
    "RequestTimeTooSkewed": ErrorKind(403, "The difference between the request time and the current time is too large."),
    "RequestTimeout": ErrorKind(
        400,
        "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.",
    ),
    "ServiceUnavailable": ErrorKind(503, "Service is unable to handle request."),
    "SignatureDoesNotMatch": ErrorKind(
        403,
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    ),
    "SlowDown": ErrorKind(503, "Please reduce your request rate."),
    "XAmzContentSHA256Mismatch": ErrorKind(400, "The provided 'x-amz-content-sha256' header does not match what was computed."),
    "XMinioStorageFull": ErrorKind(
        507, "Storage backend has reached its minimum free drive threshold. Please delete a few objects to proceed."
    ),
    "AccessControlListNotSupported": ErrorKind(400, "The bucket does not allow ACLs"),
    "BadRequest": ErrorKind(400, "Bad Request"),
    "EntityTooSmall": ErrorKind(400, "Your proposed upload is smaller than the minimum allowed size"),
    "ExpiredToken": ErrorKind(400, "The provided token has expired."),
    "IncorrectNumberOfFilesInPostRequest": ErrorKind(400, "POST requires exactly one file upload per request."),
    "InvalidBucketAclWithObjectOwnership": ErrorKind(400, "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"),
    "InvalidObjectState": ErrorKind(403, "The operation is not valid for the current state of the object."),
    "InvalidPart": ErrorKind(
        400,
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified "
        "entity tag may not match the part's entity tag.",
    ),
    "InvalidPartOrder": ErrorKind(400, "The list of parts was not in ascending order. Parts must be ordered by part number."),
    "InvalidPolicyDocument": ErrorKind(400, "The content of the form does not meet the conditions specified in the policy document."),
    "InvalidStorageClass": ErrorKind(400, "The storage class you specified is not valid"),
    "InvalidTag": ErrorKind(400, "The tag provided was not a valid tag. This error can occur if the tag did not pass input validation."),
    "InvalidWriteOffset": ErrorKind(400, "The write offset value that you specified does not match the current object size."),
    "MalformedACLError": ErrorKind(400, "The XML you provided was not well-formed or did not validate against our published schema"),
    "MalformedPOSTRequest": ErrorKind(400, "The body of your POST request is not well-formed multipart/form-data."),
    "MalformedPolicy": ErrorKind(400, "Policies must be valid JSON and the first byte must be '{'"),
    "MaxPostPreDataLengthExceeded": ErrorKind(400, "Your POST request fields preceding the upload file were too large."),
    "NoSuchBucketPolicy": ErrorKind(404, "The bucket policy does not exist"),
    "NoSuchCORSConfiguration": ErrorKind(404, "The CORS configuration does not exist"),
    "NoSuchConfiguration": ErrorKind(404, "The specified configuration does not exist."),
    "NoSuchLifecycleConfiguration": ErrorKind(404, "The lifecycle configuration does not exist"),
    "NoSuchObjectLockConfiguration": ErrorKind(404, "The specified object does not have a ObjectLock configuration"),
    "NoSuchPublicAccessBlockConfiguration": ErrorKind(404, "The public access block configuration was not found"),
    "NoSuchTagSet": ErrorKind(404, "The TagSet does not exist"),
    "NoSuchWebsiteConfiguration": ErrorKind(404, "The specified bucket does not have a website configuration"),
    "ObjectLockConfigurationNotFoundError": ErrorKind(404, "Object Lock configuration does not exist for this bucket"),
    "OwnershipControlsNotFoundError": ErrorKind(404, "The bucket ownership controls were not found"),
    "PolicyTooLarge": ErrorKind(400, "Policy is too large."),
    "ReplicationConfigurationNotFoundError": ErrorKind(404, "The replication configuration was not found"),
    "ServerSideEncryptionConfigurationNotFoundError": ErrorKind(404, "The server side encryption configuration was not found"),
    "TooManyParts": ErrorKind(
        400,
        "You have attempted to add more parts than the maximum of 10000 that are allowed for this object. You can use "
        "the CopyObject operation to copy this object to another and then add more parts to the newly copied object.",
    ),
    "UserKeyMustBeSpecified": ErrorKind(
        400,
        "The bucket POST must contain the specified field name.  If it is specified, please check the order of the fields.",
    ),
    "AccessForbidden": ErrorKind(403, "AccessForbidden"),
    "IllegalVersioningConfigurationException": ErrorKind(400, "The Versioning element must be specified"),
    "MetadataConfigurationNotFound": ErrorKind(404, "The metadata configuration does not exist"),
    "NoSuchAnnotation": ErrorKind(404, "The specified annotation does not exist."),
    "UnexpectedContent": ErrorKind(400, "This request does not support content"),
    "UnresolvableGrantByEmailAddress": ErrorKind(400, "The email address you provided does not match any account on record."),
    "InvalidRedirectLocation": ErrorKind(400, "The website redirect location must have a prefix of 'http://' or 'https://' or '/'."),
}

RETRY_AFTER_SECS = 1


class S3Error(Exception):
    """A refusal as S3 words it.

    `code` is a key of ERRORS (KeyError otherwise: a defect). `detail` takes the place of the table's message when not empty.
    `headers` are response headers that belong to this refusal. Further keyword arguments become XML elements after Message,
    in the given order; names that are no Python identifiers may be passed by `**{"X-Amz-Expires": ...}`.
    """

    def __init__(self, code: str, detail: str = "", headers: dict[str, str] | None = None, **extra: str) -> None:
        kind = ERRORS[code]
        self.code = code
        self.status = kind.status
        self.message = detail or kind.message
        self.extra = extra
        self.headers = headers or {}
        if code == "SlowDown":
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_SECS))
        super().__init__(code, self.message)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


_FROM_STORE: dict[str, tuple[str, str]] = {
    "NoSuchBucket": ("NoSuchBucket", ""),
    "NoSuchKey": ("NoSuchKey", ""),
    "BucketAlreadyOwnedByYou": ("BucketAlreadyOwnedByYou", ""),
    "BucketNotEmpty": ("BucketNotEmpty", ""),
    "PreconditionFailed": ("PreconditionFailed", ""),
    "NoSuchUpload": ("NoSuchUpload", ""),
    "UploadChanged": ("OperationAborted", ""),
    "SourceChanged": ("OperationAborted", ""),
    "WrongOffset": ("InvalidWriteOffset", ""),
    "TooManyParts": ("TooManyParts", ""),
    "StorageFull": ("XMinioStorageFull", ""),
    "ReadOnly": ("ServiceUnavailable", "The store is read-only until an operator has looked at its volume; see /readyz."),
    "VolumeSuspect": ("ServiceUnavailable", "The store is read-only until an operator has looked at its volume; see /readyz."),
    "StaleEpoch": ("ServiceUnavailable", "The storage process was restarted during this request; nothing was stored. Please try again."),
    "OutcomeUnknown": (
        "ServiceUnavailable",
        "The outcome of this request is unknown: it may or may not have taken effect. Check, or repeat it if that is safe.",
    ),
    "Unavailable": ("ServiceUnavailable", "The storage process is not connected; nothing was stored. Please try again."),
    "Superseded": ("OperationAborted", ""),
    "BytesMissing": ("InternalError", ""),
    "ImpossibleChange": ("InvalidArgument", ""),
    "NotHome": ("ServiceUnavailable", "Conditional writes of this bucket are judged at its home, another node; nothing was stored."),
    "ReplicationTimeout": (
        "ServiceUnavailable",
        "No peer has confirmed this write in time: it is stored here, and whether it is there as well is unknown. Check, or repeat it if "
        "that is safe.",
    ),
    "NoSuchPeer": ("InvalidArgument", "There is no such peer in FS_REPLICATION_PEERS."),
    "Overloaded": ("SlowDown", ""),
    "StorageFailure": ("InternalError", ""),
    "DamagedRecord": ("InternalError", "The stored bytes of this object are damaged; they were not sent."),
    "DamagedRow": ("InternalError", "The stored metadata of this object is damaged."),
    "DamagedLog": ("InternalError", ""),
    "UnsupportedFormat": ("InternalError", ""),
}


def from_store(name: str, detail: str = "", **extra: str) -> S3Error:
    """The S3 error for the StoreError class called `name`; an unknown name gives InternalError.

    `detail` is not shown to the client (it may name files): the caller logs it. One exception: the name of the header of a failed
    precondition becomes the Condition element, as in S3. `extra` as for S3Error.
    """
    code, text = _FROM_STORE.get(name, ("InternalError", ""))
    if code == "PreconditionFailed" and detail.lower() in ("if-match", "if-none-match"):
        extra.setdefault("Condition", detail)
    headers = {"Retry-After": str(RETRY_AFTER_SECS)} if name in ("Unavailable", "StaleEpoch") else None
    return S3Error(code, text, headers, **extra)


def render_error(error: S3Error, resource: str, request_id: str, host_id: str) -> bytes:
    """The `<Error>` document: Code, Message, the error's own elements, Resource, RequestId, HostId (S3's order, no namespace)."""
    parts = [DECLARATION, "<Error>", element("Code", error.code), element("Message", error.message)]
    parts += [element(name, str(value)) for name, value in error.extra.items()]
    parts += [element("Resource", resource), element("RequestId", request_id), element("HostId", host_id), "</Error>"]
    return "".join(parts).encode()
