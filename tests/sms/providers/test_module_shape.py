"""Every vendor's module has the same order and the same names, so that one is read as the other."""

import ast
from pathlib import Path

import pytest

from otp_service.sms import providers


WITHOUT_VENDOR = {"__init__", "generic_http", "inbox", "inbox_outcomes"}
FOLDER = Path(providers.__file__).parent
MODULES = [path for path in sorted(FOLDER.glob("*.py")) if path.stem not in WITHOUT_VENDOR]

TABLES = ["FAULT_TABLE", "RECEIPT_STATUSES", "FAILURE_STATUSES"]
DIALECT = ["build_request", "interpret_reply", "parse_callback"]
OWN_PROTOCOL = {"smpp"}
"""Providers whose replies and receipts are PDUs (sms/smpp/)."""
WITHOUT_RECEIPTS = {"sns", *OWN_PROTOCOL}


def name_of(node: ast.stmt) -> str:
    """The name that a statement of a module defines, if any."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    return getattr(node, "name", "")


def is_private_struct(node: ast.stmt) -> bool:
    """Return whether it is a struct of a reply or a receipt."""
    return isinstance(node, ast.ClassDef) and node.name.startswith("_")


def is_settings(node: ast.stmt) -> bool:
    """Return whether it is a class with a tag, which the settings can select."""
    return isinstance(node, ast.ClassDef) and any(word.arg == "tag" for word in node.keywords)


@pytest.fixture(params=MODULES, ids=[path.stem for path in MODULES])
def module(request) -> tuple[str, list[ast.stmt]]:
    """The name and the statements of one vendor's module."""
    return request.param.stem, ast.parse(request.param.read_text()).body


def test_tables_have_the_same_names_and_come_first(module):
    """FAULT_TABLE in every module, and what its receipts mean in each that has some."""
    name, body = module
    wanted = TABLES[:1] if name in WITHOUT_RECEIPTS else TABLES[:2]
    places = [next((i for i, each in enumerate(body) if name_of(each) == t), -1) for t in TABLES]
    found = [place for place in places if place >= 0]

    assert -1 not in places[: len(wanted)]
    assert found == sorted(found)
    first_class = next(i for i, each in enumerate(body) if isinstance(each, ast.ClassDef))
    assert max(found) < first_class


def test_structs_then_settings_then_helpers(module):
    """The private structs of replies and receipts, the settings with the dialect, functions."""
    _, body = module
    private = [i for i, each in enumerate(body) if is_private_struct(each)]
    settings = [i for i, each in enumerate(body) if is_settings(each)]
    helpers = [i for i, each in enumerate(body) if isinstance(each, ast.FunctionDef)]

    assert settings
    assert max(private, default=-1) < settings[0]
    assert settings[-1] < min(helpers, default=len(body))


def test_the_dialect_has_its_functions_in_one_order(module):
    """build_request, interpret_reply, parse_callback, then what only some have."""
    name, body = module
    if name in OWN_PROTOCOL:
        return
    (main, *_) = [each for each in body if is_settings(each)]
    functions = [name_of(each) for each in main.body if isinstance(each, ast.FunctionDef)]
    functions = [each.removesuffix("_at") for each in functions]
    wanted = DIALECT[:2] if name in WITHOUT_RECEIPTS else DIALECT

    assert wanted == [each for each in functions if each in DIALECT]
    assert not [each for each in functions[: functions.index("build_request")] if each[0] == "_"]
