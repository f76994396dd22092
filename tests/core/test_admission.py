"""A call takes as many slots as it has runs of argon2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.admission import (
    MAX_HASH_SLOTS,
    AdmissionControl,
    count_hash_slots,
)
from otp_service.core.errors import Overloaded


def test_a_call_of_ten_runs_leaves_the_other_slots_to_others():
    """A recovery set is ten runs; counted as one, eleven sets would fill eleven slots with 110."""
    admission = AdmissionControl(15, 15)

    with admission.acquire("shop", 10):
        assert 10 == admission.in_use
        with pytest.raises(Overloaded):
            admission.acquire("bank", 10)
        with admission.acquire("bank", 5), pytest.raises(Overloaded):
            admission.acquire("bank")
    assert 0 == admission.in_use


def test_the_share_of_a_tenant_counts_runs():
    """Half of the slots, whether in one call or in several."""
    admission = AdmissionControl.create_fair(40, tenants=2)

    with admission.acquire("shop", 10), admission.acquire("shop", 10):
        with pytest.raises(Overloaded):
            admission.acquire("shop")
        with admission.acquire("bank", 10):
            assert 30 == admission.in_use


@pytest.mark.parametrize(("slots", "per_tenant"), [(2, 1), (9, 4), (1, 1), (9, 9)])
def test_a_call_that_needs_more_than_there_is_takes_all_of_it(slots, per_tenant):
    """A small queue must not refuse every recovery set for ever."""
    admission = AdmissionControl(slots, per_tenant)

    with admission.acquire("shop", 10), pytest.raises(Overloaded):
        admission.acquire("shop")
    assert 0 == admission.in_use


def test_without_slots_nothing_is_admitted():
    """A process that serves no calls has none."""
    for count in (1, 10):
        with pytest.raises(Overloaded):
            AdmissionControl(0, 0).acquire("shop", count)


@given(
    st.integers(0, 12),
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 12), st.booleans())),
)
def test_neither_bound_is_exceeded_and_a_refusal_takes_nothing(slots, tenants, steps):
    """Over any order of calls and releases."""
    admission, held = AdmissionControl.create_fair(slots, tenants), []
    share = max(1, slots // 2) if tenants > 1 else slots
    for tenant, wanted, releases in steps:
        before = admission.in_use
        try:
            held.append((tenant, admission.acquire(tenant, wanted), admission.in_use - before))
        except Overloaded:
            assert before == admission.in_use
        assert admission.in_use <= slots
        for name in "ab":
            assert sum(count for holder, _, count in held if holder == name) <= share
        if releases and held:
            held.pop(0)[1].close()
        assert sum(count for _, _, count in held) == admission.in_use


@pytest.mark.parametrize(
    ("threads", "max_wait_ms", "hash_ms", "slots"),
    [
        (1, 1000, 15.0, 66),
        (2, 1000, 15.0, 133),
        (1, 1000, 7.6, 131),
        (2, 1, 15.0, 3),
        (1, 1000, 3000.0, 2),
        (1, 1000, 0.02, MAX_HASH_SLOTS),
        (1, 1000, 0.0, MAX_HASH_SLOTS),
    ],
)
def test_no_call_is_admitted_to_a_longer_wait_than_the_setting(
    threads: int, max_wait_ms: float, hash_ms: float, slots: int
) -> None:
    """One more call than there are threads is always admitted, and of a cheap hash 1,000 at most."""
    assert slots == count_hash_slots(threads, max_wait_ms, hash_ms)
    assert slots == threads + 1 or (slots - threads) * hash_ms / threads <= max_wait_ms
