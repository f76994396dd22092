"""`python -m tests.conventions [PATH ...]`: print what breaks a convention, and exit with 1.

With paths, only what is in them is printed.
"""

import sys
from pathlib import Path

from tests.conventions.naming import (
    find_constant_errors,
    find_module_errors,
    find_share_errors,
    measure_names,
)
from tests.conventions.prose import find_prose_errors


PACKAGE = Path("otp_service")
CLIENT = Path("clients/python/src/otp_service_client")
EXAMPLES = Path("examples")
PACKAGES = (PACKAGE, CLIENT, EXAMPLES)


def list_prose_files() -> list[Path]:
    """Return every file whose prose is checked."""
    suffixes = ("py", "lua", "md", "html")
    product = [path for suffix in suffixes for path in PACKAGE.rglob(f"*.{suffix}")]
    folders = ("docs", "deploy", "bench", "clients/python", "examples")
    pages = [path for folder in folders for path in Path(folder).rglob("*.md")]
    others = [path for folder in (CLIENT, EXAMPLES) for path in folder.rglob("*.py")]
    templates = EXAMPLES.rglob("*.html")
    return sorted([*product, *others, *templates, *pages, *Path().glob("*.md")])


def main(arguments: list[str]) -> int:
    """Check the tree that is the current folder."""
    shares = measure_names(PACKAGE)
    errors = [
        *find_share_errors(shares),
        *find_share_errors(measure_names(CLIENT)),
        *find_share_errors(measure_names(EXAMPLES)),
        *(error for package in PACKAGES for error in find_module_errors(package)),
        *(error for package in PACKAGES for error in find_constant_errors(package)),
        *find_prose_errors(list_prose_files()),
    ]
    if arguments:
        errors = [error for error in errors if error.startswith(tuple(arguments))]
    for error in errors:
        print(error)
    print(
        f"names and prose: {shares.verb_first:.0%} of functions verb first, "
        f"{shares.participle_first:.1%} participle first, {len(errors)} errors"
    )
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
