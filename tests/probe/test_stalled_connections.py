"""Clients that stall hold little memory of a node, whatever they stall in, and are not in the way of others."""

import secrets
from base64 import b64encode

import pytest

from scripts.measure.stalled_connections import KINDS, measure, mixed

CONNECTIONS = 300
WHAT_CONNECTIONS_COST_MIB = 8
BUDGET_MIB = 16
MEASURING_MIB = 16
"""Allocators keep some, and the good client's requests need some too."""


@pytest.mark.lasts(27)
@pytest.mark.faults
@pytest.mark.parametrize("kind", ["body of 256 KiB but one byte", "all kinds"])
def test_what_stalled_clients_hold_is_bounded(kind, tmp_path):
    figures = measure(kind, KINDS.get(kind, mixed), CONNECTIONS, 4.0, tmp_path, {"FS_WORKERS": "2"})
    # Without the budget it was 80 MiB and more.
    assert figures["held_over_idle_mib"] <= WHAT_CONNECTIONS_COST_MIB + BUDGET_MIB + MEASURING_MIB, figures


READ_AHEAD_MIB = 2 * 8
NATIVE_THREADS_MIB = 32
"""Each that reads and decrypts has memory of its own, which its allocator keeps."""


@pytest.mark.lasts(25)
@pytest.mark.faults
@pytest.mark.parametrize("kind", ["strict", "encrypted"])
def test_a_flood_of_readers_is_not_read_ahead_for(kind, tmp_path):
    key = b64encode(secrets.token_bytes(32)).decode()
    setting = {"strict": {"FS_VERIFY_READS": "strict"}, "encrypted": {"FS_ENCRYPTION_KEY_BASE64": key}}[kind]
    figures = measure(kind, KINDS["answer of 10 MiB"], CONNECTIONS, 4.0, tmp_path, {"FS_WORKERS": "2", **setting})
    bound_mib = WHAT_CONNECTIONS_COST_MIB + READ_AHEAD_MIB + BUDGET_MIB + NATIVE_THREADS_MIB + MEASURING_MIB
    # Without the bound on reading ahead it was 590 MiB and more.
    assert figures["peak_over_idle_mib"] <= bound_mib, figures
