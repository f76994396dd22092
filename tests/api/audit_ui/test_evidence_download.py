"""The evidence of one challenge, downloaded from its timeline."""

import msgspec
import pytest

from otp_service.audit.verification.evidence import EvidenceBundle, verify_evidence
from tests.api.audit_ui.page_client import Browser
from tests.api.fakes import CHALLENGE_ID, ApiHarness
from tests.audit.archive_builder import ArchiveBuilder


PATH = f"/audit/challenges/{CHALLENGE_ID}/evidence"
OTHER = f"c07-{'b' * 32}"


@pytest.fixture
def archive(api: ApiHarness, tmp_path) -> ArchiveBuilder:
    """Return the archive of the page, with two sealed events of the challenge and one of another."""
    archive = ArchiveBuilder(tmp_path)
    archive.add_event(7, challenge=CHALLENGE_ID)
    archive.add_event(7, challenge=OTHER)
    archive.add_event(7, challenge=CHALLENGE_ID, type="otp.verified")
    archive.append_seal()
    api.use_archive(tmp_path, archive.keys)
    return archive


async def test_the_download_proves_the_events_with_the_public_key_alone(
    api: ApiHarness, archive: ArchiveBuilder, browser: Browser
) -> None:
    """F5: a form of the timeline, without a script."""
    api.reader.add_event(challenge=CHALLENGE_ID, tenant="shop")
    page = (await browser.get(f"/audit/challenges/{CHALLENGE_ID}")).text
    answer = await browser.send(PATH)

    assert f'<form class="files" method="post" action="{PATH}">' in page
    disposition = f'attachment; filename="otp-evidence-{CHALLENGE_ID}.json"'
    assert disposition == answer.headers["content-disposition"]
    bundle = msgspec.json.decode(answer.content, type=EvidenceBundle)
    assert 2 == len(verify_evidence(bundle, archive.keys))
    assert OTHER not in answer.text


@pytest.mark.usefixtures("archive")
async def test_a_key_of_one_tenant_gets_no_evidence(api: ApiHarness, shop: Browser) -> None:
    """R55: the seals in it count the events of all tenants."""
    api.reader.add_event(challenge=CHALLENGE_ID, tenant="shop")
    page = (await shop.get(f"/audit/challenges/{CHALLENGE_ID}")).text

    assert "Download evidence" not in page
    assert 404 == (await shop.send(PATH)).status_code


@pytest.mark.usefixtures("archive")
@pytest.mark.parametrize("challenge", [f"c07-{'c' * 32}", "c07"])
async def test_a_challenge_without_a_sealed_event_is_not_found(browser: Browser, challenge) -> None:
    """The page says that a seal follows."""
    answer = await browser.send(f"/audit/challenges/{challenge}/evidence")

    assert 404 == answer.status_code
    assert "A seal follows" in answer.text


async def test_without_an_archive_there_is_no_evidence(api: ApiHarness, browser: Browser) -> None:
    """Redis holds no seal."""
    api.reader.add_event(challenge=CHALLENGE_ID, tenant="shop")
    page = (await browser.get(f"/audit/challenges/{CHALLENGE_ID}")).text

    assert "Download evidence" not in page
    assert 404 == (await browser.send(PATH)).status_code


@pytest.mark.usefixtures("archive")
async def test_evidence_is_for_a_form_of_a_session(api: ApiHarness, browser: Browser) -> None:
    """Another site cannot start the download, and a caller without a session cannot either."""
    foreign = await browser.send(PATH, headers={"Sec-Fetch-Site": "cross-site"})
    without_session = await Browser(api).send(PATH)

    assert (403, 303) == (foreign.status_code, without_session.status_code)
