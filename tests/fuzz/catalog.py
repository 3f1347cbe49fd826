"""The fuzz targets by name.

A target is a module of `tests.fuzz.targets`: `one_input(data)` raises only on a finding; `seeds()` gives a few inputs that reach far;
`DICTIONARY` holds words that random bytes would not hit; `plant()` puts a bug into the code under test, for the fuzzer to find.
"""

import importlib
from types import ModuleType

TARGETS = (
    "request_head",
    "chunked_body",
    "aws_chunked",
    "sigv4_canonical",
    "authentication",
    "xml_documents",
    "policy_json",
    "wal_log",
    "records",
    "sealed_bytes",
    "journal_entries",
    "wire_messages",
    "client_text",
)


def load(name: str) -> ModuleType:
    """The module of a target. Raises: KeyError for a name that is none."""
    if name not in TARGETS:
        raise KeyError(name)
    return importlib.import_module(f"tests.fuzz.targets.{name}")
