"""A history by call and by challenge: built in one pass, and read by every promise."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from tests.simulation.auditor.disturbance import Disturbance
from tests.simulation.history import (
    Answered,
    CallRecord,
    ComparisonRecord,
    History,
    Refused,
    StoredEvent,
    SubmissionRecord,
)


CREATING_KINDS = frozenset({"issue", "deliver"})
"""The calls that make a challenge or a delivery."""
AUTOMATIC_KINDS = frozenset({"receive_receipt", "auto_resend"})
"""A receipt of a lost message may start a send, later: docs/limits.md, `AutoResendsPerPrefix`."""


class ChallengeFacts:
    """What is known of one challenge or delivery from outside."""

    def __init__(self, challenge_id: str) -> None:
        self.id = challenge_id
        self.creation: CallRecord | None = None
        """The call that made it, the first one with its Idempotency-Key that is known to have."""
        self.tenant = ""
        self.number = ""
        self.account: str | None = None
        self.client_ip: str | None = None
        self.expires_at = 0
        """By the clock of the store; 0 if no answer said it."""
        self.submissions: list[SubmissionRecord] = []
        self.comparisons: list[ComparisonRecord] = []
        self.verifies: list[CallRecord] = []
        self.resends: list[CallRecord] = []
        self.cancels: list[CallRecord] = []
        self.events: list[StoredEvent] = []

    def add_creation(self, call: CallRecord) -> None:
        """Take what the first call that made it has said of it."""
        if self.creation is None:
            self.creation, self.tenant = call, call.tenant
            self.number = read_text(call, "phone_number")
            self.account = read_text(call, "account") or None
            self.client_ip = read_text(call, "client_ip") or None

    def find_sends_of(self, code: str) -> list[int]:
        """Return the sends of the challenge that had this code."""
        return [submission.send for submission in self.submissions if submission.code == code]


class RequestKey(NamedTuple):
    """What one Idempotency-Key is unique for."""

    tenant: str
    kind: str
    key: str
    subject: str
    """The challenge of a verify, whose key is stored in it; else empty."""


class HistoryIndex:
    """The records of a history by what they concern."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.settings = history.settings
        self.disturbance = Disturbance(history)
        self.challenges: dict[str, ChallengeFacts] = {}
        self.submissions_by_call: dict[int | None, list[SubmissionRecord]] = defaultdict(list)
        self.comparisons_by_call: dict[int | None, list[ComparisonRecord]] = defaultdict(list)
        self.events_by_request: dict[object, list[StoredEvent]] = defaultdict(list)
        self.calls_by_request = {call.request: call for call in history.calls}
        self.calls_by_key: dict[RequestKey, list[CallRecord]] = defaultdict(list)
        for call in history.calls:
            self._index_call(call)
        self._index_records(history)
        self.successes = self._group_successes()

    def get_submissions(self, call: CallRecord) -> Sequence[SubmissionRecord]:
        """Return what providers were given in this call."""
        return self.submissions_by_call.get(call.number, ())

    def get_comparisons(self, call: CallRecord) -> Sequence[ComparisonRecord]:
        """Return the hashes of the code that this call has sent."""
        return self.comparisons_by_call.get(call.number, ())

    def _index_call(self, call: CallRecord) -> None:
        kind, outcome = call.kind, call.outcome
        if kind in CREATING_KINDS:
            if isinstance(outcome, Answered) and "id" in outcome.value:
                facts = self._find_facts(str(outcome.value["id"]))
                facts.add_creation(call)
                facts.expires_at = facts.expires_at or read_number(outcome, "expires_at")
            elif isinstance(outcome, Refused) and "id" in outcome.details:
                self._find_facts(str(outcome.details["id"])).add_creation(call)
        elif kind == "verify":
            self._find_facts(read_text(call, "challenge")).verifies.append(call)
        elif kind == "resend":
            self._find_facts(read_text(call, "challenge")).resends.append(call)
        elif kind == "cancel":
            self._find_facts(read_text(call, "challenge")).cancels.append(call)
        key = call.arguments.get("idempotency_key")
        if key:
            subject = read_text(call, "challenge") if kind == "verify" else ""
            self.calls_by_key[RequestKey(call.tenant, kind, str(key), subject)].append(call)

    def _index_records(self, history: History) -> None:
        for submission in history.submissions:
            self.submissions_by_call[submission.call].append(submission)
            facts = self._find_facts(submission.challenge)
            facts.submissions.append(submission)
            if submission.call is not None:
                call = history.calls[submission.call]
                if call.kind in CREATING_KINDS:
                    facts.add_creation(call)
            facts.tenant = facts.tenant or submission.tenant
            facts.number = facts.number or submission.number
        for comparison in history.comparisons:
            self.comparisons_by_call[comparison.call].append(comparison)
            if comparison.subject in self.challenges:
                self.challenges[comparison.subject].comparisons.append(comparison)
        for event in history.events:
            request = event.members.get("request")
            if request is not None:
                self.events_by_request[request].append(event)
            challenge = event.members.get("challenge")
            if isinstance(challenge, str) and challenge in self.challenges:
                self.challenges[challenge].events.append(event)

    def _find_facts(self, challenge_id: str) -> ChallengeFacts:
        facts = self.challenges.get(challenge_id)
        if facts is None:
            facts = self.challenges[challenge_id] = ChallengeFacts(challenge_id)
        return facts

    def _group_successes(self) -> dict[str, list[list[CallRecord]]]:
        """Return for each challenge its accepted calls, those that repeat one another together."""
        groups: dict[str, list[list[CallRecord]]] = {}
        for facts in self.challenges.values():
            by_request: dict[object, list[CallRecord]] = defaultdict(list)
            for call in facts.verifies:
                if isinstance(call.outcome, Answered):
                    key = call.arguments.get("idempotency_key")
                    by_request[(key, read_code(call)) if key else call.number].append(call)
            if by_request:
                groups[facts.id] = list(by_request.values())
        return groups


def read_text(call: CallRecord, name: str) -> str:
    """Return an argument as text; empty if it is missing."""
    value = call.arguments.get(name)
    return "" if value is None else str(value)


def read_code(call: CallRecord) -> str:
    """Return the code that a call has sent, without what is ignored in it."""
    return _IGNORED_IN_CODES.sub("", read_text(call, "code"))


def read_number(answer: Answered, name: str) -> int:
    """Return a member of an answer as a number; 0 if it is missing."""
    value = answer.value.get(name)
    return value if isinstance(value, int) else 0


_IGNORED_IN_CODES = re.compile(r"[ -]")
