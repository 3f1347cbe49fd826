"""A refusal that the connection layer answers by itself, before or instead of the application.

Owns: the exception, its S3-style XML body and its response head. Must never: touch a socket.
Rule: S3 API, "Error Responses" (element names); RFC 9112 section 9.6 (close after a refused request).
"""

from __future__ import annotations

from xml.sax.saxutils import escape

_UNAVAILABLE = 503
REASONS = {
    400: "Bad Request",
    417: "Expectation Failed",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class HttpRefusal(Exception):
    """One answer, after which the connection closes.

    Args: status, an HTTP status out of REASONS; code, an S3 error code; message, one sentence for a person.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def bad_request(message: str) -> HttpRefusal:
    """The refusal for every request whose framing or syntax is not beyond doubt."""
    return HttpRefusal(400, "InvalidRequest", message)


def render_refusal(refusal: HttpRefusal, request_id: str, prefix: str, with_body: bool = True) -> bytes:
    """The whole response as bytes.

    Args: request_id as sent in x-amz-request-id; prefix, ready Server and Date lines; with_body=False for HEAD.
    """
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message>"
        f"<RequestId>{escape(request_id)}</RequestId></Error>"
    ).encode()
    retry = "Retry-After: 1\r\n" if refusal.status == _UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {refusal.status} {REASONS[refusal.status]}\r\n{prefix}{retry}x-amz-request-id: {request_id}\r\n"
        f"Content-Type: application/xml\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode("latin-1")
    return head + body if with_body else head
