"""The steps of audit/sinks/README.md, followed in a copy of the package with the sink shown there."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import otp_service
from otp_service.audit.archive_format.key_files import create_key_files
from otp_service.audit.archive_format.segments import list_segments
from otp_service.core.keys import generate_secret
from otp_service.settings import render_config
from otp_service.store.embedded import EmbeddedServer
from tests.store import redis_servers


pytestmark = pytest.mark.slow

PACKAGE = Path(otp_service.__file__).parent
PAGE_TEST = Path(__file__).parents[2] / "settings/test_sinks_page.py"
README = (PACKAGE / "audit/sinks/README.md").read_text()

SETTINGS = """\
[audit]
archive = "{folder}/archive"
signing_key = "{folder}/audit.pem"
seal = "alone"
seal_seconds = 1

[audit.sinks.agent]
type = "unix"
path = "{socket}"
"""


@pytest.fixture
def module_text() -> str:
    """The module that step 2 shows."""
    (text,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    return textwrap.dedent(f"   {text.strip()}\n")


@pytest.fixture
def copy(tmp_path: Path, module_text: str) -> Path:
    """A folder with a copy of the package after steps 2 and 3."""
    package = tmp_path / "otp_service"
    shutil.copytree(PACKAGE, package)  # with what is compiled: each process would do it again
    (package / "audit/sinks/unix.py").write_text(module_text)
    union = package / "audit/sinks/__init__.py"
    text = union.read_text()
    assert "\nLineSinkSettings = " in text
    imported = "from otp_service.audit.sinks.unix import UnixSinkSettings\n\n\n"
    line = f"\n{imported}LineSinkSettings = UnixSinkSettings | "
    union.write_text(text.replace("\nLineSinkSettings = ", line))
    return tmp_path


class Agent:
    """An agent on a Unix socket: it reads a connection to its end, and then closes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[bytes] = []

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keep the lines of one connection."""
        self.lines += (await reader.read()).splitlines()
        writer.close()


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    """An agent whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory() as folder:
        agent = Agent(Path(folder) / "agent")
        async with await asyncio.start_unix_server(agent.receive, agent.path):
            yield agent


@pytest.fixture
def config(copy: Path, server: EmbeddedServer, agent: Agent) -> Path:
    """The file that `init` writes, with an archive and the new sink, and an empty Redis."""
    redis_servers.flush_server(server)
    create_key_files(copy / "audit.pem")
    text, _ = render_config(
        tenant="shop",
        brand="Example",
        countries=["GB"],
        generate_token=lambda: generate_secret(os.urandom),
        provider_url="http://127.0.0.1:9/messages",
    )
    text = text.replace("redis://127.0.0.1:6379/0", server.url)
    text = re.sub(r"^(archive|signing_key) = .*\n", "", text, flags=re.MULTILINE)
    text = text.replace("[audit]\n", SETTINGS.format(folder=copy, socket=agent.path))
    path = copy / "otp.toml"
    path.touch(0o600)
    path.write_text(text)
    return path


async def start(copy: Path, *arguments: object, **environ: str) -> asyncio.subprocess.Process:
    """Start Python with the copy before the repository on its path."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, arguments),
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)} | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def run(copy: Path, *arguments: object, **environ: str) -> tuple[int | None, str]:
    """Run Python with the copy; return its exit code and its output."""
    process = await start(copy, *arguments, **environ)
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_a_sink_is_one_file_and_its_line(copy: Path, config: Path, agent: Agent) -> None:
    """`check` shows the settings, and the sealer delivers every line; nothing else was changed."""
    where = await run(copy, "-c", "import otp_service; print(otp_service.__file__)")
    checked = await run(copy, "-m", "otp_service", "check", "--config", config)
    sealer = await start(copy, "-m", "otp_service", "audit", "seal", "--config", config)
    try:
        async with asyncio.timeout(20):
            while not any(line.startswith(b'{"seal":') for line in agent.lines):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        sealer.terminate()
        output, _ = await sealer.communicate()

    assert str(copy / "otp_service" / "__init__.py") == where[1].strip()
    assert re.search(r"^audit\.sinks\.agent\.type +unix$", checked[1], re.MULTILINE), checked[1]
    assert 0 == sealer.returncode, output.decode()
    archived = [
        line
        for segment in list_segments(copy / "archive")
        for line in segment.read_bytes().splitlines()
    ]
    assert archived == list(dict.fromkeys(agent.lines))


async def test_its_errors_are_those_of_the_settings(copy: Path, config: Path) -> None:
    """Each has the name of the sink and of the setting."""
    variable = {"OTP_AUDIT__SINKS__AGENT__PATH": "agent"}
    arguments = ("-m", "otp_service", "check", "--config", config)

    exit_code, output = await run(copy, *arguments, **variable)

    assert 0 != exit_code
    assert "audit.sinks.agent.path: write the absolute path of the socket" in output


async def test_the_row_of_step_4_is_what_the_test_of_the_page_asks_for(copy: Path) -> None:
    """Without the row that test fails, so no sink is forgotten."""
    check = (
        f"import runpy; page = runpy.run_path({str(PAGE_TEST)!r}); "
        "(test,) = [page[name] for name in page if name.startswith('test_every_type_has_a_row')]; "
        "[test(kind) for kind in page['KINDS']]"
    )
    without_row = await run(copy, "-c", check)
    (row,) = re.findall(r"^ *(\| `unix` .*)$", README, re.MULTILINE)
    page = copy / "otp_service/audit/SINKS.md"
    page.write_text(page.read_text().replace("| `file` ", f"{row}\n| `file` "))

    with_row = await run(copy, "-c", check)

    assert (1, True) == (without_row[0], "KeyError: 'unix'" in without_row[1]), without_row[1]
    assert (0, "") == with_row


def test_the_example_follows_the_rules_of_the_repository(module_text: str) -> None:
    """ruff neither reports nor reformats anything."""
    ruff = Path(sys.executable).with_name("ruff")
    name = PACKAGE / "audit/sinks/unix.py"

    for command in (["check"], ["format", "--diff"]):
        result = subprocess.run(
            [ruff, *command, "--stdin-filename", name, "-"],
            input=module_text,
            capture_output=True,
            text=True,
            check=False,
            cwd=PACKAGE.parent,
        )

        assert 0 == result.returncode, result.stdout + result.stderr
