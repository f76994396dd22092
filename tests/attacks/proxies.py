"""nginx, HAProxy and Caddy as operators install them, in front of a running service.

Each `write_…` function adapts the file of deploy/ to a free port of loopback; nothing else is changed.
"""

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.processes import REPOSITORY_ROOT, WAIT_TIMEOUT_SECONDS, stop_process
from tests.store.redis_servers import find_free_port


NGINX_SITE = REPOSITORY_ROOT / "deploy" / "nginx" / "otp-service.conf"
HAPROXY_CONFIG = REPOSITORY_ROOT / "deploy" / "haproxy" / "haproxy.cfg"
CADDYFILE = REPOSITORY_ROOT / "deploy" / "caddy" / "Caddyfile"

WEBSOCKET_LINES = {
    "literal": 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";',
    "map": (
        "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;"
    ),
}
"""The two usual ways in which nginx forwards a WebSocket, here in front of an API."""

_NGINX_MAIN = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        "" "";
    }}
    include {folder}/site.conf;
}}
"""


def write_nginx_config(
    folder: Path,
    port: int,
    service_port: int,
    websocket: str = "",
    *,
    certificate: Path | None = None,
) -> list[str]:
    """Write the configuration into a folder; return the command. Without a certificate it has no TLS.

    `websocket` names the lines that replace `Connection ""`.
    """
    site = NGINX_SITE.read_text().replace("127.0.0.1:8000", f"127.0.0.1:{service_port}")
    tls = f" ssl http2;\nssl_certificate {certificate};\nssl_certificate_key {certificate}"
    site = site.replace("/var/log/nginx/", f"{folder}/")
    site = re.sub(r"    ssl_certificate\w* .*\n", "", site)
    site = site.replace("443 ssl http2", f"127.0.0.1:{port}{tls if certificate else ''}")
    if websocket:
        site = site.replace('proxy_set_header Connection "";', WEBSOCKET_LINES[websocket])
    (folder / "site.conf").write_text(site)
    (folder / "nginx.conf").write_text(_NGINX_MAIN.format(folder=folder))
    nginx = find_program("nginx", "/usr/sbin/nginx")
    error_log = str(folder / "error.log")
    return [nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", error_log]


def write_haproxy_config(
    folder: Path,
    port: int,
    service_port: int,
    reuse: str = "",
    *,
    certificate: Path | None = None,
) -> list[str]:
    """Write the configuration into a folder; return the command. Without a certificate it has no TLS.

    `reuse` replaces the mode in which connections to the service are shared.
    """
    config = HAPROXY_CONFIG.read_text().replace("127.0.0.1:8000", f"127.0.0.1:{service_port}")
    config = config.replace("http-reuse safe", f"http-reuse {reuse or 'safe'}")
    tls = f" ssl crt {certificate} alpn h2,http/1.1" if certificate else ""
    config = re.sub(r"bind :443 .*", f"bind 127.0.0.1:{port}{tls}", config)
    (folder / "haproxy.cfg").write_text(config)
    haproxy = find_program("haproxy", "/usr/sbin/haproxy")
    return [haproxy, "-db", "-f", str(folder / "haproxy.cfg")]


def write_caddy_config(
    folder: Path,
    port: int,
    service_port: int,
    variant: str = "",
    *,
    certificate: Path | None = None,
) -> list[str]:
    """Write the configuration into a folder; return the command. Without a certificate it has no TLS."""
    assert not variant
    config = CADDYFILE.read_text().replace("127.0.0.1:8000", f"127.0.0.1:{service_port}")
    # Without the listener through which `caddy reload` sends a configuration: it has a fixed port.
    config = re.sub(r"^\{$", "{\n\tadmin off", config, flags=re.MULTILINE)
    address = f"{'https' if certificate else 'http'}://:{port}"
    tls = f"\n\ttls {certificate} {certificate}" if certificate else ""
    config = re.sub(
        r"^otp\.example\.com \{$",
        f"{address} {{\n\tbind 127.0.0.1{tls}",
        config,
        flags=re.MULTILINE,
    )
    (folder / "Caddyfile").write_text(config)
    caddy, home = find_program("caddy", "/usr/bin/caddy"), str(folder)
    environment = ["env", f"XDG_DATA_HOME={home}", f"XDG_CONFIG_HOME={home}"]
    config_options = ["--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    return [*environment, caddy, "run", *config_options]


WRITERS = {
    "nginx": write_nginx_config,
    "haproxy": write_haproxy_config,
    "caddy": write_caddy_config,
}


@contextlib.contextmanager
def run_proxy(
    program: str,
    folder: Path,
    service_port: int,
    variant: str = "",
    *,
    certificate: Path | None = None,
) -> Iterator[int]:
    """Run a proxy with its file of deploy/; yield its port. Without a certificate it has no TLS."""
    port = find_free_port()
    folder.mkdir()
    write = WRITERS[program]
    command = write(folder, port, service_port, variant, certificate=certificate)
    with _run_command(command, folder / "proxy.log", port):
        yield port


def find_program(name: str, path: str) -> str:
    """Return its path, also where /usr/sbin is not searched; skip the test if it is missing."""
    found = shutil.which(name) or shutil.which(path)
    if found is None:
        pytest.skip(f"needs {name}: apt install {name}")
    return found


@contextlib.contextmanager
def _run_command(command: Sequence[str], log: Path, port: int) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
        )
    try:
        _wait_for_port(process, log, port)
        yield
    finally:
        stop_process(process)


def _wait_for_port(process: "subprocess.Popen[bytes]", log: Path, port: int) -> None:
    deadline = time.monotonic() + WAIT_TIMEOUT_SECONDS
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the proxy did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)  # it cannot notify the test
