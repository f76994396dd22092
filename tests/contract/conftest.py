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
    """The service, for all tests of this folder; each uses numbers of its own."""
    with running(tmp_path_factory.mktemp("contract") / "data", DEV_API_KEY=KEY) as dev:
        yield dev


@pytest.fixture
def challenge(dev: Dev) -> Challenge:
    """A fresh challenge, pending."""
    return dev.challenge()


@pytest.fixture(scope="package")
def early(dev: Dev) -> Iterator[Challenge]:
    """Challenges from the beginning, so that the slow tests share their waits."""
    return iter([dev.challenge() for _ in range(10)])


@pytest.fixture(autouse=True)
def _begin_early(early: Iterator[Challenge]) -> None:
    """Let the cooldowns run while the quick tests do."""
