"""Where the tools find the node, and by which certificate they know it: FS_ENDPOINT and FS_CA_CERT. Standard library only."""

import ssl
from collections.abc import Mapping
from typing import NamedTuple


class Endpoint(NamedTuple):
    """`url` without a trailing slash. `ca_cert` is the PEM file of whoever signed the node's certificate; None: the system's list."""

    url: str
    ca_cert: str | None


def endpoint_of(environ: Mapping[str, str]) -> Endpoint:
    """What the environment says, else this machine's port 9000, with TLS if the node's own settings are at hand and say so.

    A certificate that signed itself is then its own proof; for another, FS_ENDPOINT must carry the name that it was made for.
    Raises: ValueError, one line, if FS_CA_CERT cannot be used.
    """
    url = (environ.get("FS_ENDPOINT") or "").rstrip("/")
    cert_path = environ.get("FS_TLS_CERT_PATH") or None
    ca_cert = environ.get("FS_CA_CERT") or None
    if not url and cert_path is not None:
        url, ca_cert = "https://127.0.0.1:9000", ca_cert or cert_path
    if ca_cert is not None:
        try:
            ssl.create_default_context(cafile=ca_cert)
        except OSError as error:  # ssl.SSLError is one too
            raise ValueError(f"FS_CA_CERT={ca_cert!r}: must name a readable PEM certificate ({error.strerror})") from None
    return Endpoint(url or "http://127.0.0.1:9000", ca_cert)
