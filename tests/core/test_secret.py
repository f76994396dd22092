"""A secret is not printed or encoded."""

import msgspec
import pytest

from otp_service.core.secret import Secret


class Settings(msgspec.Struct, frozen=True):
    """A struct with a secret field."""

    key: Secret


def decode_secret(kind, value):
    """Decode a type that msgspec does not know, as the settings do."""
    return kind(value)


def test_secret_is_printed_as_stars():
    """No way of printing it, or its owner, shows a character of it or its length (R68)."""
    secret = Secret("hunter2")

    shown = f"{secret} {secret!r} {secret!s:>30} {[secret]} {Settings(secret)} %s" % secret

    assert "hunter2" not in shown
    assert "**********" == str(secret)
    assert "hunter2" == secret.reveal()


def test_secret_is_not_encoded_by_accident():
    """msgspec refuses to encode one, so that it is in no event, response or cache."""
    with pytest.raises(TypeError):
        msgspec.json.encode(Settings(Secret("hunter2")))


def test_secret_is_decoded_through_a_hook():
    """Settings decode one like any other value."""
    settings = msgspec.convert({"key": "hunter2"}, Settings, dec_hook=decode_secret)

    assert Settings(Secret("hunter2")) == settings
    assert hash(Secret("hunter2")) == hash(settings.key)
    assert Secret("other") != settings.key
    assert "hunter2" != settings.key


@pytest.mark.parametrize("value", ["", 7, None, b"hunter2"])
def test_secret_has_to_be_a_string(value):
    """An empty value is a forgotten one; the error has its path and not its content."""
    with pytest.raises(msgspec.ValidationError, match="a secret must be a nonempty") as error:
        msgspec.convert({"key": value}, Settings, dec_hook=decode_secret)

    assert "hunter2" not in str(error.value)
