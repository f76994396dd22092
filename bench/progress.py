"""Lines about the progress of a bench."""

import sys


def print_progress(progress: str) -> None:
    """Print progress to stderr: only the tables are printed to stdout."""
    sys.stderr.write(f"bench: {progress}\n")
