"""R27, R34 to R38: one phone has one canonical name, and no code goes to a forbidden number."""

import re

import phonenumbers
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from otp_service.core.errors import InvalidPhoneNumber, NumberNotAllowed, OtpError
from otp_service.core.phone_number import (
    PhoneNumber,
    check_country,
    parse_number,
    restore_number,
)


# Requirements, 5.1: libphonenumber parses each of these as +12025550123.
SPELLINGS = [
    "+1 (202) 555-0123",
    "+1-202-555-0123",
    "+1 202 555 0123 ext. 5",
    "+12025550123;ext=99",
    "+12025550123,,77",
    "+12025550123,1",
    "+12025550123x12345",
    "+12025550123~7",
    "+12025550123 int 7",
    "+12025550123;5",
    "tel:+1-202-555-0123",
    "tel:202-555-0123;phone-context=+1",
    "tel:+12025550123;isub=12",
    "++12025550123",
    "+１２０２５５５０１２３",
    "＋12025550123",
    "+١٢٠٢٥٥٥٠١٢٣",
    "+१२०२५५५०१२३",
    "+1202555０１２３",
    "+1202\u200b555\u200b0123",
    "+1202\u00ad5550123",
    "\u200e+12025550123",
    "\u202a+12025550123\u202c",
    "+1 202 KKK 0123",
    "+12025550123\x00",
    "+1 1 202 555 0123",
    "+112025550123",
    "1 202 555 0123",
    "12025550123",
    "(202) 555-0123",
    "2025550123",
    "011 1 202 555 0123",
]
INVALID_NUMBERS = [
    "",
    "+",
    "+1202\n5550123",
    "+12025550123\n",
    "+12025550123\r\n",
    "+1" + "2" * 250,
]
REPAIRABLE_NUMBERS = [
    "+44 (0)7911 123456", "+4407911123456", "+4901511234567", "+8800171234567",
    "+5501511987654321", "+54111523456789",
]  # fmt: skip
OBSOLETE_NUMBERS = ["+5215512345678", "+551187654321", "+3966982", "+336123456789"]

# The regulators' own lists, where there is no range.
GERMAN_NUMBERS = [
    "15228817386", "15228895456", "15254599371", "1729925904", "1729968532", "1729973185",
    "1729973186", "1729980752", "1749091317", "1749464308",
]  # fmt: skip
AUSTRALIAN_NUMBERS = [
    "0006", "0156", "0157", "0158", "0159", "0110", "0313", "0737", "1266", "1491", "1804",
    "2549", "2665", "2983", "3770", "3087", "4118", "4632", "5254", "5789", "6398", "6801",
    "7426", "7644", "8957", "8148", "8888", "9212", "9760", "9455",
]  # fmt: skip

# Each range at both ends, with its country; phone_number.py cites the sources.
FICTITIOUS_NUMBERS = [
    ("+12025550100", "US"),
    ("+12025550199", "US"),
    ("+14165550142", "CA"),
    ("+18765550142", "JM"),
    ("+14415550142", "BM"),  # not valid in libphonenumber
    ("+447700900000", "GB"),
    ("+447700900999", "GB"),
    ("+33639980000", "FR"),
    ("+33639989999", "FR"),
    ("+46701740605", "SE"),
    ("+46701740699", "SE"),
    ("+491713920000", "DE"),
    ("+491713920099", "DE"),
    ("+4917604069000", "DE"),
    ("+4917604069099", "DE"),
    *((f"+49{number}", "DE") for number in GERMAN_NUMBERS),
    *((f"+6149157{number}", "AU") for number in AUSTRALIAN_NUMBERS),
]
NEIGHBOURING_NUMBERS = [
    "+12025550099", "+12025550200", "+12125540123", "+46701740604", "+46701740700",
    "+33640000000", "+491713919999", "+491713920100", "+4917604068999", "+4917604069100",
    "+4915228817385", "+61491570005", "+61491570155", "+61491570160",
]  # fmt: skip

NUMBERS_WITHOUT_SMS = {
    "premium rate in the US": "+19005551234",
    "premium rate in the UK": "+449098790000",
    "international premium rate": "+979123456789",
    "a personal number": "+447012345678",
    "an international network": "+88216123456789",
    "a global network": "+883510012345",
    "a satellite phone": "+881612345678",
    "a ship": "+870773111632",
    "universal personal telephony": "+878101234567890",
    "international free phone": "+80012345678",
    "international shared cost": "+80812345678",
    "free phone in the US": "+18005551234",
    "a landline": "+442079461234",
    "a landline for drama": "+442079460123",
    "a landline of Argentina": "+541123456789",
    "a free phone number for drama": "+18005550199",
}

# Two valid numbers of one phone.
ALIASES = [
    ("+972599123456", "+970599123456"),
    ("+972569123456", "+970569123456"),
    ("+24107123456", "+24177123456"),
    ("+2417123456", "+24177123456"),
    ("+24106123456", "+24166123456"),
    ("+2412123456", "+24162123456"),
    ("+24105123456", "+24165123456"),
    ("+24104123456", "+24174123456"),
    ("+24103123456", "+2413123456"),
    ("+2203123456", "+220833123456"),
    ("+2205123456", "+220835123456"),
    ("+2206123456", "+220866123456"),
    ("+2207123456", "+220877123456"),
    ("+2202123456", "+220872123456"),
    ("+2209123456", "+220899123456"),
    ("+37744123456", "+38344123456"),
    ("+37745123456", "+38345123456"),
    ("+38643123456", "+38343123456"),
]


def build_mobile_numbers():
    """Return a strategy of numbers around libphonenumber's example of a mobile in each region."""
    kind = phonenumbers.PhoneNumberType.MOBILE
    examples = (phonenumbers.example_number_for_type(region, kind) for region in REGIONS)
    blocks = [
        f"+{n.country_code}{phonenumbers.national_significant_number(n)}"[:-4]
        for n in examples
        if n
    ]
    return st.builds(
        "{}{}".format, st.sampled_from(blocks), st.from_regex(r"[0-9]{4}", fullmatch=True)
    )


REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
MOBILES = build_mobile_numbers()


def parse_or_reject(text: str) -> PhoneNumber:
    """Parse the number, or make Hypothesis choose another."""
    try:
        return parse_number(text, allow_fictitious=True)
    except OtpError:
        assume(False)  # noqa: FBT003
        raise


def find_refusal(text: str) -> OtpError | None:
    """Return the error that refuses a number, or None."""
    try:
        parse_number(text)
    except OtpError as refusal:
        return refusal
    return None


def build_number(e164: str) -> PhoneNumber:
    """Return a number without a check of its type."""
    number = phonenumbers.parse(e164, None)
    country = phonenumbers.region_code_for_number(number)
    return PhoneNumber(e164, country or "001", number.country_code or 0)


def test_a_mobile_number_is_accepted_with_its_country():
    """R34: the number is stored as it was sent."""
    number = parse_number("+447400123456")

    assert PhoneNumber("+447400123456", "GB", 44, is_fictitious=False) == number


@pytest.mark.parametrize("text", [*SPELLINGS, *INVALID_NUMBERS])
def test_every_other_spelling_is_refused(text):
    """R35, table 5.1: only the plain form is accepted."""
    plain = parse_number("+12025550123", allow_fictitious=True)

    assert "+12025550123" == plain.e164
    with pytest.raises(InvalidPhoneNumber):
        parse_number(text, allow_fictitious=True)


@pytest.mark.parametrize("text", REPAIRABLE_NUMBERS)
def test_a_number_that_libphonenumber_would_repair_is_refused(text):
    """R35: trunk zeros, carrier codes and the Argentine 15 do not round-trip."""
    with pytest.raises(InvalidPhoneNumber):
        parse_number(text)


@pytest.mark.parametrize("text", OBSOLETE_NUMBERS)
def test_a_form_that_its_numbering_plan_has_abandoned_is_refused(text):
    """R36: possible is not valid."""
    with pytest.raises(InvalidPhoneNumber):
        parse_number(text)


@pytest.mark.parametrize(
    "text", ["+12345", "+123456", "+1234567890123456", "+02025550123", "+9991234567"]
)
def test_a_text_that_is_not_e164_is_refused(text):
    """R35: seven to fifteen digits, the first not zero, and a country code that exists."""
    with pytest.raises(InvalidPhoneNumber):
        parse_number(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("+", "too short"),
        ("+123456", "too short"),
        ("447400123456", "does not begin with a plus"),
        ("00447400123456", "does not begin with a plus"),
        (" +447400123456", "does not begin with a plus"),
        ("tel:+447400123456", "does not begin with a plus"),
        ("\uff0b447400123456", "does not begin with a plus"),
        ("+44 7400 123456", "not one of the digits"),
        ("+447400123456\n", "not one of the digits"),
        ("+44740012345\uff16", "not one of the digits"),
        ("+0447400123456", "No country code begins with 0"),
        ("+1234567890123456", "too long"),
        ("+999123456789", "country code does not exist"),
        ("+4407400123456", "dialed only within its country"),
        ("+5215512345678", "too long for its country"),
        ("+12025550", "too short for its country"),
        ("+4474001234567", "too long for its country"),
        ("+12005550123", "no such number"),
    ],
)
def test_a_refusal_says_what_is_wrong(text, problem):
    """The developer sees it; the person is asked for the number again."""
    with pytest.raises(InvalidPhoneNumber) as refusal:
        parse_number(text)

    assert problem in refusal.value.problem
    assert f"{InvalidPhoneNumber.detail} {refusal.value.problem}" == str(refusal.value)


@pytest.mark.parametrize("text", NUMBERS_WITHOUT_SMS.values(), ids=NUMBERS_WITHOUT_SMS.keys())
@pytest.mark.parametrize("allow_fictitious", [False, True])
def test_a_number_that_takes_no_sms_is_refused_for_its_type(text, allow_fictitious):
    """R27: in tests as in production."""
    with pytest.raises(NumberNotAllowed) as refusal:
        parse_number(text, allow_fictitious=allow_fictitious)

    assert "type" == refusal.value.reason


@pytest.mark.parametrize(("text", "country"), FICTITIOUS_NUMBERS)
def test_a_fictitious_number_is_refused(text, country):
    """R38: whether libphonenumber calls them valid or not."""
    with pytest.raises(NumberNotAllowed) as refusal:
        parse_number(text)

    assert "fictitious" == refusal.value.reason
    assert country not in str(refusal.value)


@pytest.mark.parametrize(("text", "country"), FICTITIOUS_NUMBERS)
def test_a_fictitious_number_is_accepted_and_marked_where_allowed(text, country):
    """R38: installations without a real provider can use them."""
    number = parse_number(text, allow_fictitious=True)

    assert (text, country, True) == (number.e164, number.country, number.is_fictitious)


@pytest.mark.parametrize("text", NEIGHBOURING_NUMBERS)
def test_neighbours_of_fictitious_numbers_are_real(text):
    """R38: a range ends where its regulator defines."""
    number = parse_number(text)

    assert not number.is_fictitious


def test_a_missing_area_code_has_no_fictitious_numbers():
    """R38: +1 300 belongs to no country, so no range can be known for it."""
    with pytest.raises(InvalidPhoneNumber):
        parse_number("+13005550123", allow_fictitious=True)


@pytest.mark.parametrize(
    ("text", "country"),
    [
        ("+18765551234", "JM"),
        ("+18682911234", "TT"),
        ("+447781123456", "GG"),
        ("+447624123456", "IM"),
        ("+77011234567", "KZ"),
    ],
)
def test_a_country_is_a_region_and_not_a_calling_code(text, country):
    """R27, 5.1: +1, +44 and +7 are shared by countries with different prices."""
    number = parse_number(text)

    check_country(number, frozenset({country}))
    with pytest.raises(NumberNotAllowed) as refusal:
        check_country(number, frozenset({"US", "GB", "RU"}))
    assert "country" == refusal.value.reason


def test_no_country_is_allowed_until_it_is_named():
    """R27: deny by default; a star is a decision."""
    number = parse_number("+447400123456")

    with pytest.raises(NumberNotAllowed):
        check_country(number, frozenset())
    check_country(number, frozenset({"GB"}))
    check_country(number, frozenset({"*"}))


@pytest.mark.parametrize(("left", "right"), ALIASES)
def test_two_numbers_of_one_phone_are_counted_as_one(left, right):
    """R36: both are valid and take SMS, and one limit holds for both."""
    first, second = parse_number(left), parse_number(right)

    assert first.e164 != second.e164
    assert first.canonical == second.canonical
    assert first.prefix == second.prefix


@pytest.mark.parametrize("text", ["+37744123456", "+38643123456", "+38344123456"])
def test_a_number_of_kosovo_has_one_region_under_every_code(text):
    """The limit on a country, and the countries of a tenant, see one country."""
    number = parse_number(text)

    assert "XK" == number.country
    with pytest.raises(NumberNotAllowed):
        check_country(number, frozenset({"MC", "SI"}))
    assert ("MC", "SI") == (
        parse_number("+377612345678").country,
        parse_number("+38640123456").country,
    )


@pytest.mark.parametrize("text", sorted({text for pair in ALIASES for text in pair}))
def test_a_restored_number_is_the_one_that_was_accepted(text):
    """Its limits and its mask are the same at the issue and at the verify."""
    number = parse_number(text)

    restored = restore_number(text, number.country)

    assert number == restored
    assert (number.canonical, number.masked) == (restored.canonical, restored.masked)


def test_the_argentine_nine_is_not_counted():
    """R36: +54 9 11 and +54 11 reach one phone, whichever of them is requested."""
    mobile = parse_number("+5491123456789")

    assert build_number("+541123456789").canonical == mobile.canonical
    assert "+5491123456789" == mobile.e164


def test_the_prefix_is_the_number_without_its_last_four_digits():
    """R28: a block of ten thousand."""
    assert "+44740012" == parse_number("+447400123456").prefix


def test_a_masked_number_shows_the_country_code_and_two_digits():
    """R68, design: ChallengeView."""
    assert "+44********56" == parse_number("+447400123456").masked


def test_a_number_does_not_print_itself():
    """R68: neither in a log nor in a pretty traceback."""
    number = parse_number("+447400123456")

    shown = f"{number} {number!r} {number.__rich_repr__()}"

    assert "7400" not in shown
    assert "+44********56" in shown


@given(MOBILES)
@example("+447400123456")
def test_an_accepted_number_round_trips(text):
    """R34, R35: it round-trips."""
    number = parse_or_reject(text)

    read = phonenumbers.parse(number.e164, None)
    assert (
        text == number.e164 == phonenumbers.format_number(read, phonenumbers.PhoneNumberFormat.E164)
    )
    assert number == parse_number(number.e164, allow_fictitious=True)


@given(MOBILES)
def test_the_canonical_form_is_stable_and_valid(text):
    """R36: the canonical form is itself a valid number."""
    number = parse_or_reject(text)

    twin = build_number(number.canonical)

    assert number.canonical == twin.canonical
    assert phonenumbers.is_valid_number(phonenumbers.parse(twin.e164, None)) or number.is_fictitious


@given(MOBILES)
def test_a_mask_hides_all_but_the_last_two_digits(text):
    """R68: it is as long as the number, so that its length does not mislead."""
    number = parse_or_reject(text)

    code = f"+{number.calling_code}"
    assert len(text) == len(number.masked)
    assert number.masked.startswith(code)
    assert set(number.masked[len(code) : -2]) <= {"*"}
    assert text[-2:] == number.masked[-2:]


@given(st.one_of(st.text(), st.from_regex(r"\+[0-9]{7,15}", fullmatch=True), MOBILES))
def test_a_refusal_never_repeats_the_number(text):
    """R68: an error goes to logs and to the caller."""
    refusal = find_refusal(text)

    # Drawn text may be a word of the fixed sentence ("phone"), which repeats nothing.
    assume(refusal is not None and len(text) > 4 and text not in InvalidPhoneNumber.detail)
    assume(not re.fullmatch(r"[A-Za-z ,.:]+", text))
    assert text not in f"{refusal} {refusal.args} {vars(refusal)} {refusal.__cause__}"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("country", "Its country"),
        ("type", "receives no SMS"),
        ("fictitious", "no phone has"),
        ("blocked", "do-not-send list"),
        ("another", "See reason"),
    ],
)
def test_the_detail_of_a_refusal_fits_its_reason(reason, words):
    """A developer need not look the reason up."""
    assert words in str(NumberNotAllowed(reason))
