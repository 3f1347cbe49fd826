"""The dates of a certificate, against what openssl prints of it."""

from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from fasterstore.certificate_dates import validity
from tests.certificates import der_of, make_certificate, openssl


def printed_date(path: str, which: str) -> float:
    """As openssl prints it: `notAfter=Nov 30 12:00:00 2026 GMT`."""
    month, day, clock, year, _ = openssl("x509", "-in", path, "-noout", which).strip().partition("=")[2].split()
    return parsedate_to_datetime(f"{day} {month} {year} {clock} GMT").timestamp()


@pytest.mark.parametrize("newkey", ["ec:P-256", "rsa:2048"])
@pytest.mark.parametrize("days", [1, 398, 20_000], ids=["tomorrow", "a year", "after 2050"])
def test_both_dates_are_those_that_openssl_prints(tmp_path: Path, newkey: str, days: int) -> None:
    pair = make_certificate(tmp_path, newkey=newkey, days=days)
    found = validity(der_of(pair.cert))
    assert found.not_before == printed_date(pair.cert, "-startdate")
    assert found.not_after == printed_date(pair.cert, "-enddate")
    assert found.not_after - found.not_before == days * 86_400


def test_what_is_cut_off_or_no_certificate_is_refused(tmp_path: Path) -> None:
    der = der_of(make_certificate(tmp_path).cert)
    for length in range(len(der)):
        with pytest.raises(ValueError):
            validity(der[:length])
    for other in (b"0\x80\x00\x00", b"0\x85\x00\x00\x00\x00\x01", b"text of another kind", bytes(500)):
        with pytest.raises(ValueError):
            validity(other)


def test_no_flipped_byte_ends_in_another_error(tmp_path: Path) -> None:
    der = der_of(make_certificate(tmp_path).cert)
    for place in range(len(der)):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(der)
            damaged[place] ^= change
            try:
                validity(bytes(damaged))
            except ValueError:
                pass
