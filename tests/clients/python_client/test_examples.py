"""The programs of the client's README and of docs/clients.md run as printed."""

import asyncio
import re
from types import SimpleNamespace

import pyotp
import pytest

from otp_service_client import AsyncOtpClient, OtpClient
from tests.clients.python_client.conftest import change_code, list_codes
from tests.processes import REPOSITORY_ROOT


pytestmark = pytest.mark.slow

README = REPOSITORY_ROOT / "clients" / "python" / "README.md"
PAGE = REPOSITORY_ROOT / "docs" / "clients.md"


@pytest.fixture
def environment(service, monkeypatch):
    """Set the variables that the programs read."""
    monkeypatch.setenv("OTP_URL", f"http://127.0.0.1:{service.port}")
    monkeypatch.setenv("OTP_API_KEY", service.keys["dev"])


def run_programs(path):
    """Return the names that the Python programs of a page define."""
    names = {}
    for program in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
        exec(compile(program, path.name, "exec"), names)  # noqa: S102  # our own example
    return SimpleNamespace(**names)


@pytest.mark.usefixtures("environment")
def test_the_login_of_the_readme_accepts_only_the_right_code(service, number):
    flow, session = run_programs(README), {}

    with flow.create_client() as otp:
        flow.send_code(otp, session, "u-81", number, "203.0.113.9")
        (code,) = list_codes(service, number)
        results = [
            flow.check_code(otp, session, "u-81", attempt, "203.0.113.9")
            for attempt in (change_code(code), code, code)
        ]

    assert [False, True, False] == results


def test_the_coroutine_of_the_readme_stores_the_returned_token(service):
    flow, url = run_programs(README), f"http://127.0.0.1:{service.port}"
    with OtpClient(url, service.keys["dev"]) as otp:
        created = otp.create_authenticator("u-82")
        app = pyotp.TOTP(created.secret)
        active = otp.confirm_authenticator(created.authenticator, "u-82", app.now())
    user = {"account": "u-82", "authenticator": active.authenticator}

    async def verify() -> None:
        async with AsyncOtpClient(url, service.keys["dev"]) as otp:
            # The code of the next step is accepted already.
            await flow.verify_app_code(otp, user, app.at(active.confirmed_at.timestamp() + 30))

    asyncio.run(verify())

    assert user["authenticator"].startswith("a1.")


@pytest.mark.usefixtures("environment")
def test_the_login_of_the_page_shows_one_message_for_each_group(service, number):
    flow, session = run_programs(PAGE), {}

    with flow.otp:
        invalid = flow.start_login(session, "u-81", "07700 900123", "203.0.113.9")
        sent = flow.start_login(session, "u-81", number, "203.0.113.9")
        early = flow.start_login(session, "u-81", number, "203.0.113.9")
        (code,) = list_codes(service, number)
        results = [
            flow.finish_login(session, "u-81", attempt, "203.0.113.9")
            for attempt in (change_code(code), code)
        ]

    assert invalid.startswith("We cannot send a code to this number.")
    assert "We have sent a code." == sent
    assert re.fullmatch(r"Too many attempts\. Try again in \d+ seconds\.", early)
    assert [False, True] == results
