"""A secret is redacted when it is printed."""

import msgspec
import pytest

from otp_service.core.secret import Secret


class Settings(msgspec.Struct, frozen=True):
    """A struct with a secret."""

    key: Secret


def read(kind, value):
    """Decode a secret, as the settings do."""
    return kind(value)


def test_secret_prints_as_stars():
    """No way of printing it or its struct shows a character or its length (R68)."""
    secret = Secret("hunter2")

    shown = f"{secret} {secret!r} {secret!s:>30} {[secret]} {Settings(secret)} %s" % secret

    assert "hunter2" not in shown
    assert "**********" == str(secret)
    assert "hunter2" == secret.reveal()


def test_secret_is_not_encoded_by_accident():
    """msgspec refuses to encode it, so that no event, response or cache contains it."""
    with pytest.raises(TypeError):
        msgspec.json.encode(Settings(Secret("hunter2")))


def test_secret_is_read_through_a_hook():
    """Settings contain it like any other value."""
    settings = msgspec.convert({"key": "hunter2"}, Settings, dec_hook=read)

    assert Settings(Secret("hunter2")) == settings
    assert hash(Secret("hunter2")) == hash(settings.key)
    assert Secret("other") != settings.key
    assert "hunter2" != settings.key


@pytest.mark.parametrize("value", ["", 7, None, b"hunter2"])
def test_secret_has_to_be_a_string(value):
    """An empty secret is a forgotten one; the error names the field and not the value."""
    with pytest.raises(msgspec.ValidationError, match="a secret must be a nonempty") as error:
        msgspec.convert({"key": value}, Settings, dec_hook=read)

    assert "hunter2" not in str(error.value)
