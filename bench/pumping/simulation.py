"""One run: honest people and an attack, minute by minute, against the brake."""

import heapq
import random
from collections import Counter
from collections.abc import Mapping

import msgspec

from bench.pumping.attacks import (
    COUNTRY_RANGES,
    NUMBER_DAILY_SENDS,
    Attack,
    Attempt,
    draw_attempt,
    draw_instants,
)
from bench.pumping.brake import (
    RANGES_PER_BLOCK,
    SIMULATED_EPOCH_MS,
    Parameters,
    SimulatedBrake,
)
from bench.pumping.people import NEVER, Login, People, Period, draw_conversion, draw_logins
from otp_service.core.pumping.known_number import note_verification
from otp_service.core.pumping.memory_brake import ChargedSend
from otp_service.core.pumping.prices import MICRO_UNITS
from otp_service.core.pumping.scopes import DebtLimit
from otp_service.core.pumping.send_debts import Outage, SendSubject
from otp_service.core.timestamps import DAY_MS, MINUTE_MS


ATTACKED_TENANT = "shop-0"
DETECTION_MS = 5 * MINUTE_MS
"""After which an outage is known: breakers and receipts of known numbers show it."""
PAUSE_MS = 20 * DAY_MS
"""Before the simulated time, a known person verified last."""
NARROW_LIMITS = {DebtLimit.UNVERIFIED_RANGE, DebtLimit.UNVERIFIED_BLOCK}
ADDRESS_LIMITS = {DebtLimit.UNVERIFIED_ADDRESS, DebtLimit.UNVERIFIED_COUNTRIES}
"""Which refuse one address of an attack, so that its other attempts are decided."""


class Scenario(msgspec.Struct, frozen=True):
    """What is simulated. The people of the first tenant are those whose outage is detected."""

    days: int
    people: Mapping[tuple[str, str], People]
    """By tenant and country."""
    attack: Attack | None = None

    @property
    def counted(self) -> Period:
        """When honest sends are counted: from an attack on, until a day after it."""
        if self.attack is None:
            return Period(0, self.days * DAY_MS)
        return Period(self.attack.period.start, self.attack.period.end + DAY_MS)


class Result(msgspec.Struct):
    """What one run has counted."""

    sends: Counter[str] = msgspec.field(default_factory=Counter)
    """Honest sends by group."""
    refusals: Counter[str] = msgspec.field(default_factory=Counter)
    limits: Counter[str] = msgspec.field(default_factory=Counter)
    """Honest refusals by the limit."""
    passed: Counter[tuple[str, int]] = msgspec.field(default_factory=Counter)
    """Messages of the attack by country and day."""
    attempts: int = 0
    first_refusal: int = -1
    """Of the attack."""
    last_refusal: int = -1
    """Of an honest person."""
    micro_units: int = 0
    """What all messages of the attack have cost."""

    def compute_share(self, *groups: str) -> float:
        """Return the refused part of the honest sends of these groups."""
        sends = sum(self.sends[group] for group in groups)
        return sum(self.refusals[group] for group in groups) / sends if sends else 0.0


class _Ticket(msgspec.Struct):
    """A login under way: what its sends were charged."""

    login: Login
    scope: tuple[str, str]
    group: str
    messages: list[ChargedSend]


class Simulation:
    """One run of a scenario with one seed."""

    def __init__(self, scenario: Scenario, parameters: Parameters, seed: int) -> None:
        self.scenario = scenario
        self.result = Result()
        self._rng = random.Random(seed)  # noqa: S311  # a simulation
        self._brake = SimulatedBrake(parameters)
        self._prices = parameters.prices
        self._events: list[tuple[int, int, str, _Ticket]] = []
        self._count = 0
        self._first_range = self._rng.randrange(COUNTRY_RANGES)
        self._closed: set[tuple[str, int]] = set()
        self._attacked_numbers: Counter[tuple[str, int]] = Counter()
        self._conversions: dict[tuple[str, str], float] = {}

    def run(self) -> Result:
        """Simulate all minutes."""
        for (tenant, country), people in self.scenario.people.items():
            self._brake.set_history(self._rng, people, tenant, country)
        for minute in range(0, self.scenario.days * DAY_MS, MINUTE_MS):
            self._simulate_minute(minute)
        return self.result

    def _simulate_minute(self, minute: int) -> None:
        if minute % DAY_MS == 0:
            for scope, people in self.scenario.people.items():
                self._conversions[scope] = draw_conversion(self._rng, people)
        self._detect_outage(minute)
        self._brake.work(minute)
        self._closed.clear()
        for scope, people in self.scenario.people.items():
            for login in draw_logins(self._rng, people, self._conversions[scope], minute):
                self._add_login(login, scope)
        if self.scenario.attack is not None:
            self._attack(self.scenario.attack, minute)
        self._handle_events(minute + MINUTE_MS)

    def _attack(self, attack: Attack, minute: int) -> None:
        """Make the attempts of a minute until the rest of it is refused anyway."""
        instants = draw_instants(self._rng, attack, minute)
        self.result.attempts += len(instants)
        for at in instants:
            if self._is_over(attack):
                return
            self._handle_events(at)
            self._attempt(draw_attempt(self._rng, attack, self._first_range, at))

    def _is_over(self, attack: Attack) -> bool:
        """Return whether this minute has refused every place that the attack has."""
        closed = self._closed
        is_refused = ("", -1) in closed or all((c, -1) in closed for c in attack.countries)
        return is_refused or (len(attack.countries) == 1 and len(closed) >= attack.ranges)

    def _handle_events(self, until: int) -> None:
        while self._events and self._events[0][0] < until:
            at, _, kind, ticket = heapq.heappop(self._events)
            if kind == "send":
                self._send(ticket, at)
            elif ticket.messages:
                self._brake.verify(ticket.messages, ticket.login.number, at)

    def _add_login(self, login: Login, scope: tuple[str, str]) -> None:
        if login.is_known and login.number not in self._brake.brake.known:
            verified_at = login.sends[0] - PAUSE_MS + SIMULATED_EPOCH_MS
            self._brake.brake.known[login.number] = note_verification(verified_at)
        ticket = _Ticket(login, scope, self._classify(login, scope), [])
        for at in login.sends:
            self._push(at, "send", ticket)
        if login.verifies_at >= 0:
            self._push(login.verifies_at, "verify", ticket)

    def _classify(self, login: Login, scope: tuple[str, str]) -> str:
        """Return known or unknown, and whether the attack uses the range of the number."""
        group = "known" if login.is_known else "unknown"
        attack = self.scenario.attack
        if attack is None:
            return group
        if scope[0] != ATTACKED_TENANT:
            return f"{group} elsewhere"
        is_inside = (login.range - self._first_range) % COUNTRY_RANGES < attack.ranges
        return f"{group} inside" if is_inside and scope[1] in attack.countries else group

    def _push(self, at: int, kind: str, ticket: _Ticket) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, self._count, kind, ticket))

    def _send(self, ticket: _Ticket, at: int) -> None:
        login = ticket.login
        subject = _build_subject(*ticket.scope, login.range, login.address)
        decision, message = self._brake.send(subject, login.number, at)
        if message is not None:
            ticket.messages.append(message)
        if not self.scenario.counted.contains(at):
            return
        self.result.sends[ticket.group] += 1
        if decision.refusal is not None:
            self.result.refusals[ticket.group] += 1
            self.result.limits[decision.refusal.bucket.limit] += 1
            self.result.last_refusal = at

    def _attempt(self, attempt: Attempt) -> None:
        """Try to send. What this minute has refused to the attack is not decided again."""
        country, day = attempt.country, attempt.at // DAY_MS
        places = {("", -1), (country, -1), (country, attempt.range)}
        if not attempt.number and places & self._closed:
            return
        if attempt.number and not self._count_number(attempt.number, day):
            return
        subject = _build_subject(ATTACKED_TENANT, country, attempt.range, attempt.address)
        decision, message = self._brake.send(subject, attempt.number, attempt.at)
        if message is None:
            assert decision.refusal is not None
            self._close(attempt, decision.refusal.bucket.limit)
            return
        self.result.passed[country, day] += 1
        self.result.micro_units += self._prices.find_price(country)
        if attempt.verifies and self._attacked_numbers[attempt.number, day] == 1:
            self._brake.verify([message], attempt.number, attempt.at)

    def _count_number(self, number: str, day: int) -> bool:
        self._attacked_numbers[number, day] += 1
        return self._attacked_numbers[number, day] <= NUMBER_DAILY_SENDS

    def _close(self, attempt: Attempt, limit: DebtLimit) -> None:
        if self.result.first_refusal < 0:
            self.result.first_refusal = attempt.at
        if limit is DebtLimit.UNVERIFIED_COUNTRY:
            self._closed.add((attempt.country, -1))
        elif limit in NARROW_LIMITS:
            self._closed.add((attempt.country, attempt.range))
        elif limit not in ADDRESS_LIMITS:
            self._closed.add(("", -1))

    def _detect_outage(self, minute: int) -> None:
        """Note an outage once it is known; receipts that are late look like one."""
        people = next(iter(self.scenario.people.values()))
        for period in (people.outage, people.delay):
            if period != NEVER and minute == period.start + DETECTION_MS:
                start, end = period.start, period.end + DETECTION_MS
                self._brake.brake.outages = (
                    Outage(start + SIMULATED_EPOCH_MS, end + SIMULATED_EPOCH_MS),
                )


def _build_subject(tenant: str, country: str, index: int, address: str | None) -> SendSubject:
    block = f"{country}-{index // RANGES_PER_BLOCK}"
    return SendSubject(tenant, country, f"{country}-{index}", block, address)


def sum_days(passed: Counter[tuple[str, int]]) -> int:
    """Return the messages of the attack in its worst country and day."""
    return max(passed.values(), default=0)


def to_dollars(micro_units: int) -> float:
    return micro_units / MICRO_UNITS
