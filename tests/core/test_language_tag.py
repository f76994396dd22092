"""Language tags as phones, browsers and old libraries write them."""

import pytest

from otp_service.core.errors import InvalidRequest
from otp_service.core.language_tag import LANGUAGE_ALIASES, list_translation_tags, parse_locale
from otp_service.core.message_templates import MESSAGE_TEMPLATES


def choose_translation(text):
    """Return the translation that the reader of a locale gets; None for the tenant's default."""
    tags = list_translation_tags(parse_locale(text))
    return next((tag for tag in tags if tag in MESSAGE_TEMPLATES), None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("en", "en"),
        ("EN-gb", "en-GB"),
        ("zh-hANT-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("fil", "fil"),
        ("ca-ES-valencia", "ca-ES"),
        ("en-US-u-hc-h23", "en-US"),
        ("zh-yue-HK", "yue-HK"),
        ("ZH-Cmn-Hans-CN", "cmn-Hans-CN"),
        ("en-GBR", "en"),
        ("i-klingon", "i-klingon"),
        ("x-Whatever", "x-whatever"),
    ],
)
def test_a_locale_is_read_in_any_case(text, expected):
    """BCP 47; subtags after the region change no sentence."""
    assert expected == parse_locale(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "e",
        "english",
        "en_GB",
        "en-",
        "-en",
        "en--GB",
        "en-GB ",
        "en\n",
        "еn",
        "\u212ao",  # the Kelvin sign, a k after case folding
        "en-{brand}",
        "x-",
        "i",
        "en-US-x-" + "a" * 28,
        "en-" + "-".join(["abcdefgh"] * 4),
    ],
)
def test_a_malformed_locale_is_refused(text):
    """Design, issue: 400, with the name of the field and the rule."""
    with pytest.raises(InvalidRequest) as refusal:
        parse_locale(text)

    assert (
        ("locale", "must be a language tag (BCP 47) like en or en-GB, with hyphens"),
    ) == refusal.value.errors


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("mo", "ro"), ("mo-MD", "ro"), ("ro-MD", "ro"), ("mol", "ro")),
        *(("iw", "he"), ("in-ID", "id"), ("sh", "hr"), ("no-bok", "nb"), ("no-nyn", "nb")),
        *(("deu", "de"), ("ger-AT", "de"), ("fra", "fr"), ("fre-CA", "fr"), ("gre", "el")),
        *(("zho", "zh"), ("chi-TW", "zh-Hant"), ("arz-EG", "ar"), ("arb", "ar"), ("ar-arz", "ar")),
        *(("zsm", "ms"), ("ms-zsm", "ms"), ("pes", "fa"), ("prs-AF", "fa"), ("ekk", "et")),
        *(("nob", "nb"), ("nno-NO", "nb"), ("nor", "nb")),
        *(
            ("zh-yue-HK", "zh-Hant"),
            ("yue", "zh-Hant"),
            ("yue-HK", "zh-Hant"),
            ("zh-yue", "zh-Hant"),
        ),
        *(
            ("yue-CN", "zh"),
            ("yue-Hans", "zh"),
            ("zh-yue-Hans-CN", "zh"),
            ("yue-Hant-CN", "zh-Hant"),
        ),
        *(("cmn", "zh"), ("cmn-TW", "zh-Hant"), ("cmn-Hant", "zh-Hant"), ("zh-cmn-Hans", "zh")),
        *(
            ("zh-min-nan-TW", "zh-Hant"),
            ("zh-min-nan", "zh"),
            ("nan-TW", "zh-Hant"),
            ("i-hak", "zh"),
        ),
        *(("zh-guoyu", "zh"), ("zh-hakka", "zh"), ("wuu", "zh"), ("zh-Hans-HK", "zh")),
        *(("zh-SG", "zh"), ("zh-AU", "zh-Hant"), ("zh-MO", "zh-Hant"), ("zh-Hanb", "zh-Hant")),
        *(("eo", None), ("i-klingon", None), ("x-de", None), ("gsw", None), ("sgn-ase", None)),
    ],
)
def test_every_name_of_a_language_leads_to_its_translation(text, expected):
    """BCP 47 and CLDR: replaced codes, three letters, macrolanguages, extended languages, scripts."""
    assert expected == choose_translation(text)


def test_each_alias_leads_to_a_translation():
    """One that does not would hide the default of the tenant."""
    for alias in LANGUAGE_ALIASES:
        assert choose_translation(alias) in MESSAGE_TEMPLATES, alias


def test_no_code_names_two_languages():
    """A code that is listed twice would take the last one."""
    assert not set(LANGUAGE_ALIASES) & set(MESSAGE_TEMPLATES)
