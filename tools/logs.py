"""Log lines on stderr: JSON, one object a line, or one readable line each.

Owns the shape of a line. Must never let a secret through: the values it is given are blanked out in everything it writes, exception
texts included. One record is always one line, whatever its text holds, so a request cannot forge a second one.
"""

import json
import logging
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TextIO

BLANK = "***"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure(*, as_json: bool, process: str, secrets: Iterable[str] = (), level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send all logging of this process to one stream, in place of what was configured before.

    Args:
        as_json: JSON lines, else readable ones.
        process: what this process is called in each line ("supervisor", "storage", "worker-0").
        secrets: values that must never appear.
        level: the lowest level that is written.
        stream: stderr if None.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter((JsonLines if as_json else ReadableLines)(process, secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


class _Lines(logging.Formatter):
    """What both shapes share: the fields of a record, with the secrets blanked out.

    Anything passed as `extra={...}` becomes a field of its own. Values that are not JSON are written as their `str`.
    """

    def __init__(self, process: str, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._process = process
        # A value's repr escapes what it holds. The longest first: one secret may be part of another.
        forms = {form for secret in secrets if secret for form in (secret, repr(secret)[1:-1])}
        words = sorted(forms, key=len, reverse=True)
        self._secret = re.compile("|".join(map(re.escape, words))) if words else None

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """The line as a mapping: time (RFC 3339, UTC, milliseconds), level, process, logger, message, extras, error."""
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": self._clean(_message(record)),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line[name] = self._clean(value)
        if record.exc_info:
            line["error"] = self._clean(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = self._clean(record.stack_info)
        return line

    def _clean(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict):
            return {str(self._clean(name)): self._clean(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(item) for item in value]
        text = value if isinstance(value, str) else str(value)
        return self._secret.sub(BLANK, text) if self._secret else text


class JsonLines(_Lines):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.fields(record), ensure_ascii=True, separators=(",", ":"))


class ReadableLines(_Lines):
    """`time LEVEL process logger: message name=value`, with control characters written as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        line = self.fields(record)
        head = f"{line.pop('time')} {line.pop('level').upper():<8}{line.pop('process')} {line.pop('logger')}: {line.pop('message')}"
        rest = "".join(f" {name}={value}" for name, value in line.items())
        return _CONTROL.sub(_escaped, head + rest)


def _message(record: logging.LogRecord) -> str:
    """A wrong format string must cost the arguments, not the process that logs."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")
