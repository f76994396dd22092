"""The page of the API in a real browser: Debian's Chromium, without a window."""

import struct

import pytest
from selenium.webdriver.common.by import By

from otp_service.api.docs import DOCS_HANDLERS
from tests.browser.page_server import PageServer


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    """Return a server with the page alone."""
    with PageServer([*DOCS_HANDLERS]) as server:
        yield server


def open_page(driver, server, screen, scheme):
    """Open the page at a call, on a screen of this size."""
    width, height = screen
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get("about:blank")
    driver.get_log("browser")
    driver.get(f"{server.origin}/docs#verifyChallenge")


@pytest.mark.parametrize(
    ("screen", "scheme"), [((1280, 860), "light"), ((375, 812), "dark")], ids=["wide", "narrow"]
)
def test_the_page_fits_every_screen(driver, server, tmp_path, screen, scheme):
    """Nothing exceeds the width or breaks into letters; the screenshot is kept."""
    open_page(driver, server, screen, scheme)

    width, narrowest = driver.execute_script(
        "const cells = [...document.querySelectorAll('td')].filter(cell => cell.textContent.trim());"
        "return [document.documentElement.scrollWidth, Math.min(...cells.map(cell => cell.clientWidth))]"
    )
    screenshot = tmp_path / "docs.png"
    assert driver.save_screenshot(str(screenshot))
    assert screen == struct.unpack(">II", screenshot.read_bytes()[16:24])
    assert screen[0] >= width
    assert narrowest > 40
    assert [] == driver.get_log("browser")


def test_a_call_leads_to_the_schema_of_its_answer(driver, server):
    """By a link, and the page is not loaded again."""
    open_page(driver, server, (1280, 860), "light")
    call = driver.find_element(By.XPATH, "//section[h3[@id='verifyChallenge']]")

    call.find_element(By.LINK_TEXT, "Challenge").click()

    assert driver.current_url.endswith("/docs#Challenge")
    assert "attempts_left" in driver.find_element(By.XPATH, "//section[h3[@id='Challenge']]").text
