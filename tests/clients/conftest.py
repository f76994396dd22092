"""Fixtures of the tests of clients: npm packages, and a service to call."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.npm_packages import install_packages
from tests.processes import RunningService, run_dev


@pytest.fixture(scope="session")
def npm_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with the npm packages, which the workers of pytest-xdist share.

    The last of them deletes it: pytest would keep its 400 MB of three runs.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / "npm.users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        yield install_packages(folder / "npm")
        with contextlib.suppress(BlockingIOError):  # another worker uses it
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder / "npm")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Return `otp-service dev` with a short cooldown."""
    data = tmp_path_factory.mktemp("dev") / "data"
    with run_dev(data, "--cooldown", "1") as service:
        yield service
