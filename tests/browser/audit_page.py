"""The audit page in a real browser, as a user sees and uses it."""

import json

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.page_wait import paste, wait_until


class AuditPage:
    """The audit page as a user sees and uses it."""

    def __init__(self, driver, service):
        self.driver = driver
        self.service = service
        self.origin = f"http://127.0.0.1:{service.admin_port}"

    def open_page(self, path="/audit"):
        self.driver.get(self.origin + path)

    def press(self, *keys):
        for key in keys:
            webdriver.ActionChains(self.driver).send_keys(key).perform()

    def log_in(self, key="security"):
        self.open_page("/audit/login")
        (field,) = self.find("#key")
        paste(field, self.service.keys[key])
        field.send_keys(Keys.ENTER)
        self.wait_until(lambda: self.path == "/audit")

    def search(self, **fields):
        self.open_page("/audit/search")
        for name, text in fields.items():
            self.find(f"#{name}")[0].send_keys(text)
        self.find("form.fields button")[0].click()
        self.wait_until(lambda: self.find("#found, .alert"))

    def wait_until(self, condition):
        """Wait until the condition holds, on a page that may be replaced in the meantime."""
        wait_until(self.driver, condition)

    def find(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def list_texts(self, selector):
        return [element.get_property("textContent").strip() for element in self.find(selector)]

    def read_figure(self, kind):
        return int(self.list_texts(f"#figure-{kind}")[0])

    @property
    def path(self):
        return self.driver.current_url.removeprefix(self.origin)

    @property
    def main_text(self):
        return self.list_texts("main")[0]

    @property
    def focused_element(self):
        return self.driver.switch_to.active_element

    @property
    def console_messages(self):
        """The messages on the console; a breach of the content security policy is one."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    @property
    def requested_urls(self):
        """The URLs that the browser requested."""
        entries = [json.loads(entry["message"])["message"] for entry in self._get_performance_log()]
        requests = [entry for entry in entries if entry["method"] == "Network.requestWillBeSent"]
        return {entry["params"]["request"]["url"] for entry in requests}

    def _get_performance_log(self):
        return self.driver.get_log("performance")
