"""Joining registers: whatever the order, however often, all nodes come to the same; and what a bucket then is."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fasterstore.replication.merge import (
    NO_REGISTERS,
    Create,
    Deletion,
    Home,
    Registers,
    Setting,
    bucket_exists,
    created_ms_of,
    documents_of,
    highest_stamp,
    home_of,
    join_registers,
    revive,
    wins,
)

A, B = b"A" * 16, b"B" * 16
ORIGINS = st.sampled_from((A, B, b"C" * 16))
STAMPS = st.integers(1, 12)
"""Few, so that pairs meet."""
NAMES = st.sampled_from(("acl", "cors", "policy"))
DOCUMENTS = st.sampled_from((None, b"", b"one", b"two"))


@st.composite
def registers(draw):
    creates = draw(st.lists(st.builds(Create, STAMPS, ORIGINS, st.integers(0, 3)), max_size=3))
    settings = draw(st.lists(st.builds(Setting, NAMES, DOCUMENTS, STAMPS, ORIGINS), max_size=4))
    deleted = draw(st.one_of(st.just(Deletion(0, b"")), st.builds(Deletion, STAMPS, ORIGINS)))
    home = draw(st.none() | st.builds(Home, STAMPS, ORIGINS, ORIGINS))
    parts = [Registers((create,)) for create in creates] + [Registers(settings=(setting,)) for setting in settings]
    joined = join_registers(Registers(deleted=deleted), Registers(home=home))
    for part in parts:
        joined = join_registers(joined, part)
    return joined


@settings(deadline=None)
@given(registers())
def test_joining_with_itself_or_with_nothing_changes_nothing(one):
    assert join_registers(one, one) == join_registers(one, NO_REGISTERS) == join_registers(NO_REGISTERS, one) == one


@settings(deadline=None)
@given(registers(), registers())
def test_the_order_of_two_does_not_matter(one, other):
    assert join_registers(one, other) == join_registers(other, one)


@settings(deadline=None)
@given(registers(), registers(), registers())
def test_how_three_are_grouped_does_not_matter(one, two, three):
    assert join_registers(join_registers(one, two), three) == join_registers(one, join_registers(two, three))


@settings(deadline=None)
@given(registers(), registers())
def test_what_was_joined_in_adds_nothing_a_second_time(one, other):
    joined = join_registers(one, other)
    assert join_registers(joined, other) == join_registers(joined, one) == joined
    assert highest_stamp(joined) == max(highest_stamp(one), highest_stamp(other))


@settings(deadline=None)
@given(registers())
def test_nothing_at_or_below_the_last_delete_is_left(one):
    held = [pair[:2] for pair in one.creates] + [setting[2:] for setting in one.settings]
    held += [one.home[:2]] if one.home is not None else []
    assert all(pair > one.deleted for pair in held)
    assert list(one.creates) == sorted(one.creates)
    assert [setting.name for setting in one.settings] == sorted({setting.name for setting in one.settings})


def test_the_higher_pair_wins_and_an_equal_one_does_not():
    assert wins(2, A, 1, B)
    assert not wins(1, B, 2, A)
    assert wins(1, B, 1, A)
    assert not wins(1, A, 1, A)


def test_a_bucket_lives_by_a_create_above_its_last_delete_or_by_an_object():
    made = Registers((Create(5, A, 1),))
    assert bucket_exists(made, False)
    gone = join_registers(made, Registers(deleted=Deletion(5, B)))
    assert not bucket_exists(gone, False)
    assert bucket_exists(gone, True)
    assert bucket_exists(join_registers(gone, Registers((Create(6, A, 2),))), False)


def test_a_setting_made_before_the_last_delete_is_void_and_a_removed_one_stays_removed():
    with_settings = Registers((Create(5, A, 1),), settings=(Setting("acl", b"x", 6, A), Setting("cors", b"y", 9, A)))
    deleted = join_registers(with_settings, Registers((Create(8, B, 2),), Deletion(7, B)))
    assert documents_of(deleted) == {"cors": b"y"}
    removed = join_registers(deleted, Registers(settings=(Setting("cors", None, 10, B),)))
    assert documents_of(removed) == {}
    assert documents_of(join_registers(removed, with_settings)) == {}


def test_the_home_is_where_it_was_created_first_or_where_an_operator_put_it_since():
    both = join_registers(Registers((Create(5, B, 2),)), Registers((Create(4, A, 1),)))
    assert (home_of(both), created_ms_of(both)) == (A, 1)
    moved = join_registers(both, Registers(home=Home(6, A, B)))
    assert home_of(moved) == B
    again = join_registers(moved, Registers((Create(9, A, 3),), Deletion(8, A)))
    assert (home_of(again), created_ms_of(again)) == (A, 3)
    assert home_of(NO_REGISTERS) is created_ms_of(NO_REGISTERS) is None


def test_a_bucket_that_an_object_needs_is_created_by_who_found_it_so_and_only_if_nobody_has():
    gone = Registers(deleted=Deletion(7, B))
    assert revive(gone, 8, A, 3) == Registers((Create(8, A, 3),), Deletion(7, B))
    made = Registers((Create(9, B, 4),))
    assert revive(made, 10, A, 5) == made
