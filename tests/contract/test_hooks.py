"""The hooks of `dev`, called by the lines of docs/hooks.md with openssl and curl."""

import re
import shutil
import subprocess

import pytest

from tests.contract.support import Dev
from tests.processes import REPOSITORY_ROOT


PAGE = (REPOSITORY_ROOT / "docs" / "hooks.md").read_text()
SECTION = PAGE[PAGE.index("## Try one") : PAGE.index("## Supabase")]


@pytest.fixture(scope="module")
def printed(dev: Dev) -> str:
    """Return what the lines of the page print, run one after the other."""
    if missing := [name for name in ("openssl", "curl", "bash") if not shutil.which(name)]:
        pytest.skip(f"needs {', '.join(missing)}")
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL))
    script = script.replace("key=…", f"key={dev.key}").replace(
        "http://127.0.0.1:8000", str(dev.api.base_url).rstrip("/")
    )
    run = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    return run.stdout


def test_a_signed_supabase_request_arrives_in_the_inbox_once(dev: Dev, printed: str) -> None:
    """Its retry has a fresh id and time, and sends nothing."""
    assert ["{} 200", "{} 200", " 204"] == printed.splitlines()
    (message,) = dev.inbox("+447700900123")
    assert "561166" in message["text"]


def test_the_generic_hook_takes_the_members_of_a_delivery(dev: Dev, printed: str) -> None:
    """Its key is the API key of `dev`."""
    assert printed
    (message,) = dev.inbox("+447700900456")
    assert "904412" in message["text"]


def test_the_events_of_a_hook_name_it(dev: Dev, printed: str) -> None:
    """Instead of an API key; the user of Supabase is an account."""
    assert printed
    keys = [event.get("key_id") for event in dev.events(type="delivery.sent")]

    assert {"hook-supabase", "hook-generic"} <= {*keys}
