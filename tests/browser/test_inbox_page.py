"""The inbox in a real browser: Debian's Chromium, without a window."""

import json
import re
import struct
import time

import pytest
from litestar.exceptions import ServiceUnavailableException
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from otp_service.api.inbox import create_inbox_handlers
from otp_service.api.inbox_access import InboxAccess
from otp_service.clock import now_ms
from otp_service.core.errors import Unauthenticated
from otp_service.core.inbound import InboundResult
from otp_service.core.ports import InboxMessage
from tests.browser.page_server import PageServer
from tests.browser.page_wait import wait_until


ENGLISH_MESSAGE = "Your Example code is {}. It is valid for 5 min. Do not share it."

pytestmark = pytest.mark.slow


class KeyAccess(InboxAccess, frozen=True):
    """Access with one API key, as off loopback."""

    @property
    def before_request(self):
        return require_sesame

    def get_visible_tenant(self, _):
        return "shop"


async def require_sesame(request):
    if request.headers.get("authorization") != "Bearer sesame":
        raise Unauthenticated


class InboxServer(PageServer):
    """A server with only the inbox, and its messages."""

    def __init__(self, access=None):
        self.messages = []
        self.replies = []
        self.reply_result = "opted_out"
        self.is_unavailable = False
        access = access or InboxAccess(requires_key=False)
        handlers = create_inbox_handlers(self._read, self._read, self._handle_reply, access)
        super().__init__(handlers)

    def receive(self, text, to="+447700900123"):
        self.messages.insert(0, InboxMessage(to, text, "inbox", "shop", now_ms()))

    async def _read(self):
        if self.is_unavailable:
            raise ServiceUnavailableException
        return list(self.messages)

    async def _handle_reply(self, reply, *_):
        self.replies.append((reply.phone_number, reply.text))
        return self.reply_result


class InboxPage:
    """The inbox page as a user sees and uses it."""

    def __init__(self, driver, origin):
        self.driver = driver
        self.origin = origin
        driver.get(f"{origin}/inbox")
        self.wait_until(lambda: self.status == "Connected")

    def wait_until(self, condition):
        wait_until(self.driver, condition)

    def find(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def list_texts(self, selector):
        return [element.get_property("textContent") for element in self.find(selector)]

    def wait_for_messages(self, count):
        self.wait_until(lambda: len(self.find("#list > li")) == count)

    def reply(self, name):
        """Open the replies of the newest message, and press the button with this name."""
        opened = self.find("li details")[0]
        if opened.get_attribute("open") is None:
            opened.find_element(By.TAG_NAME, "summary").click()
        buttons = {each.text: each for each in opened.find_elements(By.TAG_NAME, "button")}
        buttons[name].click()

    def wait_for_result(self, beginning):
        self.wait_until(lambda: self.list_texts(".result")[0].startswith(beginning))

    def press(self, *keys):
        for key in keys:
            webdriver.ActionChains(self.driver).send_keys(key).perform()

    def press_backwards(self):
        """Press Shift and Tab."""
        chain = webdriver.ActionChains(self.driver).key_down(Keys.SHIFT).send_keys(Keys.TAB)
        chain.key_up(Keys.SHIFT).perform()

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def set_color_scheme(self, scheme):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    @property
    def status(self):
        return self.list_texts("#live")[0]

    @property
    def focused_code(self):
        """The code of the message that has the focus."""
        return self.driver.execute_script(
            "return document.activeElement.closest('li')?.querySelector('.code').textContent"
        )

    @property
    def clipboard(self):
        return self.driver.execute_async_script(
            "const done = arguments[0]; navigator.clipboard.readText().then(done, done)"
        )

    @property
    def console_messages(self):
        """The messages on the console; a breach of the content security policy is one."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    @property
    def requested_urls(self):
        """The URLs that the page requested."""
        entries = [json.loads(entry["message"]) for entry in self.driver.get_log("performance")]
        return {
            entry["message"]["params"]["request"]["url"]
            for entry in entries
            if entry["message"]["method"] == "Network.requestWillBeSent"
        }


@pytest.fixture
def inbox():
    """Return an empty inbox."""
    with InboxServer() as inbox:
        yield inbox


@pytest.fixture
def page(driver, inbox):
    """Return the page of the inbox on a wide, light screen, with empty logs."""
    driver.get("about:blank")
    driver.get_log("browser")
    driver.get_log("performance")
    permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    driver.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": permissions, "origin": inbox.origin}
    )
    page = InboxPage(driver, inbox.origin)
    page.resize(1280, 860)
    page.set_color_scheme("light")
    return page


def test_messages_appear_by_themselves_newest_first(page, inbox):
    """No reload is needed, and the code is emphasized."""
    inbox.receive(ENGLISH_MESSAGE.format("004213"))
    page.wait_for_messages(1)
    inbox.receive(ENGLISH_MESSAGE.format("918273") + "\n@example.com #918273", to="+33639981234")
    page.wait_for_messages(2)

    assert ["+33639981234", "+447700900123"] == page.list_texts(".to")
    assert ["918273", "004213"] == page.list_texts(".code")
    assert all(re.fullmatch(r"\d{1,2}:\d\d\s[AP]M", time) for time in page.list_texts("time"))
    assert "polite" == page.find("#list")[0].get_attribute("aria-live")


def test_empty_inbox_shows_how_to_make_the_first_call(page, inbox):
    """The help disappears with the first message, and returns when the service has no message."""
    (empty,) = page.find("#empty")
    assert empty.is_displayed()
    assert "curl -s http://127.0.0.1:8000/v1/challenges" in empty.text

    inbox.receive(ENGLISH_MESSAGE.format("123456"))
    page.wait_for_messages(1)
    assert not empty.is_displayed()

    inbox.messages.clear()
    page.wait_for_messages(0)
    assert empty.is_displayed()


@pytest.mark.parametrize(
    "text",
    [
        "<script>document.title = 'owned'</script>",
        "<img src=x onerror=\"document.title = 'owned'\">",
        "</p></li></ol><iframe src='https://example.com'></iframe>",
    ],
)
def test_markup_in_a_message_stays_text(page, inbox, text):
    """A brand or a provider must not be able to run anything here."""
    inbox.receive(text, to=text)
    page.wait_for_messages(1)

    assert [text] == page.list_texts(".text")
    assert [text] == page.list_texts(".to")
    assert [] == page.find("li script, li img, iframe")
    assert "owned" not in page.driver.title
    assert [] == page.console_messages


def test_code_is_copied_by_keyboard(page, inbox):
    """Tab and Enter copy it; the button confirms this and keeps the focus."""
    inbox.receive(ENGLISH_MESSAGE.format("004213"))
    page.wait_for_messages(1)

    page.press(Keys.TAB)
    assert "004213" == page.focused_code
    page.press(Keys.ENTER)

    page.wait_until(lambda: page.list_texts(".take button") == ["Copied"])
    assert "004213" == page.clipboard
    assert "004213" == page.focused_code


@pytest.mark.parametrize("word", ["STOP", "START", "HELP"])
def test_a_button_answers_as_the_phone_would(page, inbox, word):
    """The page says what the service did with it, at the message that was answered."""
    inbox.receive(ENGLISH_MESSAGE.format("111111"), to="+33639981234")
    inbox.receive(ENGLISH_MESSAGE.format("004213"))
    page.wait_for_messages(2)

    page.reply(word)
    page.wait_for_result(f"{word}: Opted out. The next code for this number is refused: 422")

    assert [("+447700900123", word)] == inbox.replies
    assert "" == page.list_texts(".result")[1]
    assert "polite" == page.find("#list")[0].get_attribute("aria-live")  # it is announced
    assert [] == page.console_messages


def test_a_phone_answers_without_a_mouse(page, inbox):
    """Enter in the text sends the text, and not the first button, which is STOP.

    Seen to fail with STOP as a button that submits the form.
    """
    inbox.receive("This message has no code.")
    page.wait_for_messages(1)
    inbox.reply_result = "other"

    page.press(Keys.TAB, Keys.ENTER, *[Keys.TAB] * 4, "please stop", Keys.ENTER)
    page.wait_for_result("please stop: This is no keyword")
    page.press_backwards()
    page.press(Keys.SPACE)
    page.wait_until(lambda: len(inbox.replies) == 2)

    assert [("+447700900123", "please stop"), ("+447700900123", "HELP")] == inbox.replies
    (text,) = page.find(".reply input")
    (label,) = page.find(".reply label")
    assert "" == text.get_property("value")
    assert label.get_attribute("for") == text.get_attribute("id")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("opted_in", "Opted in."),
        ("help", "The question is in the audit log."),
        ("unchanged", "Nothing changed"),
        ("unexpected", "nothing was sent to this number"),
        ("invalid_sender", "no number of a phone"),
        ("<img src=x onerror=alert(1)>", "<img src=x"),
    ],
)
def test_each_result_of_a_reply_is_explained(page, inbox, result, words):
    """And one that the page does not know is shown as it is, as text."""
    inbox.receive(ENGLISH_MESSAGE.format("004213"))
    page.wait_for_messages(1)
    inbox.reply_result = result

    page.reply("START")
    page.wait_for_result("START: ")

    assert words in page.list_texts(".result")[0]
    assert [] == page.find("li img")


def test_every_result_has_its_words_on_the_page(page):
    """A result that is added to the service would be shown as its label."""
    known = page.driver.execute_script("return Object.keys(results)")

    assert set(InboundResult) == set(known)


def test_a_reply_that_the_service_did_not_take_is_reported(page, inbox):
    """A person would not know otherwise whether STOP has an effect."""
    inbox.receive(ENGLISH_MESSAGE.format("004213"))
    page.wait_for_messages(1)
    inbox.is_unavailable = True

    page.reply("STOP")
    page.wait_for_result("STOP: ")

    assert "Opted out" not in page.list_texts(".result")[0]
    assert len("STOP: ") < len(page.list_texts(".result")[0])
    assert [] == inbox.replies


def test_a_message_that_arrives_keeps_the_reply_that_is_written(page, inbox):
    """The list is updated each second, and the text and the focus stay."""
    inbox.receive(ENGLISH_MESSAGE.format("111111"))
    page.wait_for_messages(1)
    page.press(Keys.TAB, Keys.TAB, Keys.ENTER, *[Keys.TAB] * 4, "START, ple")

    inbox.receive(ENGLISH_MESSAGE.format("222222"), to="+33639981234")
    page.wait_for_messages(2)
    page.press("ase")

    assert ["", "START, please"] == [
        each.get_property("value") for each in page.find(".reply input")
    ]


def test_message_that_arrives_takes_no_focus(page, inbox):
    """A key press reaches the button that had the focus before."""
    inbox.receive(ENGLISH_MESSAGE.format("111111"))
    page.wait_for_messages(1)
    page.press(Keys.TAB)

    inbox.receive(ENGLISH_MESSAGE.format("222222"), to="+33639981234")
    page.wait_for_messages(2)

    assert "111111" == page.focused_code


def test_code_is_extracted_as_phones_extract_it(page, inbox):
    """The last line is authoritative, because a brand may contain digits."""
    inbox.receive("Your Route 661234 code is 987654. Valid 5 min.\n@example.com #987654")
    inbox.receive("您的Example验证码为0123456789。", to="+8613800138000")
    inbox.receive("This message has no code.")
    page.wait_for_messages(3)

    assert ["0123456789", "987654"] == page.list_texts(".code")
    assert 2 == len(page.find(".take button"))


def test_same_message_twice_is_shown_twice(page, inbox):
    """And neither of them repeatedly."""
    inbox.receive(ENGLISH_MESSAGE.format("111111"))
    inbox.messages *= 2
    page.wait_for_messages(2)
    time.sleep(2.2)

    assert 2 == len(page.find("#list > li"))


def test_lost_service_is_reported_and_reconnected(page, inbox):
    """The messages stay readable."""
    inbox.receive(ENGLISH_MESSAGE.format("111111"))
    page.wait_for_messages(1)

    inbox.is_unavailable = True
    page.wait_until(lambda: page.status == "The service does not answer. Trying again…")
    assert 1 == len(page.find("#list > li"))

    inbox.is_unavailable = False
    page.wait_until(lambda: page.status == "Connected")


def test_page_requests_no_other_host_and_logs_nothing(page, inbox):
    """The policy fits the page, and the page needs no other host."""
    inbox.receive(ENGLISH_MESSAGE.format("111111"))
    page.wait_for_messages(1)
    page.find("li button")[0].click()
    page.wait_until(lambda: page.clipboard == "111111")

    urls = {address for address in page.requested_urls if not address.startswith("data:")}
    assert {f"{inbox.origin}/inbox", f"{inbox.origin}/inbox.json"} == urls
    assert [] == page.console_messages


@pytest.mark.parametrize(
    ("screen", "scheme"),
    [((1280, 860), "light"), ((375, 667), "light"), ((320, 640), "dark")],
    ids=["wide", "phone", "narrow"],
)
def test_page_fits_every_screen(page, inbox, tmp_path, screen, scheme):
    """Nothing exceeds the width, and the newest message is visible; the screenshot is kept."""
    for number in range(30):
        inbox.receive(
            ENGLISH_MESSAGE.format(f"{number * 34567:06d}"), to=f"+4477009001{number:02d}"
        )
    inbox.receive("x" * 500 + " 12345678", to="+999999999999999")
    page.resize(*screen)
    page.set_color_scheme(scheme)
    page.wait_for_messages(31)
    page.reply("STOP")
    page.wait_for_result("STOP: Opted out")

    width, top = page.driver.execute_script(
        "return [document.documentElement.scrollWidth,"
        " document.querySelector('li').getBoundingClientRect().top]"
    )
    screenshot = tmp_path / "inbox.png"
    assert page.driver.save_screenshot(str(screenshot))
    assert screen == struct.unpack(">II", screenshot.read_bytes()[16:24])
    assert screen[0] >= width
    assert screen[1] > top


def test_off_loopback_the_page_asks_for_the_key(driver):
    """It keeps the key in memory only, says that a wrong one is wrong, and then shows messages."""
    with InboxServer(KeyAccess()) as inbox:
        inbox.receive(ENGLISH_MESSAGE.format("123456"))
        driver.get(f"{inbox.origin}/inbox")
        waiting = WebDriverWait(driver, 10, poll_frequency=0.1)

        def give_key(key, expected):
            waiting.until(lambda _: driver.find_element(By.ID, "key").is_displayed())
            driver.find_element(By.ID, "key").send_keys(key, Keys.ENTER)
            waiting.until(lambda _: driver.find_element(By.ID, "live").text == expected)

        waiting.until(lambda _: driver.find_element(By.ID, "live").text == "An API key is needed.")
        assert "123456" not in driver.page_source
        give_key("guess", "This API key is not accepted.")
        give_key("sesame", "Connected")

        waiting.until(lambda _: driver.find_elements(By.CSS_SELECTOR, "#list > li"))
        assert "123456" == driver.find_element(By.CSS_SELECTOR, ".code").text
        assert not driver.find_element(By.ID, "access").is_displayed()
        driver.find_element(By.CSS_SELECTOR, "summary").click()
        driver.find_element(By.CSS_SELECTOR, ".word").click()
        waiting.until(lambda _: inbox.replies)  # the call had the key
        stored = driver.execute_script(
            "return [localStorage.length, sessionStorage.length, document.cookie]"
        )
        assert [0, 0, ""] == stored
