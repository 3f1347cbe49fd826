"""Certificates for tests, made by openssl's command line."""

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

HOSTS = "DNS:localhost,IP:127.0.0.1,IP:::1"


class Pair(NamedTuple):
    """Paths of a PEM certificate and its key."""

    cert: str
    key: str


def make_certificate(folder: Path, name: str = "node", *, newkey: str = "ec:P-256", days: int = 30) -> Pair:
    """A certificate for this machine that signed itself. `newkey`: `ec:CURVE` or `rsa:BITS`."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = Pair(str(folder / f"{name}.pem"), str(folder / f"{name}.key"))
    kind, _, size = newkey.partition(":")
    key = ["-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{size}"] if kind == "ec" else ["-newkey", newkey]
    openssl(
        "req", "-x509", *key, "-nodes", "-days", str(days), "-subj", f"/CN={name}", "-addext", f"subjectAltName={HOSTS}",
        "-out", pair.cert, "-keyout", pair.key,
    )  # fmt: skip
    return pair


def openssl(*arguments: str) -> str:
    """Run openssl; its standard output."""
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True, timeout=30).stdout


def trusting(pair: Pair) -> ssl.SSLContext:
    """A client's context that takes only this certificate, under the name `localhost`."""
    return ssl.create_default_context(cafile=pair.cert)


def der_of(path: str) -> bytes:
    """The first certificate of a PEM file as DER."""
    return ssl.PEM_cert_to_DER_cert(Path(path).read_text())
