"""A login with the client that openapi-python-client makes: see test_generated_clients.py.

It prints what came of each call. mypy checks it with the client, so that what it decides by is typed.
"""

import json
import os
import re
import urllib.request

from generated_client import AuthenticatedClient
from generated_client.api.audit import list_events
from generated_client.api.challenges import issue_challenge, verify_challenge
from generated_client.models import (
    AuditEvent,
    AuditPage,
    Challenge,
    ChallengeLockedProblem,
    IncorrectCodeProblem,
    IssueChallengeRequest,
    RateLimitedProblem,
    UnauthenticatedProblem,
    VerifyChallengeRequest,
)


def issue(client: AuthenticatedClient, number: str) -> Challenge | str:
    """Return the challenge, or the refusal as text."""
    body = IssueChallengeRequest(phone_number=number, account="u-81")
    reply = issue_challenge.sync(client=client, body=body, idempotency_key=os.urandom(16).hex())
    if isinstance(reply, RateLimitedProblem):
        return f"{reply.limit} refuses for {'some' if reply.retry_after > 0 else 'no'} time"
    if isinstance(reply, UnauthenticatedProblem):
        return "wrong key"
    assert isinstance(reply, Challenge), reply
    return reply


def verify(client: AuthenticatedClient, challenge: Challenge, code: str) -> str:
    """Return what came of a code, decided by the type of the reply."""
    body = VerifyChallengeRequest(code=code, account="u-81")
    reply = verify_challenge.sync(challenge.id, client=client, body=body)
    if isinstance(reply, Challenge):
        return reply.status.value
    if isinstance(reply, IncorrectCodeProblem):
        return f"wrong code, {reply.attempts_left} left"
    if isinstance(reply, ChallengeLockedProblem):
        return f"locked: {reply.status}"
    raise TypeError(reply)


def find_event_types(client: AuthenticatedClient, challenge: Challenge) -> str:
    """Return the types of the challenge's newest events."""
    page = list_events.sync(client=client, challenge=challenge.id, limit=2)
    assert isinstance(page, AuditPage), page
    return " ".join(each.type_ for each in page.events if isinstance(each, AuditEvent))


def read_code(number: str) -> str:
    with urllib.request.urlopen(f"{os.environ['ADMIN_URL']}/inbox.json") as reply:  # noqa: S310
        text = next(message["text"] for message in json.load(reply) if message["to"] == number)
    codes: list[str] = re.findall(r"\b\d{6}\b", text)
    return codes[0]


def main() -> None:
    url, first, second = os.environ["API_URL"], "+447700900123", "+447700900124"
    client = AuthenticatedClient(base_url=url, token=os.environ["API_KEY"])
    challenge = issue(client, first)
    assert isinstance(challenge, Challenge)
    code = read_code(first)
    wrong = f"{(int(code) + 1) % 10**6:06}"
    print(verify(client, challenge, wrong))
    print(verify(client, challenge, code))
    print(find_event_types(client, challenge))
    print(issue(client, first))
    guessed = issue(client, second)
    assert isinstance(guessed, Challenge)
    wrong = f"{(int(read_code(second)) + 1) % 10**6:06}"
    print(*(verify(client, guessed, wrong) for _ in range(6)), sep="\n")
    print(issue(AuthenticatedClient(base_url=url, token="unknown"), first))


main()
