"""The plugin of pytest, as docs/testing.md shows it, and the service that it starts."""

import contextlib
import re
import signal
import subprocess
import sys

import pytest

from otp_service_client import (
    OtpClient,
    RateLimited,
    ServiceUnreachable,
    Unauthenticated,
    development_service,
)
from otp_service_client.development_service import InboxMessage, start_development_service
from tests.processes import REPOSITORY_ROOT
from tests.store.redis_servers import wait_until


pytestmark = pytest.mark.slow

PAGE = REPOSITORY_ROOT / "docs" / "testing.md"
NUMBER = "+12025550123"


def run_pytest(folder, *options):
    """Return what a run of pytest in this folder printed; it must succeed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def test_the_tests_of_the_page_run_as_printed(tmp_path):
    """They use one number within a second, which the cooldown would refuse without the reset."""
    section = PAGE.read_text().partition("## In pytest")[2].partition("\n## ")[0]
    conftest, tests = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_login.py").write_text(tests)

    printed = run_pytest(tmp_path)

    assert "2 passed" in printed


def test_a_conftest_replaces_the_options(tmp_path):
    """As the page shows: with the limits of production, and a fixed code."""
    (tmp_path / "conftest.py").write_text(
        "import pytest\n"
        'pytest_plugins = ["otp_service_client.pytest_plugin"]\n'
        '@pytest.fixture(scope="session")\n'
        "def otp_service_options():\n"
        f'    return ["--production-limits", "--fixed-code", "{NUMBER}=246810"]\n'
    )
    (tmp_path / "test_limits.py").write_text(
        "import pytest\n"
        "from otp_service_client import RateLimited\n"
        "def test_a_second_code_is_refused_for_half_a_minute(otp_client):\n"
        f'    challenge = otp_client.issue_challenge("{NUMBER}")\n'
        '    otp_client.verify_challenge(challenge.id, "246810")\n'
        "    with pytest.raises(RateLimited) as refused:\n"
        f'        otp_client.issue_challenge("{NUMBER}")\n'
        "    assert refused.value.retry_after > 20\n"
    )

    assert "1 passed" in run_pytest(tmp_path)


def test_the_plugin_is_not_loaded_by_itself(tmp_path):
    """A package of an application must not change the runs of pytest that do not name it."""
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass")

    printed = run_pytest(tmp_path, "--fixtures")

    assert "tmp_path" in printed
    assert "otp_service" not in printed


def test_the_inbox_waits_for_a_newer_message(otp_client, otp_inbox):
    otp_client.issue_challenge(NUMBER)
    otp_client.issue_challenge("+12025550124")
    first = otp_inbox.wait_for_message(NUMBER)
    with pytest.raises(TimeoutError, match="within 1 s") as late:
        otp_inbox.wait_for_message(NUMBER, after=first, timeout_seconds=1)
    otp_client.issue_challenge(NUMBER)  # the wait was longer than the cooldown
    second = otp_inbox.wait_for_message(NUMBER, after=first)

    assert NUMBER not in str(late.value)
    assert [second, first] == otp_inbox.list_messages(NUMBER)
    assert 3 == len(otp_inbox.list_messages())
    assert second.code == otp_inbox.wait_for_code(NUMBER)
    assert first.at < second.at


def test_a_reset_deletes_messages_and_limits(otp_service, otp_client, otp_inbox):
    otp_client.issue_challenge(NUMBER)
    with pytest.raises(RateLimited):
        otp_client.issue_challenge(NUMBER)
    otp_service.reset()
    otp_client.issue_challenge(NUMBER)

    assert 1 == len(otp_inbox.list_messages())
    assert otp_service.api_key not in repr(otp_service)


def test_a_real_number_has_no_messages(otp_inbox):
    """The inbox says why, as it does in a browser."""
    with pytest.raises(ValueError, match="fictitious"):
        otp_inbox.wait_for_code("+447400123456")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Your Example code is 463194. It is valid for 5 min.", "463194"),
        ("Your code is 463194.\n\n@example.com #463194", "463194"),
        ("您的代码是463194,5分钟内有效", "463194"),
    ],
)
def test_a_message_has_one_code(text, code):
    message = InboxMessage(to=NUMBER, text=text, provider="inbox", at=None)

    assert code == message.code


def test_a_message_with_two_numbers_is_not_guessed_at():
    message = InboxMessage(to=NUMBER, text="1234 or 5678", provider="inbox", at=None)

    with pytest.raises(ValueError, match="2 numbers") as refused:
        _ = message.code
    assert "1234" not in str(refused.value)


def test_the_service_ends_with_its_block(tmp_path, monkeypatch):
    """Its address and its data folder are free. Variables of another service are not passed on."""
    monkeypatch.setenv("OTP_DEV_API_KEY", "worthless")
    with start_development_service(tmp_path) as dev:
        url = dev.url
        with OtpClient(url, "worthless") as client, pytest.raises(Unauthenticated):
            client.get_challenge("c00-" + "0" * 32)

    with OtpClient(url, "worthless") as client, pytest.raises(ServiceUnreachable):
        client.check_readiness()
    with start_development_service(tmp_path) as again, OtpClient(again.url, "x") as client:
        assert "development" == client.check_readiness().mode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_service_ends_with_the_tests_however_they_end(tmp_path, number):
    """A canceled CI job ends them by SIGTERM or SIGKILL, and nothing may be left on its machine."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["otp_service_client.pytest_plugin"]\n')
    (tmp_path / "test_forever.py").write_text(
        "import signal\n"
        "def test_forever(otp_service):\n"
        "    # A shell ignores SIGINT in what it runs in the background, and so do its children.\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    print(otp_service.url, flush=True)\n"
        "    signal.pause()\n"
    )
    command = [sys.executable, "-m", "pytest", "-sq", "-p", "no:cacheprovider"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as tests:
        url = tests.stdout.readline().strip()
        assert is_answering(url)
        tests.send_signal(number)

    wait_until(lambda: not is_answering(url), timeout_seconds=30)


def is_answering(url):
    with OtpClient(url, "worthless") as client, contextlib.suppress(ServiceUnreachable):
        return "development" == client.check_readiness().mode
    return False


def test_a_service_that_does_not_start_shows_its_log(tmp_path):
    with (
        pytest.raises(RuntimeError, match="did not start") as failed,
        start_development_service(tmp_path, ["--cooldown", "0"]),
    ):
        pass

    assert "--cooldown" in str(failed.value)


def test_a_missing_service_says_what_to_install(monkeypatch, tmp_path):
    """First the program of this Python, then the module, then the PATH."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert [sys.executable, "-m", "otp_service"] == development_service.find_service_command()

    monkeypatch.setattr(development_service.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="pip install otp-service"):
        development_service.find_service_command()

    program = tmp_path / "otp-service"
    program.touch(mode=0o755)
    assert [str(program)] == development_service.find_service_command()
