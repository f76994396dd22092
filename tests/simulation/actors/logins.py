"""Login back ends and their persons: issue, resend, verify and cancel, in the ways that occur."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from tests.simulation.actors.person import Person, draw_person
from tests.simulation.actors.scene import Scene, get_text
from tests.simulation.history import Answered, Outcome, Refused, Unavailable


MAX_PATIENCE_SECONDS: Final = 700
"""The longest Retry-After that a person waits for, in the main part of a run."""

PAUSES_AFTER_503: Final = (0.0, 0.0, 6.0, 12.0)
"""Beyond Retry-After: a person who waits longer finds a store that answers again."""

MESSAGE_SECONDS: Final = 20.0
"""How long a person looks at the phone before asking for another code."""

LIFETIME_SECONDS: Final = 300
LAST_SECONDS: Final = (0.001, 0.003, 0.03)
"""Before the deadline: about what passes in a verify before its commit, by the delays of the run."""


async def log_in(scene: Scene) -> None:
    """Start a login, and end it in a drawn way."""
    person = draw_person(scene.chance)
    challenge = await start_login(scene, person)
    if challenge is None:
        return
    code = await scene.world.phones.wait_for_code(person.number, challenge, MESSAGE_SECONDS)
    if code is None:
        code = await request_another_code(scene, person, challenge)
    end = scene.chance.pick(LOGIN_ENDS)
    await end(scene, person, challenge, code or "000000")


async def start_login(scene: Scene, person: Person, tries: int = 3) -> str | None:
    """Issue a code, waiting as long as refusals say; return the id of the challenge."""
    for _ in range(tries):
        outcome = await issue_code(scene, person)
        if challenge := get_text(outcome, "id"):
            return challenge
        seconds = getattr(outcome, "retry_after", None)
        if seconds is None or seconds > MAX_PATIENCE_SECONDS:
            return None
        if isinstance(outcome, Unavailable):
            seconds += scene.chance.pick(PAUSES_AFTER_503)
        await scene.wait(seconds)
    return None


async def issue_code(scene: Scene, person: Person) -> Outcome:
    """Issue a code; with a key, repeat the call until its outcome is known."""
    key = scene.draw_key()
    return await scene.call_until_known(
        "issue",
        person.tenant,
        tries=3 if key else 1,
        phone_number=person.number,
        account=person.account,
        client_ip=person.client_ip,
        idempotency_key=key,
    )


async def request_another_code(scene: Scene, person: Person, challenge: str) -> str | None:
    """Resend a code, after the wait that a refusal names; return the newest that has arrived."""
    key = scene.draw_key()
    for _ in range(2):
        outcome = await scene.call(
            "resend", person.tenant, challenge=challenge, idempotency_key=key
        )
        if not isinstance(outcome, Refused) or not outcome.retry_after:
            break
        await scene.wait(min(outcome.retry_after, 60))
    await scene.wait(8)
    codes = scene.world.phones.list_codes(person.number, challenge)
    return codes[-1] if codes else None


async def verify_code(
    scene: Scene, person: Person, challenge: str, code: str, key: str | None = None
) -> Outcome:
    """Enter a code."""
    return await scene.call(
        "verify",
        person.tenant,
        challenge=challenge,
        code=code,
        account=person.account,
        client_ip=person.client_ip,
        idempotency_key=key,
    )


# ---- the ends of a login


async def enter_right(scene: Scene, person: Person, challenge: str, code: str) -> None:
    """Enter the code, and repeat the call with its key if the answer is lost."""
    await scene.call_until_known(
        "verify",
        person.tenant,
        challenge=challenge,
        code=code,
        account=person.account,
        client_ip=person.client_ip,
        idempotency_key=scene.make_key(),
    )


async def enter_wrong_first(scene: Scene, person: Person, challenge: str, code: str) -> None:
    """Mistype up to six times; the last ones find no attempt left."""
    for offset in range(1, 2 + scene.chance.draw_below(6)):
        await verify_code(scene, person, challenge, make_wrong_code(code, offset), scene.draw_key())
        await scene.wait_up_to(scene.chance.pick((5.0, 20.0)))
    await verify_code(scene, person, challenge, code, scene.draw_key())


async def enter_late(scene: Scene, person: Person, challenge: str, code: str) -> None:
    """Enter the code about when the challenge expires."""
    await scene.wait(LIFETIME_SECONDS - 30 + 40 * scene.chance.draw_fraction())
    await verify_code(scene, person, challenge, code)
    await scene.call("get", person.tenant, challenge=challenge)


async def enter_at_deadline(scene: Scene, person: Person, challenge: str, code: str) -> None:
    """Enter codes in the last moments: some calls begin before the deadline and end after it."""
    shown = await scene.call("get", person.tenant, challenge=challenge)
    deadline = shown.value.get("expires_at") if isinstance(shown, Answered) else None
    if not isinstance(deadline, int):
        return
    span = scene.chance.pick(LAST_SECONDS)
    seconds = (deadline - scene.world.read_true_ms()) / 1000 - span
    await scene.wait(min(max(seconds, 0), LIFETIME_SECONDS))

    async def enter_soon(offset: int) -> None:
        await scene.wait(span * scene.chance.draw_fraction())
        await verify_code(scene, person, challenge, make_wrong_code(code, offset))

    await asyncio.gather(*(enter_soon(offset) for offset in range(2 + scene.chance.draw_below(3))))


async def enter_twice(scene: Scene, person: Person, challenge: str, code: str) -> None:
    """Submit the form twice at once, with one key, with two, or without."""
    key = scene.draw_key()
    others = [key, scene.draw_key(), None]
    await asyncio.gather(
        verify_code(scene, person, challenge, code, key),
        verify_code(scene, person, challenge, code, scene.chance.pick(others)),
    )


async def repeat_later(scene: Scene, person: Person, challenge: str, code: str) -> None:
    """Repeat a verify with its key: soon, or after the time for which it is remembered."""
    key = scene.make_key()
    await verify_code(scene, person, challenge, code, key)
    await scene.wait(scene.chance.pick((0.0, 1.0, 30.0, 70.0)))
    await verify_code(scene, person, challenge, code, key)
    await verify_code(scene, person, challenge, make_wrong_code(code), key)


async def cancel_first(scene: Scene, person: Person, challenge: str, code: str) -> None:
    """Cancel the challenge, before or while the code is entered."""
    if scene.chance.has_luck(0.5):
        await asyncio.gather(
            scene.call("cancel", person.tenant, challenge=challenge),
            verify_code(scene, person, challenge, code),
        )
    else:
        await scene.call("cancel", person.tenant, challenge=challenge)
        await scene.wait_up_to(20)
    await verify_code(scene, person, challenge, code)


async def enter_earlier_code(scene: Scene, person: Person, challenge: str, code: str) -> None:
    """Ask for another code, maybe for two, and enter the first one."""
    for _ in range(1 + scene.chance.draw_below(2)):
        await scene.wait(scene.chance.pick((2.0, 31.0)))
        await request_another_code(scene, person, challenge)
    await verify_code(scene, person, challenge, code)


async def enter_for_another(scene: Scene, person: Person, challenge: str, code: str) -> None:
    """Enter the code for another account, at another tenant, and then as it is right."""
    other_tenant = "bank" if person.tenant == "shop" else "shop"
    await scene.call("verify", other_tenant, challenge=challenge, code=code)
    await scene.call(
        "verify", person.tenant, challenge=challenge, code=code, account="another-user"
    )
    await verify_code(scene, person, challenge, code)


async def leave(scene: Scene, person: Person, challenge: str, code: str) -> None:
    """Enter nothing."""


async def reuse_key(scene: Scene, person: Person, challenge: str, code: str) -> None:
    """Issue twice with one key, after the cooldown or in it, and then another number with it."""
    await scene.wait(scene.chance.pick((0.0, 31.0, 31.0)))
    key = scene.make_key()
    arguments = {"phone_number": person.number, "account": person.account, "idempotency_key": key}
    await asyncio.gather(
        scene.call("issue", person.tenant, **arguments),
        scene.call("issue", person.tenant, **arguments),
    )
    await scene.call("issue", person.tenant, **{**arguments, "phone_number": "+447400123459"})
    await verify_code(scene, person, challenge, code)


LoginEnd = Callable[[Scene, Person, str, str], Awaitable[None]]

LOGIN_ENDS: Final[tuple[LoginEnd, ...]] = (
    enter_right,
    enter_right,
    enter_right,
    enter_wrong_first,
    enter_late,
    enter_at_deadline,
    enter_twice,
    repeat_later,
    cancel_first,
    enter_earlier_code,
    enter_for_another,
    leave,
    reuse_key,
)


def make_wrong_code(code: str, offset: int = 1) -> str:
    """Return another code of as many digits."""
    return f"{(int(code) + offset) % 10 ** len(code):0{len(code)}d}"


async def deliver_code(scene: Scene) -> None:
    """Send the code of another product, maybe twice with one key."""
    person = draw_person(scene.chance)
    key, code = scene.draw_key(), f"{scene.chance.draw_below(10**6):06d}"
    for _ in range(2 if key else 1):
        await scene.call(
            "deliver",
            person.tenant,
            phone_number=person.number,
            code=code,
            account=person.account,
            client_ip=person.client_ip,
            idempotency_key=key,
        )
