"""Browsers that are logged in to the audit page."""

import pytest

from tests.api.audit_ui.page_client import Browser
from tests.api.fakes import ApiHarness


@pytest.fixture
async def browser(api: ApiHarness):
    """A browser that is logged in with a key of the security team."""
    browser = Browser(api)
    await browser.log_in()
    return browser


@pytest.fixture
async def shop(api: ApiHarness):
    """A browser that is logged in with a tenant's key, and sees the events of that tenant only."""
    browser = Browser(api)
    await browser.log_in("shop-audit")
    return browser
