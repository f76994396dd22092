"""What SINKS.md says of sinks is so."""

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
def test_every_type_has_a_row_with_all_that_can_be_set_and_its_defaults(name):
    """Whoever adds a sink adds its row."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(KINDS[name])}

    said = dict(re.findall(r"`(\w+)`(?: \(([^,)]+))?", ROWS[name]))

    assert fields.keys() == said.keys()
    for field, default in said.items():
        has = fields[field].default
        plain = "" if has in {None, msgspec.NODEFAULT} else str(has).lower().removesuffix(".0")
        assert plain == default


def test_its_examples_can_be_run_with(complete_config, now_ms):
    """As they stand, but for the secret and beside an archive."""
    first, anchor = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    least = 'archive = "/a"\nsigning_key = "/k"\n'
    text = complete_config(extra=f"{anchor}{least}{first}")

    settings = load_settings(text, {}, lambda _: "Splunk worthless", cores=2)

    assert [] == find_errors(settings, now_ms)
    assert {"siem", "bucket"} == settings.audit.sinks.keys()
    assert tomllib.loads(anchor)["audit"]["anchor"]["path"] == settings.audit.anchor.path
