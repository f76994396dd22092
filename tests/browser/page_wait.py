"""Waiting for a page, which may be replaced in the meantime."""

from collections.abc import Callable
from typing import TypeVar

from selenium.common.exceptions import WebDriverException
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait


T = TypeVar("T")

MAX_WAIT_SECONDS = 60
"""So long also because other tests keep the processors busy."""

REPLACED_PAGE = (WebDriverException, IndexError)
"""An element is not there yet, or of the page before: for that the driver has several errors."""


def wait_until(driver: WebDriver, condition: Callable[[], T]) -> T:
    """Return the condition's first true value. Raises TimeoutException after MAX_WAIT_SECONDS."""
    wait = WebDriverWait(
        driver, MAX_WAIT_SECONDS, poll_frequency=0.1, ignored_exceptions=REPLACED_PAGE
    )
    return wait.until(lambda _: condition())


def paste(field: WebElement, text: str) -> None:
    """Fill a field at once, as a password manager does: each typed key costs 10 ms of computing."""
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    field.parent.execute_script(script, field, text)
