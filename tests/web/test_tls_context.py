"""From two files to a context: what is refused, in which words, and what the context speaks."""

import os
import ssl
import warnings
from pathlib import Path

import pytest

from tests.certificates import Pair, make_certificate, openssl, trusting
from web.tls_context import CertificateRefused, load_certificate


def refusal(pair: Pair) -> str:
    with pytest.raises(CertificateRefused) as caught:
        load_certificate(*pair)
    text = str(caught.value)
    assert text.splitlines() == [text]
    return text


def agreed(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """A client that has shaken hands with the server in memory. Raises ssl.SSLError."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(down, up, server_hostname="localhost")
    answering = server.wrap_bio(up, down, server_side=True)
    for side in (asking, answering) * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
    return asking


@pytest.fixture
def pair(tmp_path):
    return make_certificate(tmp_path)


@pytest.mark.parametrize("newkey", ["ec:P-256", "ec:P-384", "rsa:2048", "rsa:4096"])
def test_keys_of_every_usual_kind_are_served(tmp_path, newkey):
    pair = make_certificate(tmp_path, newkey=newkey)
    client = agreed(load_certificate(*pair).context, trusting(pair))
    assert client.version() == "TLSv1.3"


def test_a_chain_is_presented_whole(tmp_path):
    root = make_certificate(tmp_path, "root")
    leaf = Pair(str(tmp_path / "leaf.pem"), str(tmp_path / "leaf.key"))
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=leaf", "-addext",
            "subjectAltName=DNS:localhost", "-keyout", leaf.key, "-out", str(tmp_path / "request"))  # fmt: skip
    openssl("x509", "-req", "-in", str(tmp_path / "request"), "-CA", root.cert, "-CAkey", root.key, "-CAcreateserial", "-days", "5",
            "-copy_extensions", "copy", "-out", leaf.cert)  # fmt: skip
    with open(leaf.cert, "a") as chain:
        chain.write(Path(root.cert).read_text())
    loaded = load_certificate(*leaf)
    client = agreed(loaded.context, trusting(root))
    assert dict(name[0] for name in client.getpeercert()["subject"])["commonName"] == "leaf"
    assert loaded.validity.not_after - loaded.validity.not_before == 5 * 86_400, "the dates are those of the node's own certificate"


def test_files_that_cannot_be_read_are_named(pair, tmp_path):
    for missing in (str(tmp_path / "missing"), str(tmp_path)):
        assert refusal(Pair(missing, pair.key)).startswith(f"FS_TLS_CERT_PATH='{missing}': cannot be read (")
        assert refusal(Pair(pair.cert, missing)).startswith(f"FS_TLS_KEY_PATH='{missing}': cannot be read (")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_key_without_permission_is_named(pair):
    os.chmod(pair.key, 0)
    assert "FS_TLS_KEY_PATH" in refusal(pair) and "Permission denied" in refusal(pair)


def test_files_of_another_kind_are_named(pair, tmp_path):
    other = tmp_path / "other"
    for content in (b"", b"hello", b"\xff\x00" * 100):
        other.write_bytes(content)
        assert "holds no PEM certificate" in refusal(Pair(str(other), pair.key))
        assert "holds no PEM private key" in refusal(Pair(pair.cert, str(other)))
    assert "FS_TLS_CERT_PATH" in refusal(Pair(pair.key, pair.cert)), "the two were exchanged"


def test_a_key_of_another_certificate_is_refused(pair, tmp_path):
    other = make_certificate(tmp_path, "other")
    assert "not the one of the certificate" in refusal(Pair(pair.cert, other.key))
    assert "FS_TLS" in refusal(Pair(pair.cert, make_certificate(tmp_path, "rsa", newkey="rsa:2048").key))


@pytest.mark.parametrize("form", [[], ["-traditional"]], ids=["PKCS 8", "traditional"])
def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_a_password(tmp_path, form):
    pair = make_certificate(tmp_path, newkey="rsa:2048")
    locked = str(tmp_path / "locked")
    openssl("rsa", "-in", pair.key, "-aes256", "-passout", "pass:a-password", *form, "-out", locked)
    assert "encrypted" in refusal(Pair(pair.cert, locked))


def test_a_truncated_pair_is_refused_without_a_word_of_the_key(pair, tmp_path):
    text = Path(pair.key).read_text()
    for name, length in (("a", 60), ("b", 120), ("c", len(text) - 30)):
        cut = tmp_path / name
        cut.write_text(text[:length])
        found = refusal(Pair(pair.cert, str(cut)))
        assert not any(line in found for line in text.splitlines()[1:-1])
    half = tmp_path / "half.pem"
    half.write_text(Path(pair.cert).read_text()[:200])
    refusal(Pair(str(half), pair.key))


@pytest.mark.parametrize("newkey", ["rsa:1024", "dsa"])
def test_what_openssl_would_refuse_to_every_client_is_refused_at_once(tmp_path, newkey):
    if newkey == "dsa":
        parameters, pair = str(tmp_path / "dsa"), Pair(str(tmp_path / "cert"), str(tmp_path / "key"))
        openssl("dsaparam", "-out", parameters, "2048")
        openssl("req", "-x509", "-newkey", f"dsa:{parameters}", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                "-out", pair.cert, "-keyout", pair.key)  # fmt: skip
    else:
        pair = make_certificate(tmp_path, newkey=newkey)
    assert "OpenSSL refuses" in refusal(pair)


def test_versions_below_1_2_are_refused_and_1_2_has_forward_secrecy_only(pair):
    server = load_certificate(*pair).context
    old = trusting(pair)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        agreed(server, old)
    second = trusting(pair)
    second.maximum_version = ssl.TLSVersion.TLSv1_2
    client = agreed(server, second)
    assert client.version() == "TLSv1.2"
    assert client.cipher()[0].startswith("ECDHE-")
    for weak in ("AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA"):
        second.set_ciphers(f"{weak}:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
            agreed(server, second)


def test_http_1_1_is_agreed_on_by_alpn(pair):
    server = load_certificate(*pair).context
    for offered, taken in ((["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), (["h2"], None), ([], None)):
        client = trusting(pair)
        if offered:
            client.set_alpn_protocols(offered)
        assert agreed(server, client).selected_alpn_protocol() == taken
