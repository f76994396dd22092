"""The import of commands and workers, which the garbage collector does not look at."""

import gc
import sys
from pathlib import Path

import pytest

from otp_service.cli.module_import import import_permanently


@pytest.fixture
def module_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that is not imported; it records whether the collector runs."""
    monkeypatch.syspath_prepend(tmp_path)
    name = "imported_permanently"
    monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / f"{name}.py").write_text("import gc\nwas_enabled = gc.isenabled()\nkept = [[]]\n")
    return name


def test_the_collector_pauses_and_leaves_out_what_was_imported(module_name: str) -> None:
    """It runs again afterwards."""
    module = import_permanently(module_name)

    assert not module.was_enabled
    assert gc.isenabled()
    assert not any(one is module.kept for one in gc.get_objects())


def test_an_imported_module_freezes_nothing_again(module_name: str) -> None:
    """What a process has created since is collected, as ever."""
    first = import_permanently(module_name)
    created_since: list[object] = [[]]

    assert first is import_permanently(module_name)
    assert any(one is created_since for one in gc.get_objects())


def test_the_collector_runs_again_after_an_import_that_fails() -> None:
    """A process that goes on has no leak."""
    with pytest.raises(ModuleNotFoundError):
        import_permanently("no.such.module")

    assert gc.isenabled()
