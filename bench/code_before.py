"""The code of an earlier commit, in a temporary folder, to run with the same libraries."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from bench.engines import REPOSITORY, Program


class CommitNotFoundError(Exception):
    """The commit is not in this repository, or this is not one; the text is git's."""


def extract_commit(commit: str, folder: Path) -> Program:
    """Write the files of a commit to a folder. Raises CommitNotFoundError."""
    git = shutil.which("git")
    if git is None:
        raise CommitNotFoundError("git is not installed")
    command = [git, "-C", str(REPOSITORY), "archive", "--format=tar", commit, "otp_service"]
    result = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  # of ours
    if result.returncode:
        raise CommitNotFoundError(result.stderr.decode(errors="replace").strip())
    with tarfile.open(fileobj=io.BytesIO(result.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return Program(code=folder)
