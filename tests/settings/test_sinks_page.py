"""SINKS.md agrees with the settings of sinks."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import otp_service
from otp_service.audit.sinks import AnchorSinkSettings
from otp_service.settings import find_errors, load_settings


PAGE = (Path(otp_service.__file__).parent / "audit" / "SINKS.md").read_text()
ROWS = {
    cells[1].strip("`"): cells[2]
    for line in PAGE.splitlines()
    if len(cells := re.split(r" *\| *", line)) == 5
}
KINDS = {kind.__struct_config__.tag: kind for kind in get_args(AnchorSinkSettings)}


@pytest.mark.parametrize("name", KINDS)
def test_every_type_has_a_row_with_all_its_settings_and_defaults(name):
    """A new sink needs a row."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(KINDS[name])}

    documented = dict(re.findall(r"`(\w+)`(?: \(([^,)]+))?", ROWS[name]))

    assert fields.keys() == documented.keys()
    for field, default in documented.items():
        value = fields[field].default
        plain = "" if value in {None, msgspec.NODEFAULT} else str(value).lower()
        assert plain.removesuffix(".0") == default


def test_its_examples_can_be_run_with(complete_config):
    """As written, except for the secret, in a configuration with an archive."""
    first, anchor = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    archive = 'archive = "/a"\nsigning_key = "/k"\n'
    text = complete_config(extra=f"{anchor}{archive}{first}")

    settings = load_settings(text, {}, lambda _: "Splunk worthless", cores=2)

    assert [] == find_errors(settings)
    assert {"siem", "bucket"} == settings.audit.sinks.keys()
    assert tomllib.loads(anchor)["audit"]["anchor"]["path"] == settings.audit.anchor.path
