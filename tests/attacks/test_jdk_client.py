"""A2: the HTTP client of the JDK, which offers h2c in each request, can issue and verify."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import (
    WAIT_TIMEOUT_SECONDS,
    GatewayServer,
    RunningService,
)


pytestmark = pytest.mark.slow

SOURCE = Path(__file__).with_name("JdkClient.java")


@pytest.fixture(scope="module")
def java() -> str:
    """Return the path of a Java that can run a source file, or skip."""
    found = shutil.which("java")
    if found is None or "jdk.compiler" not in list_modules(found):
        pytest.skip("needs a JDK: apt install default-jdk-headless")
    return found


def list_modules(java: str) -> str:
    """Return the modules of a Java; a runtime without the compiler cannot run a source file."""
    result = subprocess.run(
        [java, "--list-modules"], capture_output=True, text=True, check=False, timeout=60
    )
    return result.stdout


def run_client(
    java: str, url: str, key: str, number: str, *, code_of: Callable[[], str]
) -> list[str]:
    """Run the client; return its output lines. `code_of` returns the code of the issued challenge."""
    command = [java, "-Xshare:auto", "-XX:TieredStopAtLevel=1", str(SOURCE), url, key, number]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            first = process.stdout.readline()
            assert first.startswith("issued 201"), first + process.stdout.read()
            output, _ = process.communicate(f"{code_of()}\n", timeout=WAIT_TIMEOUT_SECONDS)
        finally:
            process.kill()
    return [first.strip(), *output.splitlines()]


def test_the_client_of_the_jdk_logs_in_at_serve(
    java: str, service: RunningService, gateway: GatewayServer, number: str
) -> None:
    """Every issue and verify was 400 while `Upgrade` was refused."""
    url = f"http://127.0.0.1:{service.port}"

    lines = run_client(
        java, url, service.keys["shop"], number, code_of=lambda: gateway.find_code(number)
    )

    assert ["wrong 422", "verified 200"] == lines[1:]
    assert "HTTP_1_1" in lines[0]
