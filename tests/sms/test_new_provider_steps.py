"""The five steps of sms/README.md: its example provider is added to a copy of the package."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import otp_service
from otp_service.core.keys import generate_secret
from otp_service.settings import render_config


pytestmark = pytest.mark.slow

PACKAGE = Path(otp_service.__file__).parent
FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)
ONE = "+447400123456"

SETTINGS = """\
[providers.gateway]
type = "acme"
key = "k3y"
base_url = "{url}"
sender = "Example"

"""


@pytest.fixture
def written() -> str:
    """The file that step 2 shows."""
    (found,) = FENCED.findall((PACKAGE / "sms" / "README.md").read_text())
    return textwrap.dedent(f"   {found.strip()}\n")


@pytest.fixture
def copy(tmp_path, written) -> Path:
    """A folder with the package, one file more in it, and two lines more in the union."""
    package = tmp_path / "otp_service"
    shutil.copytree(PACKAGE, package)  # with what is compiled: each process would do it again
    (package / "sms/providers/acme.py").write_text(written)
    union = package / "sms/providers/__init__.py"
    text = union.read_text()
    assert "\n\nProvider = (\n" in text
    line = "from otp_service.sms.providers.acme import Acme\n\n\nProvider = (\n    Acme |\n"
    union.write_text(text.replace("\n\nProvider = (\n", line))
    return tmp_path


@pytest.fixture
def config(copy, gateway, server) -> Path:
    """What `init` writes, with this provider in place of the gateway."""
    text, _ = render_config(
        tenant="shop",
        brand="Example",
        countries=["GB"],
        generate_token=lambda: generate_secret(os.urandom),
    )
    text = text.replace("redis://127.0.0.1:6379/0", server.url)
    base = gateway.url.removesuffix("/v1/messages")
    ours = SETTINGS.format(url=base)
    text = re.sub(r"\[providers\.gateway\].*?(?=\[routing\])", ours, text, flags=re.DOTALL)
    path = copy / "otp.toml"
    path.touch(0o600)
    path.write_text(text)
    path.chmod(0o600)  # it holds secrets
    return path


async def run(copy: Path, *arguments: object) -> tuple[int | None, str]:
    """Run a command of the copy; return its exit code and what it said."""
    environ = os.environ | {"PYTHONPATH": str(copy)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, arguments),
        cwd=copy,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_a_provider_is_one_file_and_its_line(copy, config, gateway):
    """The settings read it, `check` shows it, and a message goes out; nothing else was changed."""
    gateway.set_reply(201, {"id": "m-1"})

    where = await run(copy, "-c", "import otp_service; print(otp_service.__file__)")
    checked = await run(copy, "-m", "otp_service", "check", "--config", config)
    sent = await run(copy, "-m", "otp_service", "send-test", ONE, "--config", config)

    assert str(copy / "otp_service" / "__init__.py") == where[1].strip()
    assert 0 == checked[0], checked[1]
    assert re.search(r"^providers\.gateway\.type +acme$", checked[1], re.MULTILINE)
    assert re.search(r"^providers\.gateway\.key +\*+$", checked[1], re.MULTILINE)
    assert (0, True) == (sent[0], "accepted, id m-1." in sent[1]), sent[1]
    (asked,) = gateway.requests
    assert ("POST", "/v1/messages") == (asked.method, asked.target)
    assert "bearer k3y" == asked.headers["authorization"]
    assert (ONE, "Example", 300) == (asked.json["to"], asked.json["from"], asked.json["ttl"])


async def test_its_table_decides_what_is_next(copy, config, gateway):
    """A number that is refused permanently, and an account's fault, are reported as such."""
    gateway.set_reply(400, {"error": "no-such-number"})
    number = await run(copy, "-m", "otp_service", "send-test", ONE, "--config", config)
    gateway.set_reply(400, {"error": "no-credit"})
    account = await run(copy, "-m", "otp_service", "send-test", ONE, "--config", config)

    assert "refused the number itself (no-such-number)" in number[1]
    assert "refused the account, not this message (no-credit)" in account[1]


def test_what_the_readme_shows_is_as_our_own_files_are(written):
    """Formatted, and nothing that ruff would say of it."""
    ruff = Path(sys.executable).with_name("ruff")
    name = PACKAGE / "sms/providers/acme.py"

    for command in (["check"], ["format", "--diff"]):
        looked = subprocess.run(
            [ruff, *command, "--stdin-filename", name, "-"],
            input=written,
            capture_output=True,
            text=True,
            check=False,
            cwd=PACKAGE.parent,
        )

        assert 0 == looked.returncode, looked.stdout + looked.stderr
