"""Codes: uniform, parsed strictly, and stored only as a hash bound to their context."""

import math
import random
import secrets
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.codes import constant_time_equal, generate_code, hash_code, normalize_code
from otp_service.core.errors import MalformedCode
from otp_service.core.keys import Key


DRAW_COUNT = 200_000

MIN_P_VALUE = 1e-6
"""A uniform generator is falsely called biased once in a million runs for each digit."""

PEPPER = Key("1", bytes(32))

HASH_INPUTS: dict[str, Any] = {
    "slow": b"0123456789abcdef",
    "tenant": "shop",
    "challenge": "c07-00112233445566778899aabbccddeeff",
    "purpose": "login",
    "number": "+447400123456",
    "deadline": 1763814000123,
}
"""The inputs of a hash in addition to the pepper."""


def create_biased_generator(bits: int, seed: int = 1) -> Callable[[int], int]:
    """Return a generator with the classic fault: this many random bits, modulo the range."""
    # Seeded, because the test must detect it in every run.
    generator = random.Random(seed)  # noqa: S311
    return lambda below: generator.getrandbits(bits) % below


def compute_min_p_value(randbelow: Callable[[int], int]) -> float:
    """Return the least p-value of chi-square tests of each digit's position."""
    counts = [Counter[str]() for _ in range(6)]
    for _ in range(DRAW_COUNT):
        for count, digit in zip(counts, generate_code(randbelow, 6), strict=True):
            count[digit] += 1
    return min(compute_p_value(count) for count in counts)


def compute_p_value(count: Counter[str]) -> float:
    """Return the probability of counts this uneven: chi-square with 9 degrees of freedom."""
    expected = DRAW_COUNT / 10
    x = sum((count[digit] - expected) ** 2 / expected for digit in "0123456789")
    # Abramowitz and Stegun 26.4.4, for odd degrees of freedom.
    series = 1 + x / 3 + x**2 / 15 + x**3 / 105
    return math.erfc(math.sqrt(x / 2)) + math.sqrt(2 * x / math.pi) * math.exp(-x / 2) * series


def compute_hash(**other: object) -> bytes:
    """Return the hash with some of its inputs changed."""
    fields = HASH_INPUTS | other
    return hash_code(PEPPER, fields.pop("slow"), **fields)


def test_every_digit_is_as_likely_as_any_other() -> None:
    """R1: the system's randomness, 200,000 codes, each of the six positions."""
    assert compute_min_p_value(secrets.randbelow) > MIN_P_VALUE


@pytest.mark.parametrize("bits", [20, 24])
def test_a_biased_generator_would_be_detected(bits: int) -> None:
    """R1: the test above can fail; 24 bits modulo 10^6 make early codes a sixteenth likelier."""
    assert compute_min_p_value(create_biased_generator(bits)) < MIN_P_VALUE


def test_a_code_is_the_unreduced_result_of_the_generator() -> None:
    """R1: 32 bits modulo 10^6 is off by 0.02 %, too little to count, so the range is checked.

    Each result of a generator below 10^6 is another code, so codes are as uniform as the generator.
    """
    ranges = []

    def draw(below: int) -> int:
        ranges.append(below)
        return len(ranges) - 1

    codes = [generate_code(draw, 6) for _ in range(10**6)]

    assert {10**6} == set(ranges)
    assert [f"{value:06d}" for value in range(10**6)] == codes


@pytest.mark.parametrize("digits", [6, 7, 8, 9, 10])
def test_leading_zeros_are_kept(digits: int) -> None:
    """R1: 42 is 000042, and about one code in ten begins with a zero."""
    codes = [generate_code(secrets.randbelow, digits) for _ in range(20_000)]

    assert {digits} == {len(code) for code in codes}
    assert "42".zfill(digits) == generate_code(lambda _: 42, digits)
    zeros = sum(code.startswith("0") for code in codes)
    assert abs(zeros - 2000) < 6 * math.sqrt(1800)  # six standard deviations


@given(st.integers(0, 10**6 - 1), st.lists(st.tuples(st.integers(0, 12), st.sampled_from(" -"))))
def test_spaces_and_hyphens_are_ignored_in_every_position(
    value: int, insertions: list[tuple[int, str]]
) -> None:
    """The contract's verify: users type what they see."""
    code = text = f"{value:06d}"
    for place, char in insertions:
        text = text[:place] + char + text[place:]

    assert code == normalize_code(text, 6)


@given(st.text())
def test_only_the_right_number_of_ascii_digits_is_a_code(text: str) -> None:
    """R8, R23: any other input is malformed and never repaired."""
    digits = text.replace(" ", "").replace("-", "")
    is_code = len(digits) == 6 and all(char in "0123456789" for char in digits)

    if is_code:
        assert digits == normalize_code(text, 6)
    else:
        with pytest.raises(MalformedCode) as refusal:
            normalize_code(text, 6)
        assert (("code", "must be 6 ASCII digits"),) == refusal.value.errors
        detail = "The code must be a string of 6 ASCII digits. No attempt was charged."
        assert detail == str(refusal.value)


@pytest.mark.parametrize(
    "text",
    ["12345", "1234567", "", "123456\n", "\t123456", "１２３４５６", "٠١٢٣٤٥", "12345²", "1_2345"],
)
def test_other_digits_and_other_spaces_are_malformed(text: str) -> None:
    r"""R8: `\d`, `str.isdigit`, `int` and `$` would each accept one of these."""
    with pytest.raises(MalformedCode):
        normalize_code(text, 6)


def test_a_hash_is_the_same_for_the_same_code_and_context() -> None:
    """R10: hashes are compared, so they must be deterministic."""
    assert compute_hash() == compute_hash()
    assert 32 == len(compute_hash())


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("slow", b"0123456789abcdeg"),
        ("tenant", "bank"),
        ("challenge", "c07-00112233445566778899aabbccddeefe"),
        ("purpose", "payment"),
        ("number", "+447400123457"),
        ("deadline", 1763814000124),
    ],
)
def test_each_field_alone_changes_the_hash(field: str, other: object) -> None:
    """R5: a hash that was copied elsewhere matches nothing."""
    assert compute_hash() != compute_hash(**{field: other})


def test_the_pepper_changes_the_hash() -> None:
    """R10: without it no search over all 10^6 codes finds a match."""
    fields = {**HASH_INPUTS}
    slow = fields.pop("slow")

    assert compute_hash() != hash_code(Key("1", b"\x01" + bytes(31)), slow, **fields)


def test_a_code_hash_differs_from_other_macs_of_the_same_key() -> None:
    """R5: the label separates MACs of one key that have different purposes."""
    context = [str(value).encode() for name, value in HASH_INPUTS.items() if name != "slow"]

    assert compute_hash() == PEPPER.compute_mac("code", HASH_INPUTS["slow"], *context)
    assert compute_hash() != PEPPER.compute_mac("record", HASH_INPUTS["slow"], *context)


@pytest.mark.parametrize(
    ("left", "right"), list(pairwise(["tenant", "challenge", "purpose", "number"]))
)
def test_moving_a_character_to_the_next_field_changes_the_hash(left: str, right: str) -> None:
    """R5: `ab`,`c` and `a`,`bc` are joined with their lengths, so they do not collide."""
    before, after = str(HASH_INPUTS[left]), str(HASH_INPUTS[right])

    to_the_left = {left: before + after[0], right: after[1:]}
    to_the_right = {left: before[:-1], right: before[-1] + after}

    assert 3 == len({compute_hash(), compute_hash(**to_the_left), compute_hash(**to_the_right)})


fields = st.tuples(*(st.text(max_size=3) for _ in range(4)), st.integers(0, 99))


@given(fields, fields)
def test_only_equal_contexts_have_equal_hashes(
    one: tuple[str, str, str, str, int], other: tuple[str, str, str, str, int]
) -> None:
    """R5: also with empty fields and fields of a few letters, where joins often collide."""
    names = ("tenant", "challenge", "purpose", "number", "deadline")

    first, second = (
        compute_hash(**dict(zip(names, values, strict=True))) for values in (one, other)
    )

    assert (one == other) == (first == second)


def test_the_comparison_distinguishes_equal_from_different_values() -> None:
    """R9: in constant time, and still correct; also for different lengths."""
    assert constant_time_equal(b"abc", b"abc")
    assert not constant_time_equal(b"abc", b"abd")
    assert not constant_time_equal(b"abc", b"ab")
