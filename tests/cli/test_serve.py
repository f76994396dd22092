"""What `serve` hands to uvicorn's supervisor."""

from uvicorn.importer import import_from_string

from otp_service.cli import serve


def test_workers_find_their_application():
    """Workers are processes of their own: the factory reaches them as a string."""
    assert serve.create_worker is import_from_string(serve.WORKER_FACTORY)
