"""What is handed to uvicorn's supervisor, by `serve` and by the benchmark's bare application."""

import pytest
from uvicorn.importer import import_from_string

from bench import bare_app
from otp_service.cli import serve


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
