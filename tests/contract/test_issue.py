"""Issue: which members a request may have, and what a challenge starts with."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.contract.support import (
    CODE,
    RFC_3339_UTC,
    Challenge,
    Dev,
    assert_invalid,
)


def test_an_issue_is_created_with_its_place(dev: Dev) -> None:
    """The answer is 201 with JSON, and `Location` is the URL of the challenge."""
    issued = dev.issue()

    assert 201 == issued.status_code
    assert "application/json" == issued.headers["content-type"].split(";")[0]
    place = urlsplit(issued.headers["location"]).path
    assert f"/v1/challenges/{issued.json()['id']}" == place
    assert issued.json() == dev.api.get(place).json()


def test_only_the_number_is_required(dev: Dev) -> None:
    """The default purpose is `login`, and there is no account."""
    view = dev.issue().json()

    assert "login" == view["purpose"]
    assert view["account"] is None


def test_ids_cannot_be_guessed(dev: Dev) -> None:
    """They have 128 random bits or more, need no escape, differ, and contain no number."""
    challenges = [dev.challenge() for _ in range(3)]

    for challenge in challenges:
        assert re.fullmatch(r"[A-Za-z0-9._~-]{22,}", challenge.id)
        assert challenge.number[-7:] not in challenge.id
    assert 3 == len({challenge.id[:12] for challenge in challenges})


def test_the_message_goes_to_the_number(dev: Dev, challenge: Challenge) -> None:
    """One message with one code of six digits, the minutes, a warning, in one segment."""
    (message,) = dev.inbox(challenge.number)

    assert {"to", "text", "provider", "at"} == set(message)
    assert CODE.fullmatch(challenge.code)
    assert "5 min" in message["text"]
    assert re.search(r"share", message["text"], re.IGNORECASE)
    assert len(message["text"]) <= 160
    assert RFC_3339_UTC.fullmatch(message["at"])
    assert message["provider"] == challenge.issued["delivery"]["provider"]


@pytest.mark.parametrize("purpose", ["login", "a", "0", "a-b_c.d", "a" * 64])
def test_purposes_of_the_pattern_are_taken(dev: Dev, purpose: str) -> None:
    """`^[a-z0-9][a-z0-9._-]{0,63}$`."""
    assert purpose == dev.issue(purpose=purpose).json()["purpose"]


@pytest.mark.parametrize(
    "purpose", ["", "Login", "a" * 65, "-a", ".a", "a b", "login\n", "l\u00f6gin", 1, ["login"], {}]
)
def test_other_purposes_are_not(dev: Dev, purpose: Any) -> None:
    """Any other body is 400 with the invalid field."""
    assert_invalid(dev.issue(purpose=purpose))


def test_an_account_has_up_to_128_characters(dev: Dev) -> None:
    """The unit is characters, not bytes, and they are returned unchanged."""
    account = "\u00fc" * 128

    assert account == dev.issue(account=account).json()["account"]
    assert_invalid(dev.issue(account=account + "x"))
    assert_invalid(dev.issue(account=81))


@pytest.mark.parametrize(
    "address", ["203.0.113.9", "::1", "2001:DB8::9", "::ffff:203.0.113.10", "2001:db8::203.0.113.9"]
)
def test_addresses_are_taken(dev: Dev, address: str) -> None:
    """IPv4, IPv6, and IPv4 in IPv6."""
    assert 201 == dev.issue(client_ip=address).status_code


@pytest.mark.parametrize(
    "address",
    [
        "",
        "203.0.113.9:443",
        "[2001:db8::9]",
        "[2001:db8::9]:443",
        "fe80::1%eth0",
        "fe80::1%25eth0",
        "203.0.113",
        "203.0.113.256",
        "203.0.113.09",
        "203.0.113.9/32",
        "0xcb007109",
        " 203.0.113.9",
        "203.0.113.9\n",
        "localhost",
        3405803785,
        ["203.0.113.9"],
    ],
)
def test_what_is_no_bare_address_is_not(dev: Dev, address: Any) -> None:
    """Zones, ports, brackets and networks are 400, on verify as well."""
    assert_invalid(dev.issue(client_ip=address))


@pytest.mark.parametrize("locale", ["en", "en-GB", "de-DE", "zh-Hant-TW", "es-419", "DE-de"])
def test_locales_are_taken(dev: Dev, locale: str) -> None:
    """Upper and lower case are accepted, with script and region."""
    assert 201 == dev.issue(locale=locale).status_code


@pytest.mark.parametrize(
    "locale",
    ["", "e", "-", "en-", "-GB", "en GB", "en--GB", "../de", "en\n", "d\u00e9", 5, "a" * 99],
)
def test_malformed_locales_are_not(dev: Dev, locale: Any) -> None:
    """A locale is a language tag."""
    assert_invalid(dev.issue(locale=locale))


def test_the_message_speaks_the_language(dev: Dev) -> None:
    """A region falls back to its language; an unknown language to the tenant's default."""

    def text(**fields: str) -> str:
        challenge = dev.challenge(**fields)
        return str(dev.inbox(challenge.number)[0]["text"]).replace(challenge.code, "CODE")

    default = text()
    german = text(locale="de")

    assert text(locale="en") == default
    assert text(locale="en-ZZ") == default
    assert text(locale="tlh") == default
    assert text(locale="zz-ZZ") == default
    assert text(locale="de-AT") == german
    assert text(locale="DE-at") == german
    others = [text(locale=tag) for tag in ("fr", "es", "it", "nl", "pl", "pt", "tr")]
    assert 9 == len({default, german, *others})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"+447400100001"',
        b"{}",
        b'{"phone_number": "+447400100001",}',
        b"{'phone_number': '+447400100001'}",
        b'{"phone_number": "+447400100001"} {}',
        b'{"phone_number": "+447400100001", "phone_number": "+447400100001"}',
        b'{"phone_number": "+447400100001", "phone\\u005fnumber": "+447400100002"}',
        b'{"phone_number": "+447400100001", "phone": 1}',
        b'{"phone_number": "+447400100001", "code": "123456"}',
        b'{"phone_number": "+447400100001", "brand": "x\\r\\n@evil.example #000000"}',
        b'{"Phone_Number": "+447400100001"}',
        b'{"phone_number": "+447400100001", "account": NaN}',
        b'{"phone_number": "+447400100001", "account": "\xff\xfe"}',
        b'{"phone_number": "+447400100001", "account": "\\ud800"}',
        b'{"phone_number": "+447400100001", "account": "\xed\xa0\x80"}',
        b'\xff\xfe{\x00"\x00',
        b"[" * 10_000,
        b'{"phone_number":' * 500,
        b'{"account": ' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_no_issue_is_invalid(dev: Dev, body: bytes) -> None:
    """Broken JSON, other shapes, duplicate keys, unknown fields, bad UTF-8."""
    headers = {"Content-Type": "application/json"}

    assert_invalid(dev.api.post("/v1/challenges", content=body, headers=headers))
