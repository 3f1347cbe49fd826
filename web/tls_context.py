"""From two PEM files to the context of a TLS server, or one line that says what is wrong with them.

Owns what this server speaks: TLS 1.2 and 1.3 with forward secrecy and authenticated encryption, HTTP/1.1 by ALPN. Must never ask a
person for a password, nor put anything of the key's file into an error. Imports nothing of gevent: the check at the node's start runs
it in a process of its own (`tools/tls_check.py`).
Source: RFC 9325 (recommendations for TLS), RFC 7301 (ALPN).
"""

from __future__ import annotations

import ssl
from typing import NamedTuple

from fasterstore.certificate_dates import Validity, validity

CIPHERS_OF_TLS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
"""Those of TLS 1.3 are all good; level 2 refuses keys of less than 112 bits of strength and signatures by SHA-1."""
PEM_MAX_BYTES = 1 << 20
_CERTIFICATE_MARK, _KEY_MARK, _ENCRYPTED_MARK = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----", b"ENCRYPTED"


class CertificateRefused(Exception):
    """The files cannot be served. The text is one line and names the setting."""


class LoadedCertificate(NamedTuple):
    """A context to serve with, and the dates of its certificate."""

    context: ssl.SSLContext
    validity: Validity


def load_certificate(cert_path: str, key_path: str) -> LoadedCertificate:
    """Read a certificate chain and its key, and prove them by a handshake in memory. Blocks for some milliseconds.

    Args: paths of PEM files, the server's own certificate first in its file. Raises: CertificateRefused for files that cannot be read
    or are no such thing, a key that is encrypted or of another certificate, and what OpenSSL refuses: weak keys, keys of other uses.
    A certificate that is out of date is served all the same, as every server does: its clients refuse it, and `validity` tells.
    """
    if _CERTIFICATE_MARK not in _read("FS_TLS_CERT_PATH", cert_path):
        raise CertificateRefused(f"FS_TLS_CERT_PATH={cert_path!r}: holds no PEM certificate")
    key = _read("FS_TLS_KEY_PATH", key_path)
    if _KEY_MARK not in key:
        raise CertificateRefused(f"FS_TLS_KEY_PATH={key_path!r}: holds no PEM private key")
    if _ENCRYPTED_MARK in key:
        raise CertificateRefused(f"FS_TLS_KEY_PATH={key_path!r}: the key is encrypted; the node needs it without a password")
    context = server_context()
    try:
        context.load_cert_chain(cert_path, key_path, password=_no_password)
        certificate = _shake_hands(context)
        return LoadedCertificate(context, validity(certificate))
    except ssl.SSLError as error:
        pair = f"FS_TLS_CERT_PATH={cert_path!r} and FS_TLS_KEY_PATH={key_path!r}"
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateRefused(f"{pair}: the key is not the one of the certificate") from None
        raise CertificateRefused(f"{pair}: OpenSSL refuses them: {error.reason or 'not readable as PEM'}") from None
    except (OSError, ValueError) as error:  # changed while it was read, or dates that are none
        raise CertificateRefused(f"FS_TLS_CERT_PATH={cert_path!r}: {error}") from None


def server_context() -> ssl.SSLContext:
    """The context of every connection, without a certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS_OF_TLS_1_2)
    context.set_alpn_protocols(["http/1.1"])
    # A client could have this side compute a key exchange after another on one connection.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = 1
    return context


def _read(name: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(PEM_MAX_BYTES)
    except OSError as error:
        raise CertificateRefused(f"{name}={path!r}: cannot be read ({error.strerror})") from None


def _no_password() -> bytes:
    """What OpenSSL is told instead of letting it ask on the terminal."""
    return b""


def _shake_hands(context: ssl.SSLContext) -> bytes:
    """Connect to this context in memory; returns its certificate as DER. Raises ssl.SSLError: nobody could.

    A key without a usable signature algorithm (DSA, say) is loaded without a word and would only fail every client.
    """
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname = False
    asking.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    finished: set[ssl.SSLObject] = set()
    while len(finished) < 2:
        for side in (client, server):
            if side not in finished:
                try:
                    side.do_handshake()
                    finished.add(side)
                except ssl.SSLWantReadError:
                    pass
    certificate = client.getpeercert(binary_form=True)
    if certificate is None:
        raise ValueError("no certificate was presented")
    return certificate
