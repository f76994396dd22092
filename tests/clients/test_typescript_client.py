"""The TypeScript client is complete, and does at a real service what its README says, on every runtime.

typescript/ has the programs: real_service.ts calls everything, lost_replies.ts does so through a proxy,
odd_replies.ts has what neither brings about, and completeness.ts only compiles. Node runs the package as
npm packs it; Deno and Bun run the sources as they are.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import otp_service_client
from tests.clients.npm_packages import CLIENT, HERE, build_client, find_tool, run_program
from tests.faulty_http_proxy import FaultyHttpProxy
from tests.processes import REPOSITORY_ROOT, RunningService


pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

DOCUMENT = REPOSITORY_ROOT / "openapi.yaml"
REWRITE_VARIABLE = "OTP_GOLDEN_WRITE"

DENO = "node_modules/@deno/*/deno run --quiet --allow-net=127.0.0.1 --allow-env"
RUNTIMES = {
    "Node": "node programs/main.js",
    "Node 18": "node_modules/node-linux-*/bin/node programs/main.js",
    "Deno": f"{DENO} source_programs/main.ts",
    "Bun": "node_modules/@oven/bun-*64/bin/bun source_programs/main.ts",
}
"""The command of each. Its first word may be a pattern for a file of the npm packages."""

FIRST_NUMBERS = {name: f"447700900{index}00" for index, name in enumerate(RUNTIMES)}


@pytest.fixture(scope="session")
def client_folder(npm_folder: Path) -> Path:
    """Return the folder of the packages, with the built client and the programs that use it."""
    return build_client(npm_folder)


@pytest.fixture
def proxy(service: RunningService) -> Iterator[FaultyHttpProxy]:
    """Return a proxy to the service."""
    with FaultyHttpProxy(service.port) as proxy:
        yield proxy


def build_command(folder: Path, runtime: str) -> list[str]:
    """Return the command that runs all tests on a runtime."""
    program, *options = RUNTIMES[runtime].split()
    if "/" not in program:
        return [program, *options]
    found = sorted(folder.glob(program))
    if not found:
        pytest.skip(f"needs {runtime}, which npm has not for this platform")
    return [str(found[0]), *options]


def list_variables(service: RunningService, **more: str) -> dict[str, str]:
    """Return the environment of a program that calls the service."""
    types = re.findall(r"/problems/[a-z-]+", DOCUMENT.read_text())
    return {
        "API_URL": f"http://127.0.0.1:{service.port}",
        "OTP_URL": f"http://127.0.0.1:{service.port}",
        "OTP_API_KEY": service.keys["dev"],
        "ADMIN_URL": f"http://127.0.0.1:{service.admin_port}",
        "API_KEY": service.keys["dev"],
        "PROBLEM_TYPES": " ".join(sorted(set(types))),
        **more,
    }


def test_the_types_are_those_of_the_document(npm_folder: Path) -> None:
    """They are committed: a build needs TypeScript alone, and a reader sees them.

    After a change of openapi.yaml this test writes them with OTP_GOLDEN_WRITE=1.
    """
    committed = CLIENT / "src" / "openapi.ts"
    made = npm_folder / "openapi.ts"
    generator = str(find_tool(npm_folder, "openapi-typescript"))
    options = ("--root-types", "--root-types-no-schema-prefix", "--output", str(made))
    run_program(npm_folder, generator, str(DOCUMENT), *options)

    if os.environ.get(REWRITE_VARIABLE) == "1":
        committed.write_text(made.read_text())

    assert committed.read_text() == made.read_text()


def test_the_client_is_built_with_the_tools_that_are_locked_here() -> None:
    """It has no lock of its own, because its tools have no dependencies but types."""
    tools = json.loads((CLIENT / "package.json").read_text())
    locked = json.loads((HERE / "package.json").read_text())["dependencies"]

    assert "dependencies" not in tools
    assert tools["devDependencies"].items() <= locked.items()


def test_exceptions_have_the_names_of_the_python_client() -> None:
    """docs/clients.md has one table for both. 501 is a ServiceFailed in Python, where its name is taken."""
    modules = [(CLIENT / "src" / name).read_text() for name in ("errors.ts", "problems.ts")]
    names = re.findall(r"^export class (\w+)", "\n".join(modules), re.MULTILINE)
    python = {
        name
        for name, value in vars(otp_service_client.errors).items()
        if isinstance(value, type) and issubclass(value, otp_service_client.OtpServiceError)
    }

    assert python | {"NotImplemented"} == {*names}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_client_keeps_its_promises(
    runtime: str, client_folder: Path, service: RunningService, proxy: FaultyHttpProxy
) -> None:
    """At a real service, at one whose replies are lost, and at odd replies."""
    command = build_command(client_folder, runtime)
    number = FIRST_NUMBERS[runtime]
    variables = list_variables(service, PROXY_URL=proxy.url, FIRST_NUMBER=number)

    output = run_program(client_folder, *command, **variables)

    assert output.count("passed: ") > 30, output
