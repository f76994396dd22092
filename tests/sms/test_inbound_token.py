"""The secrets of /v1/inbound in the settings of a provider, for every type that has an address."""

from typing import Any

import pytest
from msgspec.structs import replace

from otp_service.core.secret import Secret
from otp_service.settings.provider_rules import find_provider_errors
from otp_service.sms.inbound_token import find_inbound_token_errors
from tests.sms.providers.test_provider_contract import CONTRACTS


TOKEN, PREVIOUS = Secret("worthless-token-of-inbound"), Secret("worthless-token_of.before~")


def list_refused(token: Secret | None, previous: Secret | None) -> list[str]:
    """Return the fields with an error."""
    return [field for field, _ in find_inbound_token_errors(token, previous)]


def test_none_one_or_two_tokens_are_accepted() -> None:
    """The second is for the time in which the address at the vendor is changed."""
    assert [] == list_refused(None, None)
    assert [] == list_refused(TOKEN, None)
    assert [] == list_refused(TOKEN, PREVIOUS)


def test_a_token_is_long_and_has_one_form_in_an_address() -> None:
    """A plus or a percent sign is another character there, and 16 characters are the least."""
    for text in (
        "worthless-15-ch",
        "worthless token of",
        "worthless+token+of",
        "worthless%2Dtoken%2D",
    ):
        assert ["inbound_token"] == list_refused(Secret(text), None), text
        assert ["previous_inbound_token"] == list_refused(TOKEN, Secret(text)), text
    assert [] == list_refused(Secret("worthless-16-cha"), None)


def test_the_previous_token_needs_another_one_in_force() -> None:
    """Alone it would be no rotation, and the same one twice would be none either."""
    assert ["previous_inbound_token"] == list_refused(None, PREVIOUS)
    assert ["previous_inbound_token"] == list_refused(TOKEN, Secret(TOKEN.reveal()))


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_type_has_both_and_its_errors_are_found(name: str) -> None:
    """All of them come from `check` at once."""
    dialect: Any = CONTRACTS[name].dialect("https://sms.example")
    errors_before = find_provider_errors(dialect)
    right = replace(dialect, inbound_token=TOKEN, previous_inbound_token=PREVIOUS)
    short = Secret("worthless")
    wrong = replace(dialect, inbound_token=short, previous_inbound_token=short)

    assert () == dialect.inbound_tokens
    assert (TOKEN, PREVIOUS) == right.inbound_tokens
    assert errors_before == find_provider_errors(right)
    added = [field for field, _ in find_provider_errors(wrong)][len(errors_before) :]
    assert ["inbound_token", "previous_inbound_token", "previous_inbound_token"] == added
