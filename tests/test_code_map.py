"""otp_service/README.md names modules, classes and functions that exist, and every module once."""

import ast
import functools
import re
import tomllib
from pathlib import Path

import pytest


TREE = Path(__file__).parents[1]
PACKAGE = TREE / "otp_service"
MAP = (PACKAGE / "README.md").read_text()
CODE_WORDS = sorted({*re.findall(r"`([^`\n]+)`", MAP)})

PATHS = [
    word for word in CODE_WORDS if re.fullmatch(r"[\w/]+(\.(py|lua|md|toml|json|yaml)|/)", word)
]
NAMES = [word for word in CODE_WORDS if re.fullmatch(r"[A-Z]\w*[a-z]\w*(\.\w+)?|\w+\(\)", word)]
UPPER_CASE_NAMES = [word for word in CODE_WORDS if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", word)]
DOCUMENTED_PACKAGES = ("store", "sms", "audit")
"""Packages whose modules are listed in their own README."""


@functools.cache
def list_definitions():
    """Return each class, `Class.method`, `function()` and constant of the product."""
    names = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                names |= {node.name, *(f"{node.name}.{name}" for name in list_members(node))}
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(f"{node.name}()")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def list_members(node):
    """Return the methods of a class."""
    return [
        member.name
        for member in node.body
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_the_map_names_code():
    """Otherwise the tests below would pass on an empty page."""
    assert len(PATHS) > 100
    assert len(NAMES) > 30


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path):
    """A path is relative to the package, to the repository, or to the package of its section."""
    folders = [PACKAGE, TREE, *(PACKAGE / section for section in SECTIONS)]

    assert any((folder / path).exists() for folder in folders)


@pytest.mark.parametrize("name", [*NAMES, *UPPER_CASE_NAMES])
def test_every_class_function_and_constant_exists(name):
    """A renamed one must be renamed on the map."""
    assert name in list_definitions()


def read_sections():
    """Return the modules that each section about a package lists."""
    parts = re.split(
        r"^### `([\w/]+)/`$", MAP.split("\n## The path of an issue")[0], flags=re.MULTILINE
    )
    return {
        name: [
            module
            for line in text.splitlines()
            if line.startswith("| `")
            for module in re.findall(r"`([\w/.]+)`", line.split("|")[1])
        ]
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


SECTIONS = read_sections()


@pytest.mark.parametrize("package", SECTIONS)
def test_every_module_of_a_package_is_listed_once(package):
    """A new module needs an entry on the map."""
    folder = PACKAGE / package
    modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    packages = [f"{path.parent.name}/" for path in folder.glob("*/__init__.py")]

    assert sorted(modules + packages) == sorted(
        module for module in SECTIONS[package] if "/" not in module.rstrip("/")
    )


def test_every_package_has_a_section_or_a_readme():
    """On the map, or as the list of files in its README."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}

    assert packages == {name for name in SECTIONS if "/" not in name} | {*DOCUMENTED_PACKAGES}
    assert all((PACKAGE / name / "README.md").exists() for name in DOCUMENTED_PACKAGES)


def test_layers_are_those_of_the_import_contract():
    """From the top down, with the independent packages of each layer."""
    (contract,) = [
        contract
        for contract in tomllib.loads((TREE / "pyproject.toml").read_text())["tool"][
            "importlinter"
        ]["contracts"]
        if contract.get("containers") == ["otp_service"]
    ]
    rows = re.findall(r"^\| \d \|(.*?[^\\])\|", MAP, re.MULTILINE)

    layers = [{*re.findall(r"`(\w+)(?:\.py|/)`", row)} for row in rows]

    assert layers == [{*re.split(r" [|:] ", layer)} for layer in contract["layers"]]
