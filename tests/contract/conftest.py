"""The service under test, and challenges that wait for their cooldowns."""

from collections.abc import Iterator

import pytest

from tests.contract.support import (
    KEY,
    Challenge,
    Dev,
    running,
)


@pytest.fixture(scope="package")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """The service, for all tests of this folder; each test uses its own numbers."""
    with running(tmp_path_factory.mktemp("contract") / "data", DEV_API_KEY=KEY) as dev:
        yield dev


@pytest.fixture
def challenge(dev: Dev) -> Challenge:
    """A new pending challenge."""
    return dev.challenge()


@pytest.fixture(scope="package")
def early(dev: Dev) -> Iterator[Challenge]:
    """Challenges issued at the start, so that the slow tests share their waits."""
    return iter([dev.challenge() for _ in range(10)])


@pytest.fixture(autouse=True)
def _begin_early(early: Iterator[Challenge]) -> None:
    """Let the cooldowns elapse during the quick tests."""
