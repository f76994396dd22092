"""The options of the bench, and the code of an earlier commit."""

import pytest

from bench.code_before import CommitNotFoundError, extract_commit
from bench.options import parse_options


def test_an_engine_needs_a_folder_with_its_build(tmp_path, capsys):
    with pytest.raises(SystemExit):
        parse_options(["--engine", f"native={tmp_path}"])
    assert "has no argon2-cffi-bindings" in capsys.readouterr().err

    (tmp_path / "_argon2_cffi_bindings").mkdir()
    assert {"native": tmp_path} == parse_options(["--engine", f"native={tmp_path}"]).engines


@pytest.mark.parametrize("rows", ["", "x", "ax"])
def test_an_unknown_row_is_refused(rows, capsys):
    with pytest.raises(SystemExit):
        parse_options(["--rows", rows])
    assert "rows are letters of abcefg" in capsys.readouterr().err


def test_a_commit_that_is_not_there_is_an_error_of_its_own(tmp_path):
    with pytest.raises(CommitNotFoundError):
        extract_commit("0" * 40, tmp_path)


def test_the_code_of_a_commit_is_written_to_a_folder(tmp_path):
    try:
        program = extract_commit("HEAD", tmp_path)
    except CommitNotFoundError:
        pytest.skip("not a git repository")

    assert (program.code / "otp_service" / "__main__.py").is_file()
