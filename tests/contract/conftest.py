"""The service under test."""

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
