"""The one command of the example: where it cannot start, it says what to do."""

import json

import httpx
import pytest

from tests.examples.example_site import FRAMEWORKS, run_example, start_server
from tests.store import redis_servers


pytestmark = pytest.mark.slow

UNUSED_URL = f"http://127.0.0.1:{redis_servers.find_free_port()}"


def test_without_a_running_service_it_says_how_to_start_one(tmp_path):
    (tmp_path / "keys.json").write_text(json.dumps({"api_key": "worthless"}))

    ended = run_example("--otp", UNUSED_URL, "--data", str(tmp_path))

    assert 1 == ended.returncode
    assert (
        f"No service answers at {UNUSED_URL}. Start it in another terminal: make run. If it has another "
        "port, name it: --otp URL --admin URL\n" == ended.stderr
    )


def test_without_a_key_it_says_where_it_looked(tmp_path):
    ended = run_example("--otp", UNUSED_URL, "--data", str(tmp_path))

    assert 1 == ended.returncode
    assert ended.stderr.startswith(f"There is no key in {tmp_path}: start the service first")


def test_the_key_of_another_service_is_refused(service):
    url = f"http://127.0.0.1:{service.port}"

    ended = run_example("--otp", url, OTP_DEV_API_KEY="worthless")

    assert 1 == ended.returncode
    assert f"The service at {url} does not take this key. Set OTP_DEV_API_KEY" in ended.stderr


def test_a_port_that_is_in_use_is_refused(service):
    url = f"http://127.0.0.1:{service.port}"

    ended = run_example(
        "--otp", url, "--port", str(service.port), OTP_DEV_API_KEY=service.keys["dev"]
    )

    assert 1 == ended.returncode
    assert f"Port {service.port} cannot be used. Choose another one with --port.\n" == ended.stderr


def test_an_address_that_would_send_the_key_in_the_clear_is_refused():
    ended = run_example("--otp", "http://otp.example:8000", OTP_DEV_API_KEY="worthless")

    assert 1 == ended.returncode
    assert "https" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_under_https_cookies_are_secure_and_of_one_host(framework, tmp_path):
    """That is the default: only the command for loopback turns it off."""
    port = redis_servers.find_free_port()
    target = {
        "fastapi": ["--interface", "asgi", "--factory", "examples.login.fastapi_app:create_app"],
        "django": ["--interface", "wsgi", "examples.login.django_site.wsgi:application"],
    }[framework]
    command = ["granian", "--port", str(port), *target]
    environment = {"OTP_URL": UNUSED_URL, "OTP_API_KEY": "worthless", "LOGIN_HOSTS": "127.0.0.1"}

    with start_server(command, port, tmp_path / "log", **environment) as url:
        answer = httpx.get(f"{url}/login")

    cookies = answer.headers.get_list("set-cookie")
    assert cookies
    for cookie in cookies:
        assert cookie.strip().startswith("__Host-")
        assert "; secure" in cookie.lower()
    assert "max-age=31536000" == answer.headers["strict-transport-security"]
