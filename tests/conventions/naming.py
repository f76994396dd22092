"""Names: functions begin with a verb, modules and constants are nouns.

The shares are those of the projects that this one takes as models (argon2-cffi 75 % of functions
verb first, httpx 57 %, import-linter 77 %, with no participles).
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.conventions.words import (
    ALLOWED_CONSTANTS,
    ALLOWED_DOUBLED_MODULES,
    ALLOWED_MODULES,
    VERBS,
)


MIN_VERB_SHARE = 0.90
MAX_PARTICIPLE_SHARE = 0.01

_PARTICIPLE = re.compile(r"[a-z]+(ed|ing)")
_PROPERTIES = frozenset({"property", "cached_property", "setter", "fixture"})
"""Decorators of functions that are named for their value: those of pytest are used as arguments."""


class NamingShares(NamedTuple):
    """Shares of function names, from 0 to 1; properties and dunder methods do not count."""

    verb_first: float
    participle_first: float


def measure_names(package: Path) -> NamingShares:
    """Return the shares over all functions and methods of a package."""
    words = [name.lstrip("_").split("_")[0] for name in list_function_names(package)]
    verbs = sum(word in VERBS for word in words)
    participles = sum(word not in VERBS and bool(_PARTICIPLE.fullmatch(word)) for word in words)
    return NamingShares(verbs / len(words), participles / len(words))


def find_share_errors(shares: NamingShares) -> Iterator[str]:
    """Yield what is wrong with the shares."""
    if shares.verb_first < MIN_VERB_SHARE:
        yield f"{shares.verb_first:.0%} of functions begin with a verb: at least {MIN_VERB_SHARE:.0%}"
    if shares.participle_first > MAX_PARTICIPLE_SHARE:
        yield f"{shares.participle_first:.1%} of functions begin with a participle: too many"


def list_function_names(package: Path) -> list[str]:
    """Return the names of all functions and methods, without properties, fixtures and dunder methods."""
    return [
        node.name
        for path in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("__")
        and not _is_property(node)
    ]


def find_module_errors(package: Path) -> Iterator[str]:
    """Yield modules that are named for an action, or like another module."""
    folders: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        if path.stem in {"__init__", "__main__"}:
            continue
        folders[path.stem].append(path)
        if re.search(r"(ing|ed)$", path.stem) and path.stem not in ALLOWED_MODULES:
            yield f"{path}:1: name the module for what it holds, as a noun"
    for stem, paths in folders.items():
        if len(paths) > 1 and stem not in ALLOWED_DOUBLED_MODULES:
            yield f"{paths[1]}:1: {paths[0]} has the same name; name one of them for what differs"


def find_constant_errors(package: Path) -> Iterator[str]:
    """Yield module and class constants of one word: a constant has a noun and its unit."""
    for path in sorted(package.rglob("*.py")):
        for name, line in _list_constants(ast.parse(path.read_text())):
            if "_" not in name.strip("_") and name.strip("_") not in ALLOWED_CONSTANTS:
                yield f"{path}:{line}: {name}: give the constant a noun and its unit"


def _list_constants(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and re.fullmatch(r"_?[A-Z][A-Z0-9_]+", target.id):
                yield target.id, target.lineno


def _is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    names = {
        part.id if isinstance(part, ast.Name) else getattr(part, "attr", "")
        for decorator in node.decorator_list
        for part in [decorator.func if isinstance(decorator, ast.Call) else decorator]
    }
    return bool(names & _PROPERTIES)
