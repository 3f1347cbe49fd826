"""When the files are loaded again, and what is served meanwhile."""

import logging
import os
from pathlib import Path

import gevent
import pytest

from fasterstore.certificate_dates import validity
from tests.certificates import der_of, make_certificate
from web.served_certificate import ServedCertificate
from web.tls_context import CertificateRefused


@pytest.fixture
def served(tmp_path):
    """A served certificate, and the paths it watches."""
    pair = make_certificate(tmp_path / "live", days=10)
    return ServedCertificate(*pair), pair


def replace(pair, by):
    """As programs that renew do it: by a rename, each file for itself."""
    for old, new in zip(pair, by, strict=True):
        os.replace(new, old)


def days(served):
    return (served.validity.not_after - served.validity.not_before) // 86_400


def test_a_pair_that_cannot_be_served_is_refused_at_once(tmp_path):
    with pytest.raises(CertificateRefused):
        ServedCertificate(str(tmp_path / "cert"), str(tmp_path / "key"))


def test_a_changed_pair_is_taken_once_the_files_have_settled(served, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    certificate, pair = served
    before = certificate.context
    for _ in range(3):
        certificate.look()
    assert (certificate.context, certificate.reloads) == (before, 0)
    replace(pair, make_certificate(tmp_path / "new", days=20))
    certificate.look()
    assert certificate.context is before, "the second file may still be on its way"
    certificate.look()
    assert certificate.context is not before
    assert (days(certificate), certificate.reloads, certificate.trouble) == (20, 1, "")
    assert certificate.validity == validity(der_of(pair.cert))
    certificate.look()
    certificate.look()
    assert certificate.reloads == 1
    assert len(caplog.records) == 1


def test_half_a_replacement_is_never_judged(served, tmp_path, caplog):
    certificate, pair = served
    new = make_certificate(tmp_path / "new", days=20)
    certificate.look()
    os.replace(new.cert, pair.cert)
    certificate.look()
    os.replace(new.key, pair.key)
    certificate.look()
    certificate.look()
    assert (days(certificate), certificate.trouble) == (20, "")
    assert caplog.text == ""


@pytest.mark.parametrize("fault", ["garbage", "missing", "another key"])
def test_a_broken_pair_leaves_the_old_one_and_is_logged_once(served, tmp_path, caplog, fault):
    certificate, pair = served
    before = certificate.context
    key = Path(pair.key).read_text()
    if fault == "garbage":
        Path(pair.cert).write_text("nonsense")
    elif fault == "missing":
        os.rename(pair.cert, pair.cert + ".away")
    else:
        os.replace(make_certificate(tmp_path / "other").key, pair.key)
    for _ in range(5):
        certificate.look()
    assert certificate.context is before
    assert "FS_TLS" in certificate.trouble
    assert len(caplog.records) == 1
    assert certificate.trouble in caplog.text
    assert key.splitlines()[1] not in caplog.text
    replace(pair, make_certificate(tmp_path / "mended", days=30))
    for _ in range(2):
        certificate.look()
    assert (days(certificate), certificate.trouble, certificate.reloads) == (30, "", 1)
    assert len(caplog.records) == 1


def test_files_of_old_dates_are_a_change_too(served, tmp_path):
    certificate, pair = served
    before = os.stat(pair.cert)
    replace(pair, make_certificate(tmp_path / "new", days=20))
    os.utime(pair.cert, ns=(before.st_atime_ns, before.st_mtime_ns))
    certificate.look()
    certificate.look()
    assert days(certificate) == 20


def test_links_to_the_files_are_followed(tmp_path):
    old, new = make_certificate(tmp_path / "1", days=10), make_certificate(tmp_path / "2", days=20)
    links = [str(tmp_path / name) for name in ("cert", "key")]
    for link, target in zip(links, old, strict=True):
        os.symlink(target, link)
    certificate = ServedCertificate(*links)
    for link, target in zip(links, new, strict=True):
        os.symlink(target, link + ".new")
        os.replace(link + ".new", link)
    certificate.look()
    certificate.look()
    assert days(certificate) == 20


def test_an_operator_need_not_wait(served, tmp_path):
    certificate, pair = served
    replace(pair, make_certificate(tmp_path / "new", days=20))
    certificate.look(at_once=True)
    assert days(certificate) == 20
    certificate.look(at_once=True)
    assert certificate.reloads == 2, "asked for, it is loaded whether it changed or not"


def test_the_watch_sees_a_change_by_itself_and_ends(served, tmp_path):
    certificate, pair = served
    certificate.watch()
    certificate.reload()
    with gevent.Timeout(10):
        while certificate.reloads < 1:
            gevent.sleep(0.01)
        replace(pair, make_certificate(tmp_path / "new", days=20))
        while certificate.reloads < 2:
            gevent.sleep(0.01)
    assert days(certificate) == 20
    certificate.stop()


def test_the_samples_say_when_it_ends_and_whether_the_files_are_good(served):
    certificate, pair = served

    def samples():
        return {found["name"]: found["samples"][0] for found in certificate.samples("worker-1")}

    assert samples()["fasterstore_tls_certificate_not_after_seconds"] == ["", {"process": "worker-1"}, certificate.validity.not_after]
    assert samples()["fasterstore_tls_reload_failed"][2] == 0
    Path(pair.key).write_text("nonsense")
    certificate.look(at_once=True)
    assert samples()["fasterstore_tls_reload_failed"][2] == 1
    assert samples()["fasterstore_tls_reloads"][2] == 0
