"""Characters that cannot be seen are refused in every text of every provider's settings."""

from typing import Any

import msgspec
import pytest

from otp_service.core.secret import Secret
from otp_service.settings.provider_rules import find_provider_errors
from otp_service.sms.provider_settings import BasicAuth
from otp_service.sms.providers.aws import Aws
from otp_service.sms.providers.generic_http import GenericHttp
from otp_service.sms.providers.kannel import Kannel
from otp_service.sms.providers.sns import Sns
from tests.sms.providers.test_provider_contract import CONTRACTS
from tests.sms.smpp.samples import build_settings


URL = "https://sms.example/send"
KEYS: dict[str, Any] = {
    "access_key_id": Secret("AKIDEXAMPLE"),
    "secret_access_key": Secret("wJalrXUtnFEMI"),
}
SETTINGS = {
    **{name: contract.dialect(URL) for name, contract in CONTRACTS.items()},
    "smpp": build_settings(2775),
    "aws": Aws(region="eu-west-1", session_token=Secret("tOk"), **KEYS),
    "sns": Sns(region="eu-west-1", **KEYS),
    "kannel": Kannel(username="foo", password=Secret("bar")),
    "http, basic": GenericHttp(
        url=URL, fields={"to": "{to}", "text": "{text}"}, basic=BasicAuth("user", Secret("pass"))
    ),
}
UNSEEN = {
    "a byte order mark": "\ufeff{}",
    "a line break at the end": "{}\n",
    "a line break inside": "ab\r\n{}",
    "a NUL": "{}\0",
    "a space at the end": "{} ",
    "a no-break space": "\u00a0{}",
    "a zero-width space": "ab\u200b{}",
    "half a surrogate pair": "{}\udcff",
    "a right-to-left mark": "{}\u202e",
}
SEEN_FIELDS = {"type", "body", "signature_method"}
"""A choice of words: msgspec refuses all others when the settings are read."""


def list_texts(settings):
    """Return the fields with a text or a secret."""
    return [
        field
        for field in settings.__struct_fields__
        if isinstance(getattr(settings, field), str | Secret) and field not in SEEN_FIELDS
    ]


def write_into(settings, field, pattern):
    """Return the settings with this text around the value of a field."""
    value = getattr(settings, field)
    if isinstance(value, Secret):
        return msgspec.structs.replace(settings, **{field: Secret(pattern.format(value.reveal()))})
    return msgspec.structs.replace(settings, **{field: pattern.format(value or "Example")})


@pytest.mark.parametrize("name", SETTINGS)
def test_unseen_characters_are_refused_in_every_text(name):
    """Each field of each vendor, with a remedy that repeats nothing of a secret."""
    settings = SETTINGS[name]
    assert list_texts(settings)

    for field in list_texts(settings):
        for pattern in UNSEEN.values():
            errors = find_provider_errors(write_into(settings, field, pattern))

            assert [path for path, _ in errors if path.startswith((field, "url"))], (field, pattern)


@pytest.mark.parametrize("name", SETTINGS)
def test_credentials_and_senders_are_ascii(name):
    """No header holds anything else; a person's password and a body may."""
    settings = SETTINGS[name]
    fields = [each for each in list_texts(settings) if each not in {"username", "password"}]

    for field in fields:
        errors = find_provider_errors(write_into(settings, field, "{}\u20ac"))

        assert [path for path, _ in errors if path.startswith((field, "url"))], field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("secret_headers", {"x-key": Secret("\ufeffk3y")}),
        ("secret_fields", {"key": Secret("k3y\n")}),
        ("headers", {"x-one": "a\u20ac"}),
        ("basic", BasicAuth("us\u200ber", Secret("pass"))),
        ("basic", BasicAuth("user", Secret("\ufeffpass"))),
        ("fields", {"to": "{to}", "text": "\ufeff{text}"}),
    ],
)
def test_nested_texts_are_read_too(field, value):
    """Headers, fields and a password of the `http` provider."""
    settings = msgspec.structs.replace(SETTINGS["http, basic"], **{field: value})

    assert [path for path, _ in find_provider_errors(settings) if path.startswith(f"{field}.")]


def test_senders_by_country_are_read_too():
    """A name for one country."""
    settings = msgspec.structs.replace(SETTINGS["kannel"], senders={"GB": "Br\u00e4nd"})

    assert ["senders.GB"] == [path for path, _ in find_provider_errors(settings)]


def test_what_people_choose_may_have_any_letters():
    """A password with an umlaut, and a body in another language, are sent as UTF-8."""
    kannel = msgspec.structs.replace(SETTINGS["kannel"], password=Secret("s\u00e4fe"))
    fields = {"to": "{to}", "text": "{text}\n@example.com #1", "note": "gr\u00fcn"}
    http = msgspec.structs.replace(
        SETTINGS["http, basic"], fields=fields, basic=BasicAuth("user", Secret("s\u00e4fe"))
    )

    assert [] == find_provider_errors(kannel)
    assert [] == find_provider_errors(http)


def test_the_remedy_names_the_character_alone():
    """It says which one, and nothing of the secret."""
    settings = msgspec.structs.replace(SETTINGS["kannel"], password=Secret("hun\ufeffter2"))

    ((path, remedy),) = find_provider_errors(settings)

    assert "password" == path
    assert "U+FEFF" in remedy
    assert "ter2" not in remedy
