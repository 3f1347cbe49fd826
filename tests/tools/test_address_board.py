"""The board of connections by address: never too few, freed with the worker, the same from every process."""

import os

import pytest

from tools.address_board import COLUMNS, AddressBoard, SlotBoard


def test_a_count_is_the_sum_over_all_workers_and_falls_when_connections_end() -> None:
    board = AddressBoard(3)
    held = [board.enter(slot, "192.0.2.1") for slot in (0, 1, 1, 2)]
    other = board.enter(0, "192.0.2.2")
    assert [board.total(cells) for cells in held] == [4, 4, 4, 4]
    assert board.total(other) == 1
    for left, cells in zip((3, 2, 1, 0), held, strict=True):
        board.leave(cells)
        assert board.total(held[0]) == left
    assert board.total(other) == 1


def test_a_dead_worker_takes_its_connections_along() -> None:
    board = AddressBoard(2)
    kept = board.enter(0, "192.0.2.1")
    for _ in range(5):
        board.enter(1, "192.0.2.1")
    assert board.total(kept) == 6
    board.clear(1)
    assert board.total(kept) == 1
    board.enter(1, "192.0.2.1")
    SlotBoard(board, 1)
    assert board.total(kept) == 1, "a worker that begins in a slot begins with nothing"


@pytest.mark.parametrize(
    ("one", "another", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("", "10.0.0.2", False),
    ],
)
def test_an_ipv6_network_of_64_bits_counts_as_one_address(one: str, another: str, same: bool) -> None:
    board = AddressBoard(1)
    board.enter(0, one)
    assert board.total(board.enter(0, another)) == (2 if same else 1)


def test_many_addresses_never_make_a_count_too_low_and_seldom_too_high() -> None:
    board = AddressBoard(2)
    addresses = [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(COLUMNS)]
    cells = [board.enter(number % 2, address) for number, address in enumerate(addresses)]
    counts = [board.total(found) for found in cells]
    assert min(counts) == 1
    assert sum(counts) < 2 * len(counts)
    assert max(counts) <= 8


def test_other_processes_see_what_one_of_them_counts() -> None:
    board = AddressBoard(2)
    cells = board.enter(0, "192.0.2.1")
    pid = os.fork()
    if pid == 0:
        board.enter(1, "192.0.2.1")
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.total(cells) == 2
