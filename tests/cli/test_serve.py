"""What is handed to uvicorn's supervisor, by `serve` and by the benchmark's bare application."""

import pytest
from uvicorn.importer import import_from_string

from bench import bare_app
from otp_service.cli import serve
from otp_service.cli.common import read_safe_settings


@pytest.mark.parametrize(
    ("factory", "name"),
    [
        (serve.create_worker, serve.WORKER_FACTORY),
        (bare_app.create_app, bare_app.WORKER_FACTORY),
    ],
)
def test_workers_find_their_application(factory, name):
    """Workers are processes of their own: the factory reaches them as a string."""
    assert factory is import_from_string(name)


def test_what_check_refuses_and_the_service_can_run_with_is_logged(config, caplog):
    """R55: one expired key of one tenant must not stop the logins of all others."""
    config.write_text(
        config.read_text().replace(
            'scopes = ["challenges"]', 'scopes = ["challenges"], expires = 2026-01-01T00:00:00Z'
        )
    )
    config.chmod(0o644)

    serve.log_tolerated_issues(config, read_safe_settings(config))

    assert "tenants.shop.keys: needs an unexpired key" in caplog.text
    assert f"{config}: can be read by others" in caplog.text
