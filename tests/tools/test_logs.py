"""Log lines: one record is one line, and no secret gets through."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from tools import logs

SECRET = 'top"zyxw\\vuts'


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_hold_time_level_process_message_and_extras(stream: io.StringIO) -> None:
    logs.configure(as_json=True, process="storage", stream=stream)
    logging.getLogger("actors.journal").warning("replayed %d entries", 7, extra={"lsn": 12, "parts": {"a": [1, None, True]}})
    line = json.loads(stream.getvalue())
    assert line["time"].endswith("Z") and "T" in line["time"]
    assert {name: line[name] for name in line if name != "time"} == {
        "level": "warning",
        "process": "storage",
        "logger": "actors.journal",
        "message": "replayed 7 entries",
        "lsn": 12,
        "parts": {"a": [1, None, True]},
    }


@pytest.mark.parametrize("as_json", [True, False])
def test_a_secret_is_blanked_in_messages_extras_and_exceptions(as_json: bool, stream: io.StringIO) -> None:
    logs.configure(as_json=as_json, process="web", secrets=(SECRET, "", "longer-than-" + SECRET), stream=stream)
    logger = logging.getLogger("web")
    logger.info("signing with %s", SECRET, extra={"key": SECRET, "nested": {SECRET: [SECRET, b"x" + SECRET.encode()]}})
    logger.info("longer-than-%s", SECRET)
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.exception("failed")
    written = stream.getvalue()
    assert "zyxw" not in written and "longer" not in written
    assert written.count(logs.BLANK) >= 6


@pytest.mark.parametrize("as_json", [True, False])
def test_one_record_is_one_line_whatever_it_holds(as_json: bool, stream: io.StringIO) -> None:
    logs.configure(as_json=as_json, process="web", stream=stream)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("web").exception("key a\nb\r\x1b[31m\u2028c\x85d", extra={"key": "x\ny"})
    written = stream.getvalue()
    assert written.endswith("\n") and len(written[:-1].splitlines()) == 1
    assert "\x1b" not in written and "ValueError" in written


def test_a_readable_line_reads(stream: io.StringIO) -> None:
    logs.configure(as_json=False, process="worker-0", stream=stream)
    logging.getLogger("web.server").info("listening", extra={"port": 9000})
    assert stream.getvalue().split(" ", 1)[1] == "INFO    worker-0 web.server: listening port=9000\n"


def test_a_wrong_format_string_costs_its_arguments_only(stream: io.StringIO) -> None:
    logs.configure(as_json=True, process="web", stream=stream)
    logging.getLogger("web").info("%d bytes", "many")
    assert json.loads(stream.getvalue())["message"] == "%d bytes"


def test_configuring_twice_writes_once(stream: io.StringIO) -> None:
    logs.configure(as_json=True, process="a", stream=stream)
    logs.configure(as_json=True, process="b", stream=stream)
    logging.getLogger("x").info("once")
    assert [json.loads(line)["process"] for line in stream.getvalue().splitlines()] == ["b"]
