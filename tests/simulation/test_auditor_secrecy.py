"""No code, number, secret or token is in any stored or logged byte."""

import pytest

from tests.simulation.history import StoredBytes
from tests.simulation.history_builder import CODE, NUMBER, SECRET, WRONG_CODE, HistoryBuilder


CODE_RULE = "a code is stored in the clear"
NUMBER_RULE = "a number is stored in the clear"
WORD_RULE = "a secret or a token is stored in the clear"
API_KEY = "RFxI8PkhQ2wq7rT1"


@pytest.fixture
def history():
    history = HistoryBuilder(secrets=(API_KEY,))
    challenge = history.issue()
    history.verify(challenge, WRONG_CODE)
    token = "a1.Zm9vYmFyYmF6"
    history.confirm(token=token)
    history.create_recovery_set("r1.cXV4cXV1eA")
    return history


def store(history, content, place="{07}:challenge:shop:c07-1"):
    data = content if isinstance(content, bytes) else content.encode()
    history.stored.append(StoredBytes(place=place, content=data))


@pytest.mark.parametrize(
    "content",
    [
        b"\x93\xa6sealed\xc4\x10" + bytes(range(128, 160)),
        '{"type":"otp.issued","number":"k1:0f3a","number_suffix":"56","at":1796000000123}',
        "1796000000123-42",
        "+44********56",
        f"k1:2e039bf{CODE}a13b1b4c497be4fad35b85",
        "",
    ],
)
def test_sealed_records_and_pseudonyms_are_found_clean(history, content):
    store(history, content)

    assert [] == history.list_rules()


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (f'{{"code":"{CODE}"}}', CODE_RULE),
        (f"c07-2e039bf1a13b1b4c497be4fad35b85 {CODE}", CODE_RULE),
        (f"{CODE} is your code", CODE_RULE),
        (f"attempt with {WRONG_CODE}.", CODE_RULE),
        (b"\x93\xaa" + CODE.encode() + b"\xc0", CODE_RULE),
        (f'{{"code":{CODE}}}', CODE_RULE),
        (f"to={NUMBER}", NUMBER_RULE),
        (f"00{NUMBER[1:]}", NUMBER_RULE),
        (f"sms{NUMBER[1:]}99", NUMBER_RULE),
        (f"secret {SECRET}", WORD_RULE),
        ("token=a1.Zm9vYmFyYmF6", WORD_RULE),
        ("set r1.cXV4cXV1eA", WORD_RULE),
        ("code ABCD-EFGH-JKMN-PQR3 used", WORD_RULE),
        ("code ABCDEFGHJKMNPQR3 used", WORD_RULE),
        (f"Authorization: Bearer {API_KEY}", WORD_RULE),
    ],
)
def test_a_secret_in_the_clear_is_found(history, content, rule):
    store(history, "harmless")
    store(history, content, place="log of a1")

    assert [(rule, "log of a1")] == [(found.rule, found.subject) for found in history.audit()]


def test_a_secret_in_the_name_of_a_key_is_found(history):
    store(history, "", place=f"{{07}}:limit:SendsPerNumber:{NUMBER}")

    assert [NUMBER_RULE] == history.list_rules()


def test_a_number_of_an_event_that_looks_like_a_code_is_none(history):
    store(history, f'{{"wait":{CODE},"price": {CODE}}}')
    store(history, CODE, place="{00}:traffic:shop:GB")
    assert [] == history.list_rules()

    store(history, f'{{"wait":"{CODE}"}}')
    assert [CODE_RULE] == history.list_rules()


@pytest.mark.parametrize("word", [f"17{CODE}", f"k1:ce9b{CODE}af", f"{CODE}e0"])
def test_a_code_within_a_longer_word_is_chance(history, word):
    """Pseudonyms and ids are hexadecimal, and many of them have six digits in a row."""
    store(history, word)

    assert [] == history.list_rules()
