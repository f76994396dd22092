"""The members of an issue by which a caller helps the brake on SMS pumping."""

import pytest

from otp_service.core.errors import InvalidRequest
from otp_service.core.pumping.bot_check import BotCheck
from otp_service.schemas import IssueRequest
from otp_service.service.idempotency import list_issue_fields
from tests.installation import Installation


NUMBER = "+447400123456"


async def test_a_tenant_that_is_not_trusted_cannot_say_that_a_number_is_known(
    installation: Installation,
) -> None:
    """R31: also a caller in this process, whose request no parser has checked. Nothing is charged."""
    with pytest.raises(InvalidRequest) as refused:
        await installation.issue(known=True)

    assert ["known"] == [path for path, _ in refused.value.errors]
    assert [] == await installation.list_keys("*")


def test_a_repeat_has_the_same_signals():
    """Otherwise a repeat that claims more would be answered with the result of the first call."""
    requests = [
        IssueRequest(NUMBER, known=known, bot_check=bot_check)
        for known in (None, False, True)
        for bot_check in (None, *BotCheck)
    ]

    assert len(requests) == len({list_issue_fields(request) for request in requests})


def test_the_fingerprint_of_a_call_without_signals_is_that_of_earlier_versions():
    """During an upgrade, a repeat may reach another version than its first call."""
    request = IssueRequest(NUMBER, "payment", "de", "203.0.113.9", "u-81")

    assert (NUMBER, "payment", "de", "203.0.113.9", "u-81") == list_issue_fields(request)
