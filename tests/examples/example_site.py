"""The example login in its own process, as its one command starts it, and a visitor without a browser."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx

from tests.processes import (
    CODE_PATTERN,
    REPOSITORY_ROOT,
    RunningService,
    send_request,
    stop_process,
)
from tests.store import redis_servers


FRAMEWORKS = ("fastapi", "django")

PHONE_NUMBERS = {"alice": "+12025550181", "bob": "+12025550182", "carol": "+12025550183"}

PASSWORD = "worthless"


class ExampleSite:
    """A running site, and the service that it calls."""

    def __init__(self, url: str, service: RunningService, log: Path) -> None:
        self.url, self.service, self.log = url, service, log

    def reset_service(self) -> None:
        """Delete challenges, limits and messages."""
        assert 204 == send_request(self.service.admin_port, "POST", "/reset", body={}).status

    def read_code(self, name: str) -> str:
        """Return the code in the newest message to a user."""
        texts = [m["text"] for m in self.service.fetch_inbox() if m["to"] == PHONE_NUMBERS[name]]
        return CODE_PATTERN.findall(texts[0])[0]


def run_example(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command where it ends at once."""
    return subprocess.run(
        [sys.executable, "-m", "examples.login", *arguments],
        cwd=REPOSITORY_ROOT,
        env=_build_environment(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextlib.contextmanager
def start_site(framework: str, service: RunningService, folder: Path) -> Iterator[ExampleSite]:
    """Run the command for one framework, on a free port."""
    port = redis_servers.find_free_port()
    otp = f"http://127.0.0.1:{service.port}"
    command = ["examples.login", "--framework", framework, "--port", str(port), "--otp", otp]
    log = folder / f"{framework}.log"
    with start_server(command, port, log, OTP_DEV_API_KEY=service.keys["dev"]) as url:
        yield ExampleSite(url, service, log)


@contextlib.contextmanager
def start_server(command: list[str], port: int, log: Path, **environment: str) -> Iterator[str]:
    """Run a module that serves a site; yield its URL once it answers."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=REPOSITORY_ROOT,
            env=_build_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            process_group=0,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        redis_servers.wait_until(
            lambda: process.poll() is not None or _is_answering(url), description=f"{command}"
        )
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        stop_process(process)


def _build_environment(environment: dict[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTP_")}
    return inherited | environment


def _is_answering(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/static/login.css").status_code == 200
    return False


class Visitor:
    """A browser without a script: it keeps cookies, and sends the forms of the last page."""

    def __init__(self, site: ExampleSite) -> None:
        self.site = site
        self.http = httpx.Client(base_url=site.url, follow_redirects=True, timeout=30)
        self.page: httpx.Response
        self.open_page("/login")

    def open_page(self, path: str) -> httpx.Response:
        self.page = self.http.get(path)
        return self.page

    def submit(self, action: str, **fields: str) -> httpx.Response:
        """Send the form with this action, with its hidden fields."""
        form = re.search(
            rf'<form method="post" action="{action}">(.*?)</form>', self.page.text, re.DOTALL
        )
        assert form, (action, self.page.text)
        hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form[1])
        self.page = self.http.post(action, data=dict(hidden) | fields)
        return self.page

    def enter_password(self, name: str) -> httpx.Response:
        self.open_page("/login")
        return self.submit("/login", name=name, password=PASSWORD)

    def log_in(self, name: str) -> httpx.Response:
        """Log in with a code by SMS."""
        self.enter_password(name)
        return self.submit("/login/sms", code=self.site.read_code(name))

    @property
    def session_id(self) -> str | None:
        return self.http.cookies.get("session") or self.http.cookies.get("sessionid")

    def take_session(self, session_id: str | None) -> None:
        """Send this id as that of the session, with either framework's cookie."""
        self.http.cookies.clear()
        for name in ("session", "sessionid"):
            self.http.cookies.set(name, session_id or "", domain="127.0.0.1")

    @property
    def title(self) -> str:
        """The heading of the page."""
        return self.find(r"<h1>(.*?)</h1>")

    @property
    def refusal(self) -> str:
        """The text of the refusal, without a countdown; empty if there is none."""
        return " ".join(self.find(r'role="alert">([^<]*)').split())

    def find(self, pattern: str) -> str:
        found = re.search(pattern, self.page.text, re.DOTALL)
        return unescape(found[1]) if found else ""

    def is_logged_in(self) -> bool:
        return self.http.get("/", follow_redirects=False).status_code == 200

    def close(self) -> None:
        self.http.close()


def change_code(code: str, by: int = 1) -> str:
    """Return another code."""
    return f"{(int(code) + by) % 10 ** len(code):0{len(code)}}"


def get_text(response: httpx.Response) -> str:
    """Return the page without what changes with time alone: tokens, and the wait until a resend."""
    text = re.sub(r'(type="hidden" name="\w+" value=")[^"]*', r"\1", response.text)
    text = re.sub(r'<p class="hint">\s*<span class="countdown".*?</p>', "", text, flags=re.DOTALL)
    return " ".join(text.split())
