"""Phone numbers: parsing, the phone that a number reaches, and whether a code may be sent to it.

A number is parsed once, at the edge, and only the form that `parse_number` accepted is used: strict
E.164, refused rather than repaired, because libphonenumber accepts dozens of spellings of one number
and each would have its own budget. Country, type and validity are computed every time and never
stored, because they change with the metadata.
"""

import re
from typing import Any, Final, Literal

import msgspec
import phonenumbers
from phonenumbers import (
    NumberParseException,
    PhoneNumberFormat,
    PhoneNumberType,
    ValidationResult,
)

from otp_service.core.errors import InvalidPhoneNumber, NumberNotAllowed


# For the whole process. libphonenumber has more patterns than the cache of `re`, so numbers of many
# countries in turn would compile them again: 500 us a number instead of 36. The cache has patterns
# of the metadata, never a number.
phonenumbers.enable_pattern_cache()

# "SMSs can be sent to MOBILE or FIXED_LINE_OR_MOBILE" (libphonenumber, FAQ).
_TEXTABLE_TYPES: Final = frozenset({PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE})

# The region of calling codes without a country: satellites, international free phone (+800),
# shared cost (+808), premium rate (+979), networks (+882, +883). Some count as MOBILE, at a price.
_NON_GEOGRAPHIC_REGION: Final = "001"

_E164_PATTERN: Final = re.compile(r"\+[1-9][0-9]{6,14}")

_MIN_DIGITS: Final = 7

# The first that is found in a text says why it is not E.164.
_SYNTAX_PROBLEMS: Final = (
    (re.compile(r""), "It is empty."),
    (re.compile(r"[^+].*", re.DOTALL), "It does not begin with a plus and the country code."),
    (
        re.compile(r".+[^0-9].*", re.DOTALL),
        "After the plus it has a character, such as a space, that is not one of the digits 0 to 9.",
    ),
    (re.compile(r"\+0.*"), "No country code begins with 0."),
    (re.compile(rf"\+[0-9]{{0,{_MIN_DIGITS - 1}}}"), "It is too short."),
)

_TRUNK_PREFIX_PROBLEM: Final = "It has a prefix that is dialed only within its country, such as the 0 in front of an area code."
_UNKNOWN_NUMBER_PROBLEM: Final = "Its country has no such number, or none of this length."
_LENGTH_PROBLEMS: Final = {
    ValidationResult.TOO_SHORT: "It is too short for its country.",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "It is too short for its country.",
    ValidationResult.TOO_LONG: "It is too long for its country.",
    ValidationResult.INVALID_LENGTH: "Its country has no number of this length.",
}

# Mobile numbers that regulators reserve for films, books and tests, so that they reach no phone.
# Fictitious landlines need no row: their type is refused.
_FICTITIOUS_NUMBER_PATTERN: Final = re.compile(
    r"""\+(?:
    1 [2-9]\d\d 555 01 \d\d              # NANPA, 555 line numbers: in every area code
  | 33 6 39 98 \d{4}                     # ARCEP, decision 2018-0881
  | 44 7700 900 \d{3}                    # Ofcom, numbers for drama use
  | 46 70 1740 6 (?: 0[5-9] | [1-9]\d )  # PTS, numbers for books and films
  | 49 (?: 171 39200 \d\d | 176 040690 \d\d                     # BNetzA, Mitteilung 148/2021
         | 152 (?: 28817386 | 28895456 ) | 152 54599371
         | 172 (?: 9925904 | 9968532 | 997318[56] | 9980752 ) | 174 (?: 9091317 | 9464308 ) )
  | 61 491 57 (?: 0006 | 0110 | 015[6-9] | 0313 | 0737          # ACMA, numbers for creative works
                | 1266 | 1491 | 1804 | 2549 | 2665 | 2983 | 3087 | 3770 | 4118 | 4632
                | 5254 | 5789 | 6398 | 6801 | 7426 | 7644 | 8148 | 8888 | 8957
                | 9212 | 9455 | 9760 )
    )""",
    re.VERBOSE,
)

# If several regions share a code, libphonenumber finds the region by validity, and it regards
# Ofcom's drama numbers as invalid.
_FICTITIOUS_NUMBER_COUNTRIES: Final = {44: "GB"}

# Two valid numbers, one phone: calling code -> rewrites to the form that limits count.
_CANONICAL_REWRITES: Final[dict[int, tuple[tuple[re.Pattern[str], str], ...]]] = {
    # Argentina writes a 9 before the area code when a mobile is called from abroad.
    54: ((re.compile(r"\+549(\d{10})"), r"+54\1"),),
    # Gambia, from 7 to 9 digits in 2026 (PURA; ranges as libphonenumber has them): an operator's
    # prefix in front, and months in which both forms work.
    220: (
        (re.compile(r"\+220([247]\d{6})"), r"+22087\1"),
        (re.compile(r"\+220([35]\d{6})"), r"+22083\1"),
        (re.compile(r"\+220(6\d{6})"), r"+22086\1"),
        (re.compile(r"\+220(9\d{6})"), r"+22089\1"),
    ),
    # Gabon, from 0X to 06X and 07X in 2019 (ARCEP Gabon); the metadata still knows the old forms.
    241: (
        (re.compile(r"\+2410?([256]\d{6})"), r"+2416\1"),
        (re.compile(r"\+2410?([47]\d{6})"), r"+2417\1"),
        (re.compile(r"\+2410(3\d{6})"), r"+241\1"),
    ),
    # Kosovo: mobiles were under Monaco's code (44, 45) and Slovenia's (43, 49) until 2019 (ARKEP), and
    # the metadata still knows them there.
    377: ((re.compile(r"\+377(4[45]\d{6})"), r"+383\1"),),
    386: ((re.compile(r"\+386(4[39]\d{6})"), r"+383\1"),),
    # Palestinian mobiles (056, 059) are reachable under Israel's code and under their own.
    972: ((re.compile(r"\+972(5[69]\d{7})"), r"+970\1"),),
}


# What operators write for the sender of an SMS, and the E.164 form of that phone.
_SENDER_REWRITES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    # Argentina, without the 9 of calls from abroad. A landline of this form sends no SMS.
    (re.compile(r"^\+54([1-8]\d{9})$"), r"+549\1"),
    # Mexico, with the 1 that was dialed before mobiles until 2019 (IFT), and is no number since.
    (re.compile(r"^\+521(\d{10})$"), r"+52\1"),
)


_REGION_BY_OLD_PREFIX: Final = {"+37744": "XK", "+37745": "XK", "+38643": "XK", "+38649": "XK"}
"""The region of numbers that libphonenumber counts among those of the code they were lent from."""


class PhoneNumber(msgspec.Struct, frozen=True):
    """A number that `parse_number` accepted. Its `repr` is masked to keep it out of logs."""

    e164: str
    country: str
    calling_code: int
    is_fictitious: bool = False

    @property
    def canonical(self) -> str:
        """The same string for every valid number of this phone: the subject of all limits."""
        for pattern, form in _CANONICAL_REWRITES.get(self.calling_code, ()):
            if match := pattern.fullmatch(self.e164):
                return match.expand(form)
        return self.e164

    @property
    def prefix(self) -> str:
        """The block of ten thousand numbers that contains it: the unit that SMS pumping buys."""
        return derive_prefix(self.canonical)

    @property
    def masked(self) -> str:
        """The calling code and the last two digits, with a star for each other digit."""
        shown = f"+{self.calling_code}"
        hidden = len(self.e164) - len(shown) - 2
        return f"{shown}{'*' * hidden}{self.e164[-2:]}"

    def __repr__(self) -> str:
        return f"PhoneNumber({self.masked})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # The default of msgspec shows the number in pretty tracebacks.
        return [("masked", self.masked)]


def derive_prefix(canonical_number: str) -> str:
    """Return the number without its last four digits."""
    return canonical_number[:-4]


def parse_number(text: str, *, allow_fictitious: bool = False) -> PhoneNumber:
    """Return the number that a caller sent, if a code may be sent to it.

    Raises InvalidPhoneNumber unless the text is the E.164 form of an existing number, and
    NumberNotAllowed for a number without SMS (`type`) or a fictitious one (`fictitious`, which
    `allow_fictitious` accepts for tests). Neither error contains the number.
    """
    number, reason = classify_number(text)
    if reason == "type" or (reason and not allow_fictitious):
        raise NumberNotAllowed(reason)
    return number


def parse_sender_number(text: str, *, allow_fictitious: bool = False) -> PhoneNumber | None:
    """Return the number of a person who sent an SMS; None for a short code, a name or a landline.

    Most providers write it without a plus, and some as the operator does. What is accepted here is only
    compared with the numbers that codes were sent to.
    """
    spelling = f"+{text.strip().removeprefix('+').removeprefix('00')}"
    for pattern, form in _SENDER_REWRITES:
        spelling = pattern.sub(form, spelling)
    try:
        return parse_number(spelling, allow_fictitious=allow_fictitious)
    except (InvalidPhoneNumber, NumberNotAllowed):
        return None


def classify_number(text: str) -> tuple[PhoneNumber, Literal["type", "fictitious"] | None]:
    """Return a number that exists, and the reason why no code may be sent to it, or None.

    Raises InvalidPhoneNumber as `parse_number` does.
    """
    number = _parse_e164(text)
    kind = phonenumbers.number_type(number)
    country = _REGION_BY_OLD_PREFIX.get(text[:6]) or phonenumbers.region_code_for_number(number)
    country = country or _FICTITIOUS_NUMBER_COUNTRIES.get(number.country_code or 0)
    is_known = kind != PhoneNumberType.UNKNOWN
    # libphonenumber regards some drama numbers as valid and others as invalid; here all are alike.
    fictitious = _FICTITIOUS_NUMBER_PATTERN.fullmatch(text) is not None and (
        kind in _TEXTABLE_TYPES or not is_known
    )
    if country is None or not (is_known or fictitious):
        raise InvalidPhoneNumber(_describe_unknown_number(number))
    phone = PhoneNumber(text, country, number.country_code or 0, fictitious)
    if country == _NON_GEOGRAPHIC_REGION or (is_known and kind not in _TEXTABLE_TYPES):
        return phone, "type"
    return phone, "fictitious" if fictitious else None


def restore_number(text: str, country: str) -> PhoneNumber:
    """Return a number that was accepted when its challenge was issued, without validation."""
    calling_code = phonenumbers.country_code_for_region(country)
    if not text.startswith(f"+{calling_code}"):  # under the calling code of another region
        calling_code = phonenumbers.parse(text, None).country_code or 0
    # One that takes no SMS was refused, so the pattern alone decides.
    is_fictitious = _FICTITIOUS_NUMBER_PATTERN.fullmatch(text) is not None
    return PhoneNumber(text, country, calling_code, is_fictitious)


def mask_number(text: str) -> str:
    """Return a number in E.164 form as `PhoneNumber.masked` shows it.

    An invalid one shows its last two digits alone.
    """
    phone = _restore_without_country(text)
    return phone.masked if phone else f"{'*' * (len(text) - 2)}{text[-2:]}"


def canonicalize_number(text: str) -> str:
    """Return `PhoneNumber.canonical` of a number in E.164 form; an invalid one as it is."""
    phone = _restore_without_country(text)
    return phone.canonical if phone else text


def _restore_without_country(text: str) -> PhoneNumber | None:
    try:
        calling_code = phonenumbers.parse(text, None).country_code or 0
    except NumberParseException:
        return None
    return PhoneNumber(text, "", calling_code)


def check_country(number: PhoneNumber, countries: frozenset[str]) -> None:
    """Raise NumberNotAllowed unless the number's region is among `countries`, or `*` is.

    A region is not a calling code: +1 876 is JM, +44 7781 is GG, and each has its own price.
    """
    if number.country not in countries and "*" not in countries:
        raise NumberNotAllowed("country")


def _parse_e164(text: str) -> phonenumbers.PhoneNumber:
    if _E164_PATTERN.fullmatch(text) is None:
        raise InvalidPhoneNumber(_describe_syntax_problem(text))
    try:
        number = phonenumbers.parse(text, None)
    except NumberParseException:
        raise InvalidPhoneNumber("Its country code does not exist.") from None
    # phonenumbers.parse repairs trunk zeros, carrier codes and the Argentine 15. A number that
    # needed a repair is refused.
    if phonenumbers.format_number(number, PhoneNumberFormat.E164) != text:
        raise InvalidPhoneNumber(_TRUNK_PREFIX_PROBLEM)
    return number


def _describe_syntax_problem(text: str) -> str:
    """Return why a text is not E.164, in a sentence without it."""
    found = (problem for pattern, problem in _SYNTAX_PROBLEMS if pattern.fullmatch(text))
    return next(found, "It is too long.")


def _describe_unknown_number(number: phonenumbers.PhoneNumber) -> str:
    """Return why a number does not exist, in a sentence without it."""
    length = phonenumbers.is_possible_number_with_reason(number)
    return _LENGTH_PROBLEMS.get(length, _UNKNOWN_NUMBER_PROBLEM)
