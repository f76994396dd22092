"""Fixed codes over HTTP: a login without the inbox, in `dev` and in test mode."""

import json
import os
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from otp_service.core.keys import KEY_RING_NAMES, generate_secret
from otp_service.core.tenant import hash_api_key
from tests.processes import RunningService, run_command, run_dev, run_service, send_request
from tests.store import redis_servers


pytestmark = pytest.mark.slow

NUMBER, AMERICAN_NUMBER = "+447700900555", "+19895550101"
CODE, AMERICAN_CODE = "012345", "000000"
CODES = {NUMBER: CODE, AMERICAN_NUMBER: AMERICAN_CODE}
API_KEY = secrets.token_urlsafe(32)


def build_test_mode() -> dict[str, Any]:
    """Return the settings of a service in test mode whose keys are all for tests."""
    api_key = (
        f'[{{id = "test-1", sha256 = "{hash_api_key(API_KEY).hex()}", scopes = ["challenges"]}}]'
    )
    rings = {
        f"KEYS__{ring.upper()}": f'[{{id = "test-1", secret = "{generate_secret(os.urandom)}"}}]'
        for ring in KEY_RING_NAMES
    }
    table = ", ".join(f'"{number}" = "{code}"' for number, code in CODES.items())
    return {
        "MODE": "test",
        "PROVIDERS__GATEWAY": '{type = "inbox"}',
        "TEST__FIXED_CODES": f"{{{table}}}",
        "TENANTS": f'{{shop = {{brand = "Shop", countries = ["GB", "US"], keys = {api_key}}}}}',
        **rings,
    }


@pytest.fixture(scope="module", params=["dev", "serve"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """The service in development, and in test mode."""
    folder = tmp_path_factory.mktemp("fixed-codes")
    if request.param == "dev":
        options = [f"--fixed-code={number}={code}" for number, code in CODES.items()]
        with run_dev(folder / "data", *options, DEV_API_KEY=API_KEY) as service:
            yield service
        return
    with (
        redis_servers.start_server(folder / "redis") as redis,
        run_service(
            folder, redis, ["http://127.0.0.1:9/"], workers=1, **build_test_mode()
        ) as service,
    ):
        yield service


def call(service: RunningService, path: str, **body: str) -> Any:
    """Return the answer to a POST of the login."""
    return send_request(service.port, "POST", path, key=API_KEY, body=body)


def test_a_login_types_a_code_that_it_knows(service: RunningService) -> None:
    """It never reads the inbox, in which the code is as well."""
    for number, code in CODES.items():
        issued = call(service, "/v1/challenges", phone_number=number).json
        path = f"/v1/challenges/{issued['id']}/verify"

        wrong = call(service, path, code="111111")
        verified = call(service, path, code=code)

        assert (422, 200) == (wrong.status, verified.status)
        inbox = f"/inbox.json?to=%2B{number[1:]}"
        (message,) = send_request(service.admin_port, "GET", inbox).json
        assert code in message["text"]


def test_the_code_of_another_number_is_drawn(service: RunningService) -> None:
    """Four numbers: all of them have the same code once in 10^18 runs."""
    numbers = [f"{NUMBER[:-1]}{digit}" for digit in range(4)]
    for number in numbers:
        assert 201 == call(service, "/v1/challenges", phone_number=number).status

    messages = send_request(service.admin_port, "GET", "/inbox.json").json
    texts = {m["text"] for m in messages if m["to"] in numbers}
    assert len(texts) > 1


def test_the_log_says_that_they_are_on_and_shows_none(service: RunningService) -> None:
    """Who reads it does not take it for a service whose codes are secret."""
    lines = [
        json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")
    ]

    assert "fixed codes are on, of 2 numbers" in [line["event"] for line in lines]
    text = service.log.read_text()
    assert NUMBER[1:] not in text
    assert AMERICAN_NUMBER[1:] not in text
    assert f'"{CODE}"' not in text


@pytest.mark.parametrize("service", ["serve"], indirect=True)
def test_check_says_it_too(service: RunningService) -> None:
    """For the configuration of the test mode; `dev` has no file."""
    config = service.log.parent / "otp.toml"
    variables = {f"OTP_{name}": text for name, text in build_test_mode().items()}

    _, output = run_command("check", "--config", str(config), **variables)

    assert "test.fixed_codes: are of 2 numbers" in output
    assert CODE not in output
    assert NUMBER not in output
