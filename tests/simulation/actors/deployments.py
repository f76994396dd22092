"""Deployments: workers that are replaced one after another, also with other keys, and ones that die."""

from typing import Final

from otp_service.core.keys import KEY_RING_NAMES
from tests.simulation.actors.scene import Scene
from tests.simulation.history import FaultKind
from tests.simulation.world.configuration import FIRST_KEY_IDS, KeyIds, build_configuration
from tests.simulation.world.installation import WORKER_HOSTS


ROTATION_STEPS: Final = (("k1", "k2"), ("k2", "k1"))
"""The first two steps of docs/key-rotation.md. The third one removes a key, a day later at the earliest."""

PEPPER_REMOVAL_SECONDS: Final = 700.0
"""After the second step the old pepper may go once the last code has expired."""


async def rotate_key(scene: Scene) -> None:
    """Rotate the key of one ring, as docs/key-rotation.md says."""
    ring = scene.chance.pick(KEY_RING_NAMES)
    recorder = scene.world.recorder
    fault = recorder.start_fault(FaultKind.KEY_ROTATION, ring)
    steps: list[tuple[str, ...]] = [*ROTATION_STEPS]
    if ring == "pepper" and scene.chance.has_luck(0.5):
        steps.append(("k2",))
    for step in steps:
        if step == ("k2",):
            await scene.wait(PEPPER_REMOVAL_SECONDS)
        await replace_workers(scene, {**FIRST_KEY_IDS, ring: step})
        await scene.wait_up_to(60)
    recorder.end_fault(fault)


async def reload(scene: Scene) -> None:
    """Replace every worker by one with the same settings."""
    await replace_workers(scene, FIRST_KEY_IDS)


async def replace_workers(scene: Scene, key_ids: KeyIds) -> None:
    """Replace one worker after another, in a drawn order."""
    limits = scene.world.installation.site.limits
    configuration = build_configuration(key_ids, limits)
    names = [*WORKER_HOSTS]
    while names:
        name = names.pop(scene.chance.draw_below(len(names)))
        await scene.world.installation.replace(name, configuration)
        await scene.wait_up_to(2)


async def crash_worker(scene: Scene) -> None:
    """Kill a worker at a drawn instant, and start it again after a while."""
    installation = scene.world.installation
    await scene.wait_up_to(40)
    name = scene.chance.pick([*WORKER_HOSTS])
    installation.crash(name)
    await scene.wait_up_to(10)
    installation.restart(name)
