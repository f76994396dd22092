"""The wheel of the client has what it needs, and needs what it says."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from otp_service_client.connection import USER_AGENT
from tests.processes import REPOSITORY_ROOT


pytestmark = pytest.mark.slow

FOLDER = REPOSITORY_ROOT / "clients" / "python"
PROJECT = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]

USE_CODE = """
import sys
sys.path[:0] = sys.argv[1:]
from otp_service_client import AsyncOtpClient, OtpClient, ServiceUnreachable
AsyncOtpClient("https://otp.example.com", "worthless")
try:
    OtpClient("http://127.0.0.1:9", "worthless").check_liveness()
except ServiceUnreachable as error:
    print(error)
"""
"""Port 9 has no listener: the call goes through httpx, and ends there."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the wheel that the build backend of the lock makes."""
    folder = tmp_path_factory.mktemp("wheel")
    code = "import flit_core.buildapi as b, sys; print(b.build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(folder)]
    subprocess.run(command, cwd=FOLDER, check=True, timeout=60, capture_output=True)
    (path,) = folder.iterdir()
    return path


def find_distributions(requirement):
    """Return the distribution of a requirement, and all that it requires without extras."""
    name = re.match(r"[\w.-]+", requirement)[0]
    found = importlib.metadata.distribution(name)
    yield found
    for other in found.requires or ():
        if "extra ==" not in other and 'python_version < "3.11"' not in other:
            try:
                yield from find_distributions(other)
            except importlib.metadata.PackageNotFoundError:
                assert ";" in other, "it is for another Python"


def link_packages(requirements, folder):
    """Put the packages of these requirements, and no others, into a folder."""
    for requirement in requirements:
        for found in find_distributions(requirement):
            for name in {Path(file).parts[0] for file in found.files} - {"..", "__pycache__"}:
                link = folder / name
                if not link.exists():
                    link.symlink_to(found.locate_file(name))


def test_the_wheel_has_its_types_its_readme_and_its_licence(wheel):
    """No field names a host or a person, and no entry point loads the plugin by itself."""
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        (path,) = [name for name in names if name.endswith("/METADATA")]
        metadata = Parser().parsestr(files.read(path).decode())

    assert "otp_service_client/py.typed" in names
    assert "otp_service_client/pytest_plugin.py" in names
    assert not [name for name in names if "entry_points" in name]
    assert (FOLDER / "README.md").read_text().strip() == metadata.get_payload().strip()
    assert "Apache-2.0" == metadata["License-Expression"]
    assert (FOLDER / "LICENSE").read_bytes() == (REPOSITORY_ROOT / "LICENSE").read_bytes()
    assert metadata["Author-email"] is None
    assert {"httpx", "msgspec"} == {
        re.match(r"\w+", requirement)[0] for requirement in metadata.get_all("Requires-Dist")
    }


def test_the_installed_wheel_works_with_its_two_dependencies_alone(wheel, tmp_path):
    """Without pytest, the service and everything else of this environment."""
    installed, linked = tmp_path / "installed", tmp_path / "linked"
    linked.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet"]
    subprocess.run([*pip, "--target", str(installed), str(wheel)], check=True, timeout=60)
    link_packages(PROJECT["dependencies"], linked)

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", USE_CODE, str(installed), str(linked)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "" == done.stderr
    assert "check_liveness was not sent" in done.stdout


def test_the_client_is_for_the_pythons_of_the_service():
    service = tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text())["project"]

    def list_versions(project):
        return [name for name in project["classifiers"] if "Python :: 3." in name]

    assert service["requires-python"] == PROJECT["requires-python"]
    assert list_versions(service) == list_versions(PROJECT)
    assert "Private :: Do Not Upload" in PROJECT["classifiers"]


def test_the_version_of_the_user_agent_is_that_of_the_package():
    assert f"{PROJECT['name']}/{PROJECT['version']}" == USER_AGENT
