"""The handler of the evidence for one challenge: its events with their proofs and seals, as a file."""

import asyncio

import msgspec
from litestar import post
from litestar.response.base import ASGIResponse

from otp_service.api.audit import get_visible_tenant
from otp_service.api.audit_ui.deps import admit_call, get_dependencies
from otp_service.api.audit_ui.renderer import PAGE_HEADERS
from otp_service.api.request_context import AuthenticatedRequest
from otp_service.audit.verification.evidence import EvidenceBundle, build_evidence
from otp_service.core.challenge import parse_partition
from otp_service.core.errors import ChallengeNotFound, InvalidRequest


MISSING_EVIDENCE_MESSAGE = (
    "No event of this challenge is sealed in an archive of this machine that you may see. A seal follows"
    " within seconds. It takes an archive: see [audit] archive."
)


@post("/challenges/{challenge:str}/evidence", status_code=200)
async def download_evidence(request: AuthenticatedRequest) -> ASGIResponse:
    """Return what `otp-service audit prove --challenge` prints. Raises ChallengeNotFound without a seal.

    Seals count the events of all tenants, so only a key that may see all of them gets it.
    """
    challenge: str = request.path_params["challenge"]
    if not can_prove(request) or parse_partition(challenge) is None:
        raise ChallengeNotFound(MISSING_EVIDENCE_MESSAGE)
    with admit_call(request):
        bundle = await asyncio.to_thread(_build_bundle, request, challenge)
    if not bundle.entries:
        raise ChallengeNotFound(MISSING_EVIDENCE_MESSAGE)
    disposition = f'attachment; filename="otp-evidence-{challenge}.json"'
    return ASGIResponse(
        body=msgspec.json.encode(bundle),
        headers=PAGE_HEADERS | {"Content-Disposition": disposition},
        media_type="application/json",
    )


def can_prove(request: AuthenticatedRequest) -> bool:
    """Whether there is an archive, and the key may see the events of all tenants."""
    has_archive = get_dependencies(request).background_verifier is not None
    return has_archive and get_visible_tenant(request) is None


def _build_bundle(request: AuthenticatedRequest, challenge: str) -> EvidenceBundle:
    verifier = get_dependencies(request).background_verifier
    if verifier is None:
        raise ChallengeNotFound(MISSING_EVIDENCE_MESSAGE)
    try:
        return build_evidence(verifier.folder, challenge)
    except ValueError as error:
        raise InvalidRequest(("challenge", f"cannot be proven: {error}")) from error
