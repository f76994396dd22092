"""The use cases: fetch, decide, store, tell.

    issue   own buckets → other buckets ∥ argon2 → challenge stored → providers → outcome stored
    verify  read → claim paid ∥ other buckets → argon2, compare → outcome stored

Closed when Redis is in doubt: a step that cannot be taken raises StoreUnavailable, and no code is
compared and no message sent after it. That is decided here, by catching it nowhere.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from msgspec.structs import replace

from otp_service.core import charges, events
from otp_service.core.challenge import Challenge, new_id, partition_of
from otp_service.core.delivery import Receipt, Reference
from otp_service.core.errors import (
    ChallengeEnded,
    ChallengeExpired,
    ChallengeNotFound,
    NumberNotAllowed,
    OtpError,
    SendsExhausted,
    StoreTampered,
)
from otp_service.core.keys import joined
from otp_service.core.limits import Refusal
from otp_service.core.messages import parse_locale
from otp_service.core.phone_number import PhoneNumber, allowed, identify, known
from otp_service.core.ports import Commit, Stored, Swap
from otp_service.schemas import IssueRequest, UnlockRequest, VerifyRequest
from otp_service.service.code_sender import Sending
from otp_service.service.code_verifier import Verifying
from otp_service.service.context import Caller, Desk, Parts, Person, refused
from otp_service.service.idempotency import Once
from otp_service.service.optimistic_commit import move, present
from otp_service.service.receipt_handler import Received, Receiving


NOBODY = Person()


class OtpService:
    """Issue, resend, verify, cancel, and the operator's unlock.

    Every method raises the OtpError that refuses it; the answers carry the challenge and the
    instant, by Redis's clock, at which it stood so.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store

    async def issue(self, caller: Caller, ask: IssueRequest, key: str | None) -> Stored:
        """Send a code to a number, and return its new challenge."""
        caller.tenant.check_purpose(ask.purpose)
        locale = parse_locale(ask.locale) if ask.locale is not None else None
        person = Person.of(None, ask.account, ask.client_ip)
        phone = await self._destination(caller, ask, person)
        person = replace(person, phone=phone)
        partition = self._store.partition_of(phone.collapsed)
        challenge_id = new_id(partition, self._parts.random.bytes(16))

        def issue(id_: str) -> Awaitable[Stored]:
            return Sending(self._parts, caller, person, ask.purpose, id_).issue(locale)

        async with self._watched(Desk(self._parts, caller, person, partition)):
            if key is None:
                return await issue(challenge_id)
            fields = (ask.phone_number, ask.purpose, ask.locale, ask.client_ip, ask.account)
            once = self._once(caller, key, "issue", fields, challenge_id)
            return await once.run(issue, creates=True)

    async def resend(self, caller: Caller, challenge_id: str, key: str | None) -> Stored:
        """Send another code for a challenge; the earlier one stays valid beside it."""
        async with self._watched(self._desk(caller, challenge_id), challenge_id):
            stored = await self._read(caller, challenge_id)
            try:
                present(stored).check_pending(stored.now)
            except ChallengeEnded as error:
                await self._deny(self._desk(caller, challenge_id, stored.challenge), error)
                raise
            if key is None:
                return await self._resend(caller, stored)
            once = self._once(caller, key, "resend", (challenge_id,), challenge_id)
            return await once.run(lambda _: self._resend(caller, stored), creates=False)

    async def verify(
        self, caller: Caller, challenge_id: str, ask: VerifyRequest, key: str | None
    ) -> Stored:
        """Accept the code, once. Every other outcome is an error."""
        async with self._watched(self._desk(caller, challenge_id), challenge_id):
            stored = await self._read(caller, challenge_id)
            return await Verifying(self._parts, caller, stored, ask).verify(key)

    async def view(self, caller: Caller, challenge_id: str) -> Stored:
        """Return a challenge in whatever status. Raises ChallengeNotFound."""
        async with self._watched(self._desk(caller, challenge_id), challenge_id):
            return await self._read(caller, challenge_id)

    async def cancel(self, caller: Caller, challenge_id: str) -> None:
        """End a challenge; a second time does nothing."""
        async with self._watched(self._desk(caller, challenge_id), challenge_id):
            await self._cancel(caller, await self._read(caller, challenge_id))

    async def unlock(self, caller: Caller, ask: UnlockRequest) -> None:
        """End the rows of failures of a number at all tenants; its sends stay counted."""
        phone, _ = identify(ask.phone_number)
        buckets = [charges.unlocked(name, phone.collapsed) for name in self._parts.tenants]
        partition = self._store.partition_of(phone.collapsed)
        desk = Desk(self._parts, caller, Person(phone), partition)
        told = events.Unlocked(**desk.about(reason="by_operator"))
        clear = tuple(bucket for pair in buckets for bucket in pair)
        await self._store.commit(desk.commit(clear=clear, events=(told,), durable=True))

    async def receive(
        self, caller: Caller, provider: str, news: Receipt, *, trusted: bool
    ) -> Received:
        """Note what a provider tells of a submission; `trusted`: nobody else can have said it."""
        reference = Reference.read(news.reference)
        if reference is None or partition_of(reference.challenge) is None:
            return Received(known=False)
        receiving = self._receiving(caller, provider, reference)
        async with self._watched(self._desk(caller, reference.challenge), reference.challenge):
            return await receiving.receive(reference, news, trusted=trusted)

    async def rescue(
        self,
        caller: Caller,
        provider: str,
        reference: Reference,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> bool:
        """Send once more what a provider has lost, if that is still to be and every limit allows."""
        receiving = self._receiving(caller, provider, reference)
        async with self._watched(self._desk(caller, reference.challenge), reference.challenge):
            return await receiving.rescue(reference, pause)

    def _receiving(self, caller: Caller, provider: str, reference: Reference) -> Receiving:
        tenant = self._parts.tenants.get(reference.tenant, caller.tenant)
        return Receiving(self._parts, replace(caller, tenant=tenant), provider)

    async def _destination(self, caller: Caller, ask: IssueRequest, person: Person) -> PhoneNumber:
        """Return the number if codes are sent there; one that is none is not even an event."""
        phone, why = identify(ask.phone_number)
        try:
            if why == "type" or (why and not self._parts.allow_fictitious):
                raise NumberNotAllowed(why)
            if self._parts.only_fictitious and not phone.fictitious:
                raise NumberNotAllowed("fictitious", "In test mode only fictitious numbers work.")
            allowed(phone, caller.tenant.countries)
        except NumberNotAllowed as error:
            partition = self._store.partition_of(phone.collapsed)
            person = replace(person, phone=phone)
            await self._deny(
                Desk(self._parts, caller, person, partition, purpose=ask.purpose), error
            )
            raise
        return phone

    async def _read(self, caller: Caller, challenge_id: str) -> Stored:
        stored = await self._store.fetch(caller.tenant.name, challenge_id)
        if stored.challenge is None:
            raise ChallengeNotFound
        return stored

    async def _cancel(self, caller: Caller, stored: Stored) -> None:
        desk = self._desk(caller, present(stored).id, present(stored))
        told = events.Canceled(**desk.about(reason="by_tenant"))

        def canceled(current: Stored) -> Commit:
            challenge = present(current)
            new = challenge.canceled(current.now)
            if new is challenge:
                return desk.commit()
            return desk.commit(swap=Swap(challenge, new, None), events=(told,))

        await move(self._store, stored, canceled)

    async def _resend(self, caller: Caller, stored: Stored) -> Stored:
        challenge, secret = present(stored), stored.secret
        desk = self._desk(caller, challenge.id, challenge)
        try:
            if secret is None:
                raise ChallengeExpired
            challenge.check_resend(stored.now)
        except ChallengeEnded as error:
            await self._deny(desk, error)
            raise
        except SendsExhausted as error:
            assert secret  # or it would have expired
            await self._deny(desk, error, known(secret.number, challenge.country))
            raise
        phone = known(secret.number, challenge.country)
        person = Person.of(phone, challenge.account, secret.client_ip)
        sending = Sending(self._parts, caller, person, challenge.purpose, challenge.id)
        return await sending.resend(secret)

    async def _deny(self, desk: Desk, error: OtpError, phone: PhoneNumber | None = None) -> None:
        """Record a refusal; raises NumberLocked where that of this number comes before it."""
        told = events.IssueDenied(**desk.about(reason=error.reason))
        row = (charges.looked(desk.caller.tenant, phone),) if phone else ()
        outcome = await self._store.commit(desk.commit(charges=row, refusal=told, denial=told))
        if isinstance(outcome, Refusal):
            raise refused(outcome)

    @asynccontextmanager
    async def _watched(self, desk: Desk, challenge_id: str | None = None) -> AsyncIterator[None]:
        """Record a record that is not ours, wherever in a call it is met."""
        try:
            yield
        except StoreTampered as error:
            told = events.Tampered(**desk.about(challenge=challenge_id), record=error.record)
            await self._store.commit(desk.commit(events=(told,)))
            raise

    def _desk(self, caller: Caller, challenge_id: str, of: Challenge | None = None) -> Desk:
        partition = partition_of(challenge_id)
        if partition is None:
            raise ChallengeNotFound
        return Desk(self._parts, caller, NOBODY, partition, of=of)

    def _once(
        self, caller: Caller, key: str, verb: str, fields: tuple[str | None, ...], id_: str
    ) -> Once:
        said = joined(*(b"\0" if field is None else field.encode() for field in fields))
        fingerprint = self._parts.keys.limit.current.mac("fingerprint", verb.encode(), said)
        return Once(self._parts, caller.tenant.name, key, fingerprint, id_)
