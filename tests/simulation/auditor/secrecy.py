"""No code, number, secret or token is in any stored, logged or exported byte.

The contract: docs/security.md ("A copy of Redis contains no code … no number", "Events identify no one by
themselves", "Logs and metrics contain no code, number or key"). A code is found where it is a whole word,
because six digits in a row are in many hexadecimal names, and a phone number also within a longer word. What is a number by its documented meaning is no code:
numeric members of events and log lines, and the hourly totals (store/README.md, `traffic`).
"""

import re
from collections.abc import Iterator
from functools import partial

from tests.simulation.auditor.index import HistoryIndex
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import Answered, StoredBytes


build = partial(build_violation, Promise.SECRECY)

MIN_CODE_DIGITS = 6
MIN_NUMBER_DIGITS = 7
"""design "Requests": 7 to 15 digits."""
MIN_TOKEN_CHARS = 8
SECRET_MEMBERS = ("authenticator", "recovery_set", "secret")
NUMERIC_PLACES = (":traffic:",)
_ALPHANUMERICS = bytes(byte if chr(byte).isalnum() else 32 for byte in range(128)) + b" " * 128
_WORDS = (
    bytes(byte if chr(byte).isalnum() or chr(byte) in "-_" else 32 for byte in range(128))
    + b" " * 128
)
_DIGIT_WORD = re.compile(rb"(?<![0-9A-Za-z])[0-9]+(?![0-9A-Za-z])")
NUMERIC_MEMBERS = (
    "allowance",
    "at",
    "count",
    "epoch",
    "first",
    "folded",
    "last",
    "milliseconds",
    "period",
    "price",
    "quota",
    "retry_after",
    "sequence",
    "unverified",
    "wait",
)
"""The members of events (audit/EVENTS.md, "Fields") and log lines whose number may have six digits."""
_NUMERIC_MEMBER = re.compile(f'"(?:{"|".join(NUMERIC_MEMBERS)})": ?-?$'.encode())
MAX_NAME_CHARS = 40


class Secrets:
    """What must not be found, by the way to look for it."""

    def __init__(self, index: HistoryIndex) -> None:
        self.codes: set[bytes] = set()
        self.numbers: set[bytes] = set()
        self.words: set[bytes] = set()
        for text in index.settings.secrets:
            self._add_words(text)
        for submission in index.history.submissions:
            self._add_code(submission.code)
            self.numbers.add(submission.number.lstrip("+").encode())
        for call in index.history.calls:
            number = call.arguments.get("phone_number")
            if isinstance(number, str) and len(number) > MIN_NUMBER_DIGITS:
                self.numbers.add(number.lstrip("+").encode())
            self._add_code(str(call.arguments.get("code", "")))
            if isinstance(call.outcome, Answered):
                for name in SECRET_MEMBERS:
                    self._add_words(str(call.outcome.value.get(name, "")))
                codes = call.outcome.value.get("codes")
                for code in codes if isinstance(codes, list) else ():
                    self._add_words(code)
                    self._add_words(code.replace("-", ""))

    def _add_code(self, code: str) -> None:
        digits = code.replace("-", "").replace(" ", "")
        if digits.isascii() and digits.isdigit() and len(digits) >= MIN_CODE_DIGITS:
            self.codes.add(digits.encode())

    def _add_words(self, text: str) -> None:
        parts = text.encode().translate(_WORDS).split()
        self.words.update(part for part in parts if len(part) >= MIN_TOKEN_CHARS)


def check_secrecy(index: HistoryIndex) -> Iterator[Violation]:
    """Yield each stored or logged value that has a secret in the clear."""
    secrets = Secrets(index)
    everything = b"\n".join(map(_read_text, index.history.stored))
    if not any(_find_kinds(secrets, everything)):
        return
    for stored in index.history.stored:
        has_code, has_number, has_word = _find_kinds(secrets, _read_text(stored))
        if has_code and _has_code(secrets, stored):
            yield _build(index, "a code is stored in the clear", stored)
        if has_number:
            yield _build(index, "a number is stored in the clear", stored)
        if has_word:
            yield _build(index, "a secret or a token is stored in the clear", stored)


def _read_text(stored: StoredBytes) -> bytes:
    return stored.place.encode() + b"\n" + stored.content


def _find_kinds(secrets: Secrets, text: bytes) -> tuple[bool, bool, bool]:
    """Return whether a text may have a code, and whether it has a number and a word that is secret."""
    words = set(text.translate(_ALPHANUMERICS).split())
    long_words = b" ".join(word for word in words if len(word) >= MIN_NUMBER_DIGITS)
    return (
        not secrets.codes.isdisjoint(words),
        any(number in long_words for number in secrets.numbers),
        not secrets.words.isdisjoint(text.translate(_WORDS).split()),
    )


def _has_code(secrets: Secrets, stored: StoredBytes) -> bool:
    """Return whether a word is a code, and not a number by its documented meaning."""
    if any(place in stored.place for place in NUMERIC_PLACES):
        return False
    text = _read_text(stored)
    return any(
        not _NUMERIC_MEMBER.search(text[max(0, match.start() - MAX_NAME_CHARS) : match.start()])
        for match in _DIGIT_WORD.finditer(text)
        if match[0] in secrets.codes
    )


def _build(index: HistoryIndex, rule: str, stored: StoredBytes) -> Violation:
    return build(rule, [], subject=stored.place, at=index.history.ended_at)
