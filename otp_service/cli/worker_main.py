"""Starts a worker process of `serve`: `python -m otp_service.cli.worker_main CHANNEL LISTENER`.

The arguments are two file descriptors, which `worker.py` explains.
"""

from otp_service.cli.module_import import import_permanently


if __name__ == "__main__":
    import_permanently("otp_service.cli.worker").main()
