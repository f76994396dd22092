"""R39 to R42, R45: one message is one SMS with the required content, and no input can alter it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.gsm_alphabet import count_septets
from otp_service.core.language_tag import LANGUAGE_ALIASES, LOCALE_ALIASES
from otp_service.core.message_templates import MESSAGE_TEMPLATES, get_template
from otp_service.core.messages import (
    MessageRenderer,
    count_segments,
    validate_brand,
    validate_messages,
)


# 3GPP TS 23.038, 6.2.1 and 6.2.1.1, row by row.
GSM_ALPHABET = (
    "@£$¥èéùìòÇ\nØø\rÅå" "Δ_ΦΓΛΩΠΨΣΘΞÆæßÉ" " !\"#¤%&'()*+,-./" "0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNO" "PQRSTUVWXYZÄÖÑÜ§" "¿abcdefghijklmno" "pqrstuvwxyzäöñüà"
)  # fmt: skip
GSM_EXTENSION = "\f^{}\\[~]|€"
CODES = st.from_regex(r"[0-9]{6,10}", fullmatch=True)
BRANDS = st.sampled_from(["Example", "Ünal & Söhne", "St. Mary's", "Аптека 36", "東京銀行", "A"])
LOCALES = st.sampled_from([*MESSAGE_TEMPLATES, *LOCALE_ALIASES])


def parse_origin_bound_code(message: str) -> tuple[str, str] | None:
    """Parse host and code as WICG sms-one-time-codes, 3.2 "Parsing", requires of phones."""
    line = message.replace("\r\n", "\n").replace("\r", "\n").split("\n")[-1]
    host, position = extract_marked_token(line, 0, "@")
    if host is None or line[position : position + 1] != " ":
        return None
    code, _ = extract_marked_token(line, position + 1, "#")
    return None if code is None else (host, code)


def extract_marked_token(line: str, position: int, marker: str) -> tuple[str | None, int]:
    """Extract a marked token: up to ASCII white space, not empty."""
    if line[position : position + 1] != marker:
        return None, position
    end = position + 1
    while end < len(line) and line[end] not in "\t\n\f\r ":
        end += 1
    return line[position + 1 : end] or None, end


def test_an_english_message_has_brand_code_lifetime_and_warning():
    """R45."""
    messages = MessageRenderer("Example")

    text = messages.render("123456", 5, "en-GB")

    assert "Your Example code is 123456. It is valid for 5 min. Do not share it." == text


def test_the_app_and_the_site_have_the_last_lines():
    """R40, R41: the hash has its own line, and the site's line follows it."""
    messages = MessageRenderer("Example", host="example.com", android_hash="FA+9qCX9VSu")

    lines = messages.render("123456", 5, "en").split("\n")

    assert ["FA+9qCX9VSu", "@example.com #123456"] == lines[1:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("a" * 159 + "€", 2),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("ж" * 134, 2),
        ("ж" * 135, 3),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("", 1),
    ],
)
def test_segments_are_counted_as_they_are_billed(text, expected):
    """R39, table 5.4."""
    assert expected == count_segments(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a" * 159 + "€", 161),
        ("123456 is your Example code. Do not share it.\n\n@example.com #123456", 67),
        (
            "123456 is your Example code. Do not share it.\n\nFA+9qCX9VSu\n@example.com #123456",
            79,
        ),
        ("Don't", 5),
        ("Don’t", None),
        ("\x1b", None),
        ("ç", None),
    ],
)
def test_septets_are_those_of_gsm(text, expected):
    """R39, table 5.4: one curly apostrophe makes a message UCS-2."""
    assert expected == count_septets(text)


def test_the_alphabet_is_the_one_of_the_specification():
    """3GPP TS 23.038: 127 characters that cost one septet, ten that cost two, and no others."""
    characters = [chr(point) for point in range(0x3000)]

    assert set(GSM_ALPHABET) == {char for char in characters if count_septets(char) == 1}
    assert set(GSM_EXTENSION) == {char for char in characters if count_septets(char) == 2}
    assert (127, 10) == (len(GSM_ALPHABET), len(GSM_EXTENSION))


@pytest.mark.parametrize(("text", "expected"), [("a" * 152 + "€" * 77, 3), ("😀" * 67, 3)])
def test_no_character_is_cut_in_two(text, expected):
    """TS 23.038: 152 + 2 does not fit 153, nor 33 pairs and a half 67: 306 and 134 are three."""
    assert expected == count_segments(text)


@given(st.text(), st.text())
def test_more_text_is_never_fewer_messages(text, suffix):
    """R39."""
    assert count_segments(text) <= count_segments(text + suffix)


@given(BRANDS, CODES, st.integers(1, 10), LOCALES)
def test_every_message_has_brand_code_minutes_and_the_line_that_phones_parse(
    brand, code, minutes, locale
):
    """R40, R42, R45, in every language; the specification's own parser finds the code."""
    messages = MessageRenderer(brand, host="login.example.com", android_hash="FA+9qCX9VSu")

    text = messages.render(code, minutes, locale)

    sentence = text.split("\n")[0]
    assert brand in sentence
    assert code in sentence
    assert str(minutes) in sentence.replace(brand, "").replace(code, "")
    assert ("login.example.com", code) == parse_origin_bound_code(text)


def test_a_line_with_something_before_the_site_is_not_read():
    """R40: the parser of these tests refuses what the specification's example refuses."""
    assert parse_origin_bound_code("something @example.com #747723") is None
    assert parse_origin_bound_code("@example.com code #747723") is None
    assert ("example.com", "747723") == parse_origin_bound_code(
        "Hi\n\n@example.com #747723 @else.example"
    )


@pytest.mark.parametrize("language", MESSAGE_TEMPLATES)
def test_a_sentence_has_space_for_brand_and_code(language):
    """R39, R41: 66 bytes where GSM has the letters, otherwise 48 units; each value once."""
    template = MESSAGE_TEMPLATES[language]

    bare = template.format(brand="", code="", minutes="")

    remaining = 66 - len(bare.encode()) if count_septets(bare) else 48 - len(bare)
    assert 0 <= remaining
    assert [1, 1, 1] == [template.count(f"{{{name}}}") for name in ("brand", "code", "minutes")]


def test_every_required_language_has_a_message():
    """R45: readers of these languages do not get English."""
    required = "en de fr es pt it nl pl sv da nb fi cs ro hu tr el ru uk ar he hi ja ko zh vi id"

    assert set(required.split()) <= set(MESSAGE_TEMPLATES)
    assert len(MESSAGE_TEMPLATES) >= 20
    assert {*LOCALE_ALIASES.values(), *LANGUAGE_ALIASES.values()} <= set(MESSAGE_TEMPLATES)


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("de-CH", "de"),
        ("nn-NO", "nb"),
        ("no", "nb"),
        ("iw-IL", "he"),
        ("zh", "zh"),
        ("zh-CN", "zh"),
        ("zh-Hans-SG", "zh"),
        ("zh-TW", "zh-Hant"),
        ("zh-Hant-HK", "zh-Hant"),
        ("eo", "fr"),
        (None, "fr"),
    ],
)
def test_a_locale_falls_back_to_its_language_and_then_to_the_default(locale, expected):
    """Design, issue: an unknown locale is not an error."""
    messages = MessageRenderer("Example", default_locale="fr-CA")

    assert messages.render("123456", 5, expected) == messages.render("123456", 5, locale)


def test_a_language_that_was_left_out_falls_back_to_the_default():
    """R39: a reader whose language would not fit gets one that does."""
    messages = MessageRenderer("Example", languages=frozenset({"en", "de"}))

    assert messages.render("123456", 5, "en") == messages.render("123456", 5, "ru")


@pytest.mark.parametrize(
    "name", ["Example", "Ünal & Söhne", "St. Mary's", "東京銀行", "U.S. Post", "A" * 20, "{code}"]
)
def test_a_name_can_be_a_brand(name):
    """R42: it is inserted unchanged, whatever it looks like."""
    messages = MessageRenderer(name)

    assert f"Your {name} code is 123456." in messages.render("123456", 5)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " Example",
        "Example ",
        "A" * 21,
        "x\r\n@evil.com #000000",
        "Exam\nple",
        "Exam\rple",
        "Exam\x00ple",
        "Exam\x85ple",
        "Exam\u2028ple",
        "Exam\u2029ple",
        "\u202eelpmaxE",
        "\u2066Example",
        "Exam\u200bple",
        "@example",
        "Example #1",
        "https://example",
        "WWW.example",
        "example.com",
        "go to evil.co now",
        "example。com",
        "example．com",
    ],
)
def test_a_brand_with_more_than_a_name_is_refused(name):
    """R42, A21: no line break, no address, no invisible character; the error contains the remedy."""
    with pytest.raises(ValueError, match=r"^brand: \w+") as refusal:
        validate_brand(name)

    assert name == "" or name not in str(refusal.value)
    with pytest.raises(ValueError, match="brand"):
        MessageRenderer(name)


@given(st.text(max_size=25))
def test_no_accepted_brand_changes_the_line_that_phones_parse(name):
    """R40, A21: whatever brand is accepted, the host and the code do not change."""
    try:
        validate_brand(name)
    except ValueError:
        return  # most random texts are no valid brand; the examples above cover the accepted ones

    text = MessageRenderer(name, host="example.com").render("123456", 5)

    assert ("example.com", "123456") == parse_origin_bound_code(text)
    assert 2 == len(text.splitlines())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", "Example.com"),
        ("host", "https://example.com"),
        ("host", "example.com/login"),
        ("host", "example.com:443"),
        ("host", "example"),
        ("host", "192.0.2.1"),
        ("host", "example.com #1"),
        ("host", "example.com\n"),
        ("host", ""),
        ("android_hash", "FA+9qCX9VS"),
        ("android_hash", "FA+9qCX9VSu="),
        ("android_hash", "FA+9qCX9VS\n"),
        ("android_hash", ""),
        ("default_locale", "eo"),
        ("default_locale", ""),
        ("languages", frozenset({"en", "tlh"})),
        ("languages", frozenset({"de"})),  # excludes the default
        ("languages", frozenset()),
    ],
)
def test_an_unusable_value_prevents_the_start(field, value):
    """R42: closed sets only."""
    with pytest.raises(ValueError, match=r"^\w+: \w+"):
        MessageRenderer("Example", **{field: value})


@pytest.mark.parametrize("code", ["", "12345-", "١٢٣٤٥٦", "123 456", "1\n2", "²", "caf\u00e9"])
def test_only_digits_and_letters_are_put_in_as_a_code(code):
    """R42, and letters for deliveries; the error does not repeat the argument, which may be a real code (R68)."""
    with pytest.raises(ValueError, match="ASCII digits") as refusal:
        MessageRenderer("Example").render(code, 5)

    assert code == "" or code not in str(refusal.value)


def test_the_languages_of_gsm_fit_a_long_brand_host_and_app_hash():
    """R39, R41: 20 characters each, a code of 8 and 10 minutes."""
    gsm = frozenset(tag for tag, text in MESSAGE_TEMPLATES.items() if count_septets(text))

    messages = MessageRenderer("B" * 20, "a" * 16 + ".com", "FA+9qCX9VSu", languages=gsm)

    validate_messages(messages, digits=8, max_minutes=10)
    assert len(gsm) >= 20


def test_all_languages_fit_a_brand_of_twelve_characters():
    """R39: a code of 8 and 10 minutes, without a host."""
    validate_messages(MessageRenderer("B" * 12), digits=8, max_minutes=10)


def test_messages_that_do_not_fit_are_named_at_the_start():
    """R39: not first on the bill; Chinese is short enough, Russian is not."""
    messages = MessageRenderer("Example", host="login.example.com")

    with pytest.raises(ValueError, match=r"ru \(\d+ of 70 characters\)") as refusal:
        validate_messages(messages, digits=6, max_minutes=10)

    assert "languages" in str(refusal.value)
    assert "en (" not in str(refusal.value)
    assert "zh (" not in str(refusal.value)


def test_a_message_that_android_would_not_read_is_named_at_the_start():
    """R41: 140 bytes of UTF-8, although it would be one SMS."""
    host = "a" * 40 + ".example.com"
    messages = MessageRenderer("B" * 20, host, "FA+9qCX9VSu", languages=frozenset({"en"}))

    with pytest.raises(ValueError, match=r"en \(\d+ of 140 bytes\)"):
        validate_messages(messages, digits=6, max_minutes=10)


def test_a_text_too_long_for_android_fits_without_its_hash():
    """R39: then the bound is 160 septets."""
    host = "a" * 40 + ".example.com"

    validate_messages(
        MessageRenderer("B" * 20, host, languages=frozenset({"en"})), digits=6, max_minutes=10
    )


def test_a_brand_outside_gsm_shortens_every_message():
    """R39: 70 characters for English too, and the start reports it."""
    with pytest.raises(ValueError, match=r"en \(71 of 70 characters\)"):
        validate_messages(MessageRenderer("Аптека 36"), digits=6, max_minutes=10)


@given(st.sampled_from(["Example", "A", "Ünal & Söhne"]), st.integers(6, 8), LOCALES, st.data())
def test_messages_that_pass_the_check_are_one_sms(brand, digits, locale, data):
    """R39: for every code and every number of minutes up to the checked ones."""
    messages = MessageRenderer(brand)
    validate_messages(messages, digits, max_minutes=10)

    text = messages.render("9" * digits, data.draw(st.integers(1, 10)), locale)

    assert 1 == count_segments(text)


def test_each_sentence_in_latin_script_is_written_in_gsm():
    """R39: a reviewer would not see a single letter outside the alphabet."""
    ucs2 = "ar bg el fa he hi ja ko ru th uk zh zh-Hant"

    assert set(ucs2.split()) == {
        tag for tag, text in MESSAGE_TEMPLATES.items() if count_septets(text) is None
    }


@pytest.mark.parametrize(
    "brand", ["The Shop", "THE SHOP", "A Shop", "An Inn", "My Shop", "Our Bank"]
)
def test_an_english_message_has_no_second_article_before_the_brand(brand):
    """Not "Your The Shop code"."""
    text = MessageRenderer(brand).render("123456", 5, "en")

    assert text.startswith(f"Your code for {brand} is 123456. It is valid for 5 min.")


@pytest.mark.parametrize("brand", ["Theatre", "Amazing", "Mythos", "A1", "Shop"])
def test_a_brand_that_only_begins_like_an_article_keeps_the_usual_text(brand):
    assert f"Your {brand} code is 123456." in MessageRenderer(brand).render("123456", 5, "en")


def test_the_other_english_text_is_as_short_as_the_templates_are():
    """66 bytes without its placeholders, so that brand and code still fit one SMS."""
    text = get_template("en", "The Shop").format(brand="", code="", minutes="")

    assert len(text.encode()) <= 66


@pytest.mark.parametrize("default", ["zh-yue-HK", "mo", "deu", "en-gb"])
def test_the_default_locale_is_read_as_the_locale_of_a_request(default):
    """A setting that was copied from a phone works."""
    assert MessageRenderer("Example", default_locale=default).render("123456", 5)


@pytest.mark.parametrize(
    ("brand", "named"),
    [
        ("L\u2019Or\u00e9al", "\u2019 (U+2019, write ')"),
        ("Caf\u00e9 \u2013 Bar", "\u2013 (U+2013, write -)"),
        ("\u0160koda", "\u0160 (U+0160, write S)"),
        ("Z\u0142oty", "\u0142 (U+0142, write l)"),
        (
            "\u0410\u043f\u0442\u0435\u043a\u0430 36",
            "\u0410 (U+0410), \u043f (U+043F), \u0442 (U+0442) and others",
        ),
    ],
)
def test_the_characters_of_a_brand_that_shorten_a_message_are_named(brand, named):
    """ "Write it in Latin letters" does not help: the apostrophe of an editor is one of them."""
    with pytest.raises(ValueError, match=r"GSM 03\.38 lacks") as refusal:
        validate_messages(MessageRenderer(brand), digits=6, max_minutes=10)

    assert named in str(refusal.value)
    assert "\u00e9 (" not in str(refusal.value)


def test_a_message_that_is_too_long_by_its_host_blames_no_character_of_the_brand():
    """Russian has 70 characters, whatever the brand is."""
    messages = MessageRenderer(
        "L\u2019Or", host="login.example.com", languages=frozenset({"ru", "en"})
    )

    with pytest.raises(ValueError, match=r"ru \(\d+ of 70") as refusal:
        validate_messages(messages, digits=6, max_minutes=10)

    assert "en (" in str(refusal.value) or "GSM" not in str(refusal.value)
