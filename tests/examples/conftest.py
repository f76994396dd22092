"""Both sites of the example login, next to one service."""

from collections.abc import Iterator

import pytest

from tests.examples.example_site import FRAMEWORKS, ExampleSite, Visitor, start_site
from tests.processes import RunningService, run_dev


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Return `otp-service dev`; a user can ask for another code after a second."""
    folder = tmp_path_factory.mktemp("example")
    with run_dev(folder / "data", "--cooldown", "1") as service:
        yield service


@pytest.fixture(scope="package", params=FRAMEWORKS)
def running_site(
    request: pytest.FixtureRequest,
    service: RunningService,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ExampleSite]:
    """Return each site in turn."""
    with start_site(request.param, service, tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def site(running_site: ExampleSite) -> ExampleSite:
    """Return a site whose service has no limit in use."""
    running_site.reset_service()
    return running_site


@pytest.fixture
def visitor(site: ExampleSite) -> Iterator[Visitor]:
    """Return a visitor at the login."""
    visitor = Visitor(site)
    yield visitor
    visitor.close()


@pytest.fixture
def other_visitor(site: ExampleSite) -> Iterator[Visitor]:
    """Return another visitor at the login."""
    visitor = Visitor(site)
    yield visitor
    visitor.close()
