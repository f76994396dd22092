"""The keyspace of the model: expiry by its clock, and writes that can be undone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation.redis_model.keyspace import Hash, Keyspace, SortedSet, Value
from tests.simulation.redis_model.stream import Stream


class Clock:
    """Milliseconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock at 1000 ms."""
    return Clock()


@pytest.fixture
def keyspace(clock: Clock) -> Keyspace:
    """An empty keyspace by that clock."""
    return Keyspace(clock)


def test_a_value_is_what_was_put_last(keyspace: Keyspace) -> None:
    """With the expiry of the last write."""
    keyspace.put(b"a", b"1", 5000)
    keyspace.put(b"a", b"2")

    assert (b"2", 0) == (keyspace.get(b"a"), keyspace.get_expiry(b"a"))
    assert 2 == keyspace.offset


def test_a_missing_key_has_no_value_and_no_expiry(keyspace: Keyspace) -> None:
    """Reading it writes nothing."""
    assert (None, 0, False) == (
        keyspace.get(b"a"),
        keyspace.get_expiry(b"a"),
        keyspace.delete(b"a"),
    )
    assert 0 == keyspace.offset


def test_a_key_is_served_during_its_last_millisecond(keyspace: Keyspace, clock: Clock) -> None:
    """As in Redis, whose keyIsExpired compares with `>`."""
    keyspace.put(b"a", b"1", 1010)
    clock.now = 1010
    assert b"1" == keyspace.get(b"a")

    clock.now = 1011
    assert keyspace.get(b"a") is None


@pytest.mark.parametrize("read", [Keyspace.get, Keyspace.get_expiry, Keyspace.delete])
def test_an_expired_key_does_not_come_back_with_the_clock(
    keyspace: Keyspace, clock: Clock, read
) -> None:
    """Its access has deleted it, which is a write."""
    keyspace.put(b"a", b"1", 1010)
    clock.now = 2000
    assert not read(keyspace, b"a")
    clock.now = 1000

    assert keyspace.get(b"a") is None
    assert 2 == keyspace.offset


def test_a_key_that_nothing_reads_is_there_when_the_clock_comes_back(
    keyspace: Keyspace, clock: Clock
) -> None:
    """Unless a sweep in the background has deleted it."""
    keyspace.put(b"a", b"1", 1010)
    keyspace.put(b"b", b"1", 5000)
    clock.now = 2000
    assert [b"b"] == keyspace.list_keys()
    clock.now = 1000
    assert [b"a", b"b"] == keyspace.list_keys()

    clock.now = 2000
    keyspace.sweep_expired()
    clock.now = 1000

    assert [b"b"] == keyspace.list_keys()


def test_a_replacement_keeps_the_expiry(keyspace: Keyspace, clock: Clock) -> None:
    """But not that of a key that has expired."""
    keyspace.put(b"a", b"1", 1010)
    keyspace.replace(b"a", b"2")
    assert (b"2", 1010) == (keyspace.get(b"a"), keyspace.get_expiry(b"a"))

    clock.now = 2000
    keyspace.replace(b"a", b"3")

    assert (b"3", 0) == (keyspace.get(b"a"), keyspace.get_expiry(b"a"))


@pytest.mark.parametrize("empty", [Hash({}), SortedSet({}), frozenset()])
def test_an_empty_collection_is_a_deletion(keyspace: Keyspace, empty: Value) -> None:
    """Of what was there, also of another type; of a missing key it is no write."""
    keyspace.put(b"a", empty)
    assert 0 == keyspace.offset
    keyspace.put(b"a", b"1", 5000)

    keyspace.put(b"a", empty)

    assert (None, 2) == (keyspace.get(b"a"), keyspace.offset)


def test_empty_streams_and_strings_stay(keyspace: Keyspace) -> None:
    """A stream remembers its last id."""
    keyspace.put(b"a", Stream())
    keyspace.put(b"b", b"")

    assert [b"a", b"b"] == keyspace.list_keys()


def test_a_changed_collection_leaves_the_old_one(keyspace: Keyspace) -> None:
    """What the journal has is what was there."""
    keyspace.put(b"h", Hash({b"f": b"1"}))
    keyspace.put(b"z", SortedSet({b"m": 1.0}))
    fields, scores = keyspace.get(b"h"), keyspace.get(b"z")
    assert isinstance(fields, Hash)
    assert isinstance(scores, SortedSet)
    keyspace.put(b"h", fields.set({b"f": b"2", b"g": b"3"}).remove(b"f", b"unknown"))
    keyspace.put(b"z", scores.set(b"n", 0.5).set(b"l", 1.0))

    assert Hash({b"g": b"3"}) == keyspace.get(b"h")
    changed = keyspace.get(b"z")
    assert isinstance(changed, SortedSet)
    assert [(0.5, b"n"), (1.0, b"l"), (1.0, b"m")] == changed.list_sorted()
    assert SortedSet({}) == scores.remove(b"m")
    keyspace.roll_back(2)
    assert (Hash({b"f": b"1"}), SortedSet({b"m": 1.0})) == (keyspace.get(b"h"), keyspace.get(b"z"))


WRITES = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("abc"), st.sampled_from([0, 1002, 1005, 1009])),
    st.tuples(st.just("replace"), st.sampled_from("abc"), st.just(0)),
    st.tuples(st.just("delete"), st.sampled_from("abc"), st.just(0)),
    st.tuples(st.just("wait"), st.just(""), st.integers(-3, 5)),
    st.tuples(st.just("sweep"), st.just(""), st.just(0)),
    st.tuples(st.just("clear"), st.just(""), st.just(0)),
)


def apply_write(keyspace: Keyspace, clock: Clock, write: tuple[str, str, int], number: int) -> None:
    """Do one thing to the keyspace or to its clock."""
    match write:
        case "put", key, expires_at:
            keyspace.put(key.encode(), b"%d" % number, expires_at)
        case "replace", key, _:
            keyspace.replace(key.encode(), b"%d" % number)
        case "delete", key, _:
            keyspace.delete(key.encode())
        case "wait", _, ms:
            clock.now += ms
        case "sweep", _, _:
            keyspace.sweep_expired()
        case _:
            keyspace.clear()


def dump(keyspace: Keyspace) -> dict[bytes, tuple[Value, int]]:
    """Return what is stored, also what has expired and was not deleted."""
    return {key: (value, keyspace._expiries.get(key, 0)) for key, value in keyspace._values.items()}


@settings(max_examples=50)
@given(writes=st.lists(WRITES, max_size=20), data=st.data())
def test_a_roll_back_restores_what_was_there(
    writes: list[tuple[str, str, int]], data: st.DataObject
) -> None:
    """At any offset, with each expiry; and a copy is not touched."""
    clock = Clock()
    keyspace = Keyspace(clock)
    dumps = {0: dump(keyspace)}
    for number, write in enumerate(writes):
        apply_write(keyspace, clock, write, number)
        dumps[keyspace.offset] = dump(keyspace)
    copied, last = keyspace.copy(), keyspace.offset
    offset = data.draw(st.sampled_from(sorted(dumps)))

    keyspace.roll_back(offset)

    assert (dumps[offset], offset) == (dump(keyspace), keyspace.offset)
    assert (dumps[last], last) == (dump(copied), copied.offset)


def test_an_offset_that_was_not_reached_is_refused(keyspace: Keyspace) -> None:
    """Nothing can be rolled forward."""
    with pytest.raises(ValueError, match="offset 1"):
        keyspace.roll_back(1)
