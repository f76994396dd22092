"""Which whole messages are keywords."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.inbound import Keyword
from otp_service.core.keywords import (
    DEFAULT_KEYWORDS,
    MAX_KEYWORD_CHARS,
    KeywordTable,
    KeywordWords,
    find_keyword_errors,
    find_keyword_warnings,
    normalize_message,
)


TABLE = KeywordTable(DEFAULT_KEYWORDS)
WORDS = sorted(
    {
        (word, keyword)
        for table in DEFAULT_KEYWORDS.values()
        for keyword, _, word in table.list_words()
    }
)
REGULATION_WORDS = ["stop", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe"]


@pytest.mark.parametrize(("word", "keyword"), WORDS)
def test_each_default_word_is_its_keyword_as_a_person_may_type_it(word, keyword):
    """In any case, with quotes, punctuation, emoji, and white space."""
    forms = [word, word.lower(), word.title(), f" {word}\r\n", f"«{word} !»", f'"{word}."']
    forms += [f"{word}\N{OCTAGONAL SIGN}\ufe0f", f"\u2068{word}\u2069", f"(*{word}*)"]

    assert {keyword} == {TABLE.find(form) for form in forms}


@pytest.mark.parametrize("word", REGULATION_WORDS)
def test_words_of_the_us_rule_stop_the_messages(word):
    """47 CFR 64.1200(a)(10): a reply of one of them revokes consent by definition."""
    assert Keyword.STOP is TABLE.find(word.upper())


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        ("ＳＴＯＰ", Keyword.STOP),  # full width
        ("Ⓢⓣⓞⓟ", Keyword.STOP),
        ("𝐒𝐓𝐎𝐏", Keyword.STOP),
        ("ARRE\u0302T", Keyword.STOP),  # a combining accent
        ("arrêt", Keyword.STOP),
        ("ARRET", Keyword.STOP),
        ("no   mas", Keyword.STOP),
        ("NO\u00a0MÁS", Keyword.STOP),
        ("no\nmás", Keyword.STOP),
        ("s\u200btop\ufeff", Keyword.STOP),  # zero width
        ("st\u00adop", Keyword.STOP),  # soft hyphen
        ("STOP\u0000", Keyword.STOP),  # padding of a gateway
        ("opt\u2011out", Keyword.STOP),  # as phones replace a hyphen
        ("Opt\N{EN DASH}out", Keyword.STOP),
        ("İPTAL", Keyword.STOP),
        ("iptal", Keyword.STOP),
        ("IPTAL", Keyword.STOP),
        ("ıptal", Keyword.STOP),
        ("i̇ptal", Keyword.STOP),
        ("\N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4} Unstop", Keyword.START),
        ("\N{LEFT SINGLE QUOTATION MARK}Info?\N{RIGHT SINGLE QUOTATION MARK}", Keyword.HELP),
    ],
)
def test_other_forms_of_the_same_letters_are_the_same_word(text, keyword):
    """NFKC, case folding, accents, dashes and invisible characters."""
    assert keyword is TABLE.find(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "!",
        "\N{OCTAGONAL SIGN}",
        "Stop it!",
        "can you stop texting me",
        "please STOP",
        "STOP 123456",
        "123456",
        "S T O P",
        "STOPSTOP",
        "nonstop",
        "no, mas",
        "stop\nstop",
        "\N{GREEK CAPITAL LETTER IOTA}PTAL",
        "\ud800",
    ],
)
def test_any_other_message_is_no_keyword(text):
    """The whole message counts: a person who writes more may mean something else."""
    assert TABLE.find(text) is None


def test_a_long_message_is_no_keyword_and_is_not_normalized(monkeypatch):
    """One character of a message can become 18 (U+FDFA), and messages of 256 KiB are received."""
    longest = f"{'STOP':<{MAX_KEYWORD_CHARS}}"
    assert Keyword.STOP is TABLE.find(longest)

    monkeypatch.setattr("otp_service.core.keywords.normalize_message", lambda _: 1 / 0)

    assert TABLE.find(f"{longest} ") is None


@given(st.text())
def test_normalizing_twice_changes_nothing(text):
    """So the words of the settings and the messages are compared in one form."""
    once = normalize_message(text)

    assert once == normalize_message(once)


def test_normalizing_each_character_twice_changes_nothing():
    """Every assigned character by itself, which random text does not reach."""
    assigned = [
        char for char in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(char) != "Cn"
    ]
    once = [normalize_message(char) for char in assigned]

    assert once == [normalize_message(each) for each in once]


OUTER_TEXT = st.text(st.characters(categories=["P", "S", "Z", "Cc", "Cf"]), max_size=20)


@given(OUTER_TEXT, st.sampled_from(WORDS), OUTER_TEXT)
def test_what_has_no_letters_is_ignored_around_a_word(before, word, after):
    """Quotes, emoji, line breaks and direction marks of any language."""
    # NFKC makes letters of some symbols, such as U+2120 (SM).
    has_letters = any(normalize_message(part) for part in (before, after))

    found = TABLE.find(before + word[0] + after)

    assert has_letters or found is word[1]


def test_every_language_counts_in_every_message():
    """The language of a message is unknown; one that is set replaces its own words alone."""
    table = KeywordTable({"el": KeywordWords(stop=("τέλος",)), "fr": KeywordWords(help=("aide",))})

    assert Keyword.STOP is table.find("ΤΕΛΟΣ")
    assert Keyword.HELP is table.find("AIDE")
    assert table.find("STOP") is None


def test_letters_with_two_small_forms_are_folded_too():
    """Lower case is not enough for German and Greek."""
    table = KeywordTable(
        {"de": KeywordWords(stop=("Schluß",)), "el": KeywordWords(help=("λόγος",))}
    )

    assert Keyword.STOP is table.find("SCHLUSS")
    assert Keyword.HELP is table.find("λόγοσ")


def test_the_defaults_have_no_errors_and_no_warnings():
    """No word of one language means something else in another."""
    assert [] == [*find_keyword_errors(DEFAULT_KEYWORDS)]
    assert [] == [*find_keyword_warnings(DEFAULT_KEYWORDS)]


def test_every_error_of_the_words_is_listed():
    """With the place of the word, not only the first."""
    languages = {
        "de": KeywordWords(stop=("STOPP", "Stöpp", "", "!"), start=("x" * 101,)),
        "fr": KeywordWords(start=("stopp",), help=("\u200b", "AIDE", "Aide.")),
        "tr": KeywordWords(help=("ŞTOPP",)),
    }

    found = [*find_keyword_errors(languages)]

    assert [
        "de.stop[2]",
        "de.stop[3]",
        "de.start[0]",
        "fr.start[0]",
        "fr.help[0]",
        "tr.help[0]",
    ] == [field for field, _ in found]
    assert "de.stop" in found[3][1]
    assert "de.stop" in found[5][1]


def test_words_without_stop_or_start_are_a_warning():
    """Carriers require the first, and the second is the only way back for a person."""
    found = [*find_keyword_warnings({"en": KeywordWords(start=("STOP",))})]

    assert 2 == len(found)
    assert "START" in found[1]
