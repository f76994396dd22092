"""`otp-service dev` is an emulator of Twilio Verify: the SDK as it is installed, over HTTP."""

import re

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from otp_service.settings.development import DEV_ACCOUNT_SID, DEV_SERVICE_SID
from tests.installation import make_wrong_code
from tests.processes import CODE_PATTERN, RunningService


pytestmark = pytest.mark.slow

NUMBER = "+447700900123"


def test_the_printed_line_points_the_sdk_here(emulator: RunningService) -> None:
    """An application changes that line; the rest of this test is what it does today."""
    printed = re.search(
        r"^ +(client = Client\(.*twilio\")$", emulator.log.read_text(), re.MULTILINE
    )
    assert printed
    names: dict[str, Client] = {}
    exec(printed[1], {"Client": Client}, names)  # noqa: S102  # a user pastes it
    verify_service = names["client"].verify.v2.services(DEV_SERVICE_SID)

    started = verify_service.verifications.create(to=NUMBER, channel="sms")
    code = CODE_PATTERN.findall(emulator.fetch_inbox()[0]["text"])[0]
    wrong = verify_service.verification_checks.create(to=NUMBER, code=make_wrong_code(code))
    with pytest.raises(TwilioRestException) as refused:
        verify_service.verifications.create(to=NUMBER, channel="sms")
    fetched = verify_service.verifications(started.sid).fetch()
    approved = verify_service.verification_checks.create(to=NUMBER, code=code)
    with pytest.raises(TwilioRestException) as repeated:
        verify_service.verification_checks.create(to=NUMBER, code=code)
    listed = names["client"].verify.v2.services.list(page_size=20)

    assert started.url.startswith(f"http://127.0.0.1:{emulator.port}/twilio/v2/")
    assert ("pending", False) == (wrong.status, wrong.valid)
    assert (429, 60212) == (refused.value.status, refused.value.code)
    assert started.sid == fetched.sid
    assert ("approved", True) == (approved.status, approved.valid)
    assert (404, 20404) == (repeated.value.status, repeated.value.code)
    assert [(DEV_SERVICE_SID, DEV_ACCOUNT_SID)] == [(each.sid, each.account_sid) for each in listed]
