"""Dates in conditions: ISO 8601 as the W3C profiles it, or Unix seconds. Source: IAM user guide, "Date condition operators"."""

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SECONDS = re.compile(r"-?\d{1,12}(?:\.\d{1,6})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII)


def parse_date_ms(text: str) -> int | None:
    """Unix milliseconds; a time without zone is UTC, a day alone its midnight. None for what is no date."""
    if _SECONDS.fullmatch(text) is not None:
        return int(float(text) * 1000)
    if _DATE.fullmatch(text) is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return ((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        return None
