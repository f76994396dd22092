"""The development authenticator app in a real browser: Debian's Chromium, without a window."""

import json
import time

import pyotp
import pytest
import zxingcpp
from selenium.webdriver.common.by import By

from otp_service.api.authenticator_app import create_authenticator_app_handlers
from otp_service.api.inbox_access import InboxAccess
from otp_service.service.authenticator_service import NewAuthenticator
from tests.browser.page_server import PageServer
from tests.browser.page_wait import wait_until


SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
PASTED_URI = f"otpauth://totp/Bank:bob?secret={SECRET}&digits=8"

pytestmark = pytest.mark.slow


class AppServer(PageServer):
    """A server with only the app."""

    def __init__(self):
        self.now = 1_795_512_600_123
        access = InboxAccess(requires_key=False)
        super().__init__(create_authenticator_app_handlers(self._enroll, lambda: self.now, access))

    @property
    def code(self):
        return pyotp.TOTP(SECRET).at(self.now // 1000)

    async def _enroll(self, account, _state):
        name = account.replace("<", "%3C").replace(">", "%3E").replace("'", "%27")
        uri = f"otpauth://totp/Example:{name}?secret={SECRET}&issuer=Example"
        return NewAuthenticator("a1.token", SECRET, uri, self.now)


class AppPage:
    """The page as a developer sees and uses it."""

    def __init__(self, driver, origin):
        self.driver = driver
        driver.get(f"{origin}/authenticator")
        self.wait_until(lambda: self.list_texts("#live") == ["Connected"])

    def wait_until(self, condition):
        wait_until(self.driver, condition)

    def find(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def list_texts(self, selector):
        return [element.get_property("textContent") for element in self.find(selector)]

    def submit(self, form, text):
        (field,) = self.find(f"#{form} input")
        field.clear()
        field.send_keys(text)
        self.find(f"#{form} button")[0].click()

    def read_qr_code(self, path):
        """Return the text of the QR code as ZXing reads it from a screenshot."""
        (picture,) = self.find("li img")
        self.wait_until(lambda: picture.get_property("naturalWidth"))
        assert picture.screenshot(str(path))
        pixels = self.driver.execute_async_script(
            """
            const [picture, done] = arguments;
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 228;
            const context = canvas.getContext("2d");
            context.drawImage(picture, 0, 0, 228, 228);
            done([...context.getImageData(0, 0, 228, 228).data].filter((_, i) => i % 4 === 0));
            """,
            picture,
        )
        shades = memoryview(bytes(pixels)).cast("B", (228, 228))
        (code,) = zxingcpp.read_barcodes(shades)
        return code.text


@pytest.fixture
def server():
    with AppServer() as server:
        yield server


@pytest.fixture
def page(driver, server):
    driver.get("about:blank")
    driver.get_log("browser")
    driver.get_log("performance")
    return AppPage(driver, server.origin)


def test_an_account_is_enrolled_and_its_codes_follow_the_clock(page, server, tmp_path):
    """The QR code is that of the URI, and the calls have the current code."""
    page.submit("enroll", "u-81")
    page.wait_until(lambda: page.list_texts("li .code") == [server.code])

    assert ["Example · u-81"] == page.list_texts("li .name")
    assert [page.read_qr_code(tmp_path / "qr.png")] == page.list_texts("li .uri")
    assert ["a1.token"] == page.list_texts("li .token")
    (call,) = page.list_texts("li .confirm")
    body = {"authenticator": "a1.token", "account": "u-81", "code": server.code}
    assert body == json.loads(call.split("-d '")[1].removesuffix("'"))
    assert call.startswith("curl -s http://127.0.0.1:8000/v1/authenticators/confirm ")

    server.now += 30_000
    page.wait_until(lambda: page.list_texts("li .code") == [server.code])
    assert server.code in page.list_texts("li .confirm")[0]


def test_a_pasted_uri_has_codes_and_no_token(page):
    page.submit("paste", PASTED_URI)
    page.wait_until(lambda: page.find("li"))

    assert [8] == [len(code) for code in page.list_texts("li .code")]
    assert [PASTED_URI] == page.list_texts("li .uri")
    assert [] == page.find("li .sealed")


def test_an_error_is_shown_and_goes_with_the_next_success(page):
    page.submit("paste", "https://example.com")
    page.wait_until(lambda: "otpauth://totp/" in page.list_texts("#error")[0])

    page.submit("paste", PASTED_URI)
    page.wait_until(lambda: page.find("li"))

    assert [""] == page.list_texts("#error")


def test_markup_in_an_account_stays_text(page):
    """Also a quote, which would end the argument of the shell."""
    page.submit("enroll", "<b>o'hara</b>")
    page.wait_until(lambda: page.find("li"))

    assert ["Example · <b>o'hara</b>"] == page.list_texts("li .name")
    assert r"<b>o'\''hara</b>" in page.list_texts("li .confirm")[0]
    assert [] == page.find("li .name b, li pre b")


@pytest.mark.parametrize(
    ("screen", "scheme"), [((1280, 860), "light"), ((320, 640), "dark")], ids=["wide", "narrow"]
)
def test_the_page_fits_requests_no_other_host_and_logs_nothing(
    page, server, tmp_path, screen, scheme
):
    """The policy fits the page; the screenshot is kept."""
    size = {"width": screen[0], "height": screen[1], "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.submit("enroll", "u-81")
    page.wait_until(lambda: page.find("li"))
    page.driver.execute_script("document.querySelector('details').open = true")
    time.sleep(1.2)

    width = page.driver.execute_script("return document.documentElement.scrollWidth")
    assert page.driver.save_screenshot(str(tmp_path / "app.png"))
    assert width <= screen[0]
    entries = [json.loads(entry["message"]) for entry in page.driver.get_log("performance")]
    urls = {
        entry["message"]["params"]["request"]["url"]
        for entry in entries
        if entry["message"]["method"] == "Network.requestWillBeSent"
    }
    assert {f"{server.origin}/authenticator", f"{server.origin}/authenticator.json"} == {
        url for url in urls if not url.startswith("data:")
    }
    assert [] == [entry["message"] for entry in page.driver.get_log("browser")]
