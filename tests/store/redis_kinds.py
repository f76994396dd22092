"""On which kinds of Redis a test runs: not on all three, as two have the same code of ours.

Use cases have no code for a kind: they call the store. So a test of tests/service runs on one server or
on the cluster, and half of its neighbours on the other. The store has code for a cluster; Redis 7 and the
newest server differ in themselves alone, so a test of the store runs on one of the two.
"""

import zlib


MODULES_OF_SEVERAL_PARTITIONS = {
    "test_code_sender",
    "test_commit_guards",
    "test_refunds_after_outages",
    "test_running_calls",
    "test_transient_charges",
}
"""Of tests/service: how commits in several partitions go together is code of its own in a cluster."""


def choose_kinds(module: str, test: str) -> list[str]:
    """Return the fixtures of the kinds for a test; the digest of its name chooses between two."""
    is_second = zlib.crc32(test.encode()) % 2
    if module.rpartition(".")[2] in MODULES_OF_SEVERAL_PARTITIONS:
        return ["server", "cluster"]
    if module.startswith("tests.service."):
        return [["server", "cluster"][is_second]]
    return [["server", "redis_7"][is_second], "cluster"]
