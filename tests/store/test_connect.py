"""One client for one server, for a master behind Sentinel, and for a cluster."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import socket
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as TimedOut

from otp_service.core.errors import StoreUnavailable
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.connector import CLIENT_NAME
from otp_service.store.lua_script import LuaScript
from otp_service.store.reply_errors import CallInterrupted
from tests.store import redis_servers


COUNT = LuaScript("#!lua\nreturn redis.call('INCR', KEYS[1])")
KEYS = [f"{{{partition:02d}}}:counter" for partition in range(64)]


async def count(link: ScriptClient, key: str = KEYS[7], **options) -> int:
    return await link.run_script(COUNT, (key,), (), **options)


async def eventually(call, deadline: float = redis_servers.WAIT_TIMEOUT_SECONDS):
    """What it answers once it does, as a caller would see who tries again."""
    give_up = time.monotonic() + deadline
    while True:
        try:
            return await call()
        except (RedisError, StoreUnavailable):
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.05)


@pytest.fixture
def owners(masters):
    """Clients for the questions of a test, one for each master."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(redis_servers.open_client(master)) for master in masters]


# ------------------------------------------------------------------------- whichever Redis it is


async def test_a_script_runs_in_every_partition(script_client):
    """Each key is found on the server that holds it."""
    answers = await asyncio.gather(*(count(script_client, key) for key in KEYS))

    assert [1] * 64 == answers


async def test_lost_scripts_are_sent_again(script_client, owners):
    """Redis loses its scripts in a restart, and by SCRIPT FLUSH (R82)."""
    await count(script_client)
    for owner in owners:
        owner.script_flush()

    assert 2 == await count(script_client)


async def test_reads_of_many_keys_come_back_in_their_order(script_client):
    """The reads take one round trip on one server, and parallel ones on a cluster."""
    for n, key in enumerate(KEYS):
        await script_client.run_script(
            LuaScript("redis.call('SET', KEYS[1], ARGV[1])"), (key,), (str(n).encode(),)
        )

    answers = await script_client.read_many(
        [(key, [("GET", key), ("EXISTS", key)]) for key in KEYS]
    )

    assert [[str(n).encode(), 1] for n in range(64)] == answers


async def test_an_error_among_reads_is_an_unavailable_store(script_client):
    """A reader of the log receives 503, not a part of it."""
    with pytest.raises(StoreUnavailable):
        await script_client.read_many(
            [(KEYS[0], [("GET", KEYS[0])]), (KEYS[1], [("HGET", KEYS[1])])]
        )


async def test_a_command_whose_answer_is_late_is_not_repeated(script_client, masters):
    """redis-py would try ten times more, and count eleven (R83)."""
    async with ScriptClient(
        create_redis_lines(**redis_servers.build_connect_options(masters), timeout_ms=100)
    ) as hasty:
        await eventually(lambda: hasty.read_many([(KEYS[7], [("GET", KEYS[7])])]))

        with pytest.raises(CallInterrupted) as interruption:
            await hasty.run_pipeline(KEYS[7], [("INCR", KEYS[7]), ("BLPOP", "{07}:nothing", 1)])

    assert isinstance(interruption.value.__cause__, TimedOut)
    assert 2 == await count(script_client)


async def test_more_calls_than_may_wait_are_refused_in_time(masters):
    """A Redis that hangs: an error for each caller, and no hang; then it recovers (R85)."""
    async with ScriptClient(
        create_redis_lines(
            **redis_servers.build_connect_options(masters), timeout_ms=100, max_calls=2
        )
    ) as small:
        await eventually(lambda: count(small))
        with contextlib.ExitStack() as stack:
            # Until all have an answer, however long that takes on a busy machine.
            for master in masters:
                stack.enter_context(redis_servers.suspend_server(master))
            async with asyncio.timeout(20):
                answers = await asyncio.gather(
                    *(count(small) for _ in range(50)), return_exceptions=True
                )

        assert all(isinstance(answer, RedisError | StoreUnavailable) for answer in answers)
        assert sum(isinstance(answer, StoreUnavailable) for answer in answers) >= 48 - len(masters)
        await eventually(lambda: count(small))


async def test_two_hundred_callers_share_a_connection(script_client):
    """A burst is no error: one write, and each has its own reply."""
    answers = await asyncio.gather(*(count(script_client) for _ in range(200)))

    assert list(range(1, 201)) == sorted(answers)


async def test_a_cancelled_call_leaves_its_answer_to_nobody(script_client):
    """CVE-2023-28858: the reply to a cancelled call was read by the next call (R84)."""
    echo = LuaScript("return ARGV[1]")
    for n in range(200):
        cancelled = asyncio.create_task(script_client.run_script(echo, (KEYS[0],), (b"old",)))
        await asyncio.sleep(0.0001 * (n % 5))
        cancelled.cancel()

        assert b"new" == await script_client.run_script(echo, (KEYS[0],), (b"new",))


async def test_too_few_replicas_are_an_unavailable_store(script_client):
    """Nothing is compared or sent on the word of one server where more are asked for."""
    strict = ScriptClient(script_client.lines, replicas=1, wait_ms=10)

    with pytest.raises(StoreUnavailable, match="replicas"):
        await count(strict, durable=True)
    assert 2 == await count(strict), "what need not be durable does not wait"


async def test_operators_see_who_we_are(script_client, owners):
    """CLIENT LIST names the service; RESP 2, and nothing that Redis pushes."""
    await count(script_client)

    ours = [c for owner in owners for c in owner.client_list() if c["name"] == CLIENT_NAME]
    assert ours
    assert {"2"} == {client["resp"] for client in ours}


async def test_the_wrong_password_is_an_error_at_the_first_command(masters):
    """Creating a client sends nothing."""
    stranger = create_redis_lines(
        **redis_servers.build_connect_options(masters), username="nobody", password="wrong"
    )

    async with ScriptClient(stranger) as refused:
        with pytest.raises((Disconnected, StoreUnavailable)):
            await count(refused)


async def test_nobody_there_is_an_error_and_no_surprise():
    """A cluster that is away is one that RedisStore knows as well as any other."""
    port = redis_servers.find_free_port()
    async with ScriptClient(create_redis_lines(url=f"redis://127.0.0.1:{port}")) as one:
        with pytest.raises(Disconnected):
            await count(one)
    async with ScriptClient(create_redis_lines(cluster=[f"127.0.0.1:{port}"])) as cluster:
        with pytest.raises(StoreUnavailable):
            await count(cluster)


def test_a_client_for_nothing_is_refused():
    """The settings are checked before; this is for who comes by another way."""
    with pytest.raises(ValueError, match="say where Redis is"):
        create_redis_lines()


# ---------------------------------------------------------------------------------- one server


async def test_a_url_may_name_a_database(tmp_path):
    """redis://host:port/3."""
    with redis_servers.start_server(tmp_path, port=redis_servers.find_free_port()) as server:
        async with ScriptClient(create_redis_lines(url=f"{server.url}/3")) as link:
            await count(link)

        with redis_servers.open_client(server) as client:
            assert {"db3"} == client.info("keyspace").keys()


async def test_a_restart_is_survived(tmp_path):
    """Connections to the old server are found to be dead before or at their next use."""
    server = redis_servers.EmbeddedServer(tmp_path, port=redis_servers.find_free_port())
    with server:
        link = ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000))
        assert [1] * 10 == await asyncio.gather(*(count(link, KEYS[n]) for n in range(10)))

    async with link:
        with server:
            answers = [await eventually(lambda: count(link)) for _ in range(10)]

    assert 10 == len(answers)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36500))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder


async def test_tls_checks_the_certificate(tmp_path, certificates, redis_7):
    """A server without a certificate of the authority is refused."""
    port = redis_servers.find_free_port()
    options = {
        "tls_port": str(port),
        "tls_cert_file": str(certificates / "cert.pem"),
        "tls_key_file": str(certificates / "key.pem"),
        "tls_auth_clients": "no",
    }
    authority = options["tls_cert_file"]
    with redis_servers.start_server(tmp_path, binary=redis_7.binary, **options):
        for scheme in ("redis", "rediss"):
            lines = create_redis_lines(
                url=f"{scheme}://127.0.0.1:{port}", tls=True, tls_ca=authority, timeout_ms=5000
            )
            async with ScriptClient(lines) as link:
                await count(link)

        async with ScriptClient(
            create_redis_lines(url=f"rediss://127.0.0.1:{port}", timeout_ms=5000)
        ) as trusting:
            with pytest.raises(Disconnected, match="certificate"):
                await count(trusting)


# ---------------------------------------------------------------------------------- Sentinel


@pytest.mark.slow
async def test_a_failover_of_sentinel_is_survived(tmp_path):
    """The next master is asked for, and what was acknowledged by a replica is there."""
    with redis_servers.start_sentinel(tmp_path) as (master, replica, sentinel):
        lines = create_redis_lines(
            sentinel=["127.0.0.1:1", f"127.0.0.1:{sentinel.port}"], master="otp", timeout_ms=2000
        )
        async with ScriptClient(lines, replicas=1, wait_ms=1000) as link:
            assert 1 == await count(link, durable=True)

            redis_servers.kill_server(master)
            with pytest.raises(Disconnected):
                await count(link)
            after = await eventually(lambda: count(link))

            assert 2 == after
            with redis_servers.open_client(replica) as promoted:
                assert b"2" == promoted.get(KEYS[7])
            with pytest.raises(StoreUnavailable, match="replicas"):
                await count(link, durable=True)


@pytest.mark.slow
async def test_a_demoted_master_is_left(tmp_path):
    """The old master still answers, READONLY; then the Sentinels are asked for the new one."""
    with redis_servers.start_sentinel(tmp_path) as (master, replica, sentinel):
        lines = create_redis_lines(
            sentinel=[f"127.0.0.1:{sentinel.port}"], master="otp", timeout_ms=2000
        )
        async with ScriptClient(lines) as link:
            await asyncio.gather(*(count(link) for _ in range(5)))

            with (
                redis_servers.open_client(master) as old,
                redis_servers.open_client(replica) as new,
            ):
                redis_servers.promote_replica(sentinel, replica)
                old.replicaof("127.0.0.1", replica.port)  # the Sentinel takes ten seconds to
                await eventually(lambda: count(link))

                assert 6 <= int(new.get(KEYS[7]))


@pytest.mark.slow
async def test_a_replica_that_sentinel_names_is_not_used(tmp_path):
    """It would answer reads with old data: while Sentinel has not followed yet, calls are 503."""
    with redis_servers.start_sentinel(tmp_path) as (master, _, sentinel):
        with redis_servers.open_client(master) as demoted:
            demoted.replicaof("127.0.0.1", redis_servers.find_free_port())
        lines = create_redis_lines(
            sentinel=[f"127.0.0.1:{sentinel.port}"], master="otp", timeout_ms=2000
        )
        async with ScriptClient(lines) as link:
            with pytest.raises(ReadOnlyError):
                await link.run_pipeline(KEYS[7], [("GET", KEYS[7])])


async def test_sentinels_that_are_away_are_an_error():
    """It is handled as an unreachable server."""
    sentinel = f"127.0.0.1:{redis_servers.find_free_port()}"
    async with ScriptClient(create_redis_lines(sentinel=[sentinel], master="otp")) as link:
        with pytest.raises(Disconnected):
            await count(link)


@contextlib.contextmanager
def listen_silently(size):
    """Yield the addresses of hosts that accept connections and never answer."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(size)]
        yield [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


async def test_sentinels_that_hang_take_one_timeout_together():
    """Their timeouts do not add up: calls wait for the answer."""
    with listen_silently(4) as sentinels:
        lines = create_redis_lines(sentinel=sentinels, master="otp", timeout_ms=1000)
        async with ScriptClient(lines) as link, asyncio.timeout(3):
            with pytest.raises((Disconnected, TimedOut)):
                await count(link)


@pytest.mark.slow
async def test_sentinels_that_hang_do_not_delay_the_answer_of_another_one(tmp_path):
    """One after another, the first line would be opened after twice the timeout."""
    with redis_servers.start_sentinel(tmp_path) as (_, _, sentinel), listen_silently(2) as hanging:
        sentinels = [*hanging, f"127.0.0.1:{sentinel.port}"]
        lines = create_redis_lines(sentinel=sentinels, master="otp", timeout_ms=5000)
        async with ScriptClient(lines) as link, asyncio.timeout(5):
            assert 1 == await count(link)


# ------------------------------------------------------------------------------------ cluster


class Slot:
    """A slot without keys that is handed about between the masters of a cluster."""

    def __init__(self, clients, key: str) -> None:
        self.clients = clients
        self.number = clients[0].execute_command("CLUSTER KEYSLOT", key)
        self.ids = [client.execute_command("CLUSTER MYID").decode() for client in clients]

    def owner(self) -> int:
        for first, last, (_, _, name, *_), *_ in self.clients[0].execute_command("CLUSTER SLOTS"):
            if first <= self.number <= last:
                return self.ids.index(name.decode())
        raise LookupError

    def set(self, at: int, *state: str) -> None:
        self.clients[at].execute_command("CLUSTER SETSLOT", self.number, *state)

    def move(self, to: int) -> None:
        source = self.owner()
        for at in (to, source, 3 - to - source):
            self.set(at, "NODE", self.ids[to])


@pytest.fixture
def slot(cluster):
    """The slot of partition 07, back where it was in the end."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(redis_servers.open_client(master)) for master in cluster]
        slot = Slot(clients, "{07}")
        owner = slot.owner()
        yield slot
        for client in clients:
            client.flushall()
        if slot.owner() != owner:
            slot.move(owner)


@pytest.fixture
async def clustered(cluster):
    """A link to the cluster that knows where everything is."""
    async with ScriptClient(
        create_redis_lines(**redis_servers.build_connect_options(cluster), timeout_ms=5000)
    ) as link:
        await count(link)
        yield link


@pytest.mark.parametrize("durable", [False, True])
async def test_a_moved_slot_is_followed(clustered, slot, durable):
    """Resharding: MOVED says that nothing was run, so the command goes elsewhere."""
    link = ScriptClient(clustered.lines, replicas=int(durable), wait_ms=1)
    for client in slot.clients:
        client.flushall()
    to = (slot.owner() + 1) % 3
    slot.move(to)

    with pytest.raises(StoreUnavailable) if durable else contextlib.nullcontext():
        await count(link, durable=durable)

    assert b"1" == slot.clients[to].get(KEYS[7])


async def test_a_slot_that_is_being_moved_is_followed(clustered, slot):
    """ASK holds for one command: the slot's owner stays the first to be asked."""
    for client in slot.clients:
        client.flushall()
    source = slot.owner()
    to = (source + 1) % 3
    slot.set(to, "IMPORTING", slot.ids[source])
    slot.set(source, "MIGRATING", slot.ids[to])

    assert 1 == await count(clustered)
    assert 2 == await count(clustered)

    slot.clients[to].flushall()
    slot.set(to, "STABLE")
    slot.set(source, "STABLE")
    assert 1 == await count(clustered)


@pytest.mark.slow
async def test_a_failover_in_a_cluster_is_survived(tmp_path):
    """A master dies; its replica has what was acknowledged, and is found."""
    with (
        redis_servers.start_cluster(tmp_path / "masters") as (dying, *others),
        redis_servers.start_cluster_replica(tmp_path / "replica", dying) as replica,
        redis_servers.open_client(dying) as asked,
    ):
        key = next(key for key in KEYS if redis_servers.is_key_owner(asked, key))
        lines = create_redis_lines(
            **redis_servers.build_connect_options([*others, replica]), timeout_ms=2000
        )
        async with ScriptClient(lines, replicas=1, wait_ms=1000) as link:
            assert 1 == await count(link, key, durable=True)

            redis_servers.kill_server(dying)
            after = await eventually(lambda: count(link, key))

            assert 2 == after
