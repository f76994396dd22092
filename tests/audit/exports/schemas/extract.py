"""Cut what our exports use out of the schemas that `../shared/schemas` has.

    python -m tests.audit.exports.schemas.extract ../shared/schemas

What is left out can only make the validation stricter: an attribute or field that is not in the
cut is refused.
"""

import json
import sys
from pathlib import Path
from typing import Any


HERE = Path(__file__).parent
PROFILES = {None, "security_control", "trace", "host"}
OBJECTS = (
    *("actor", "api", "auth_factor", "finding_info", "metadata", "network_endpoint", "object"),
    *(
        "organization",
        "policy",
        "product",
        "request",
        "resource_details",
        "service",
        "trace",
        "user",
    ),
)
SETS = (
    *("@timestamp", "labels", "message", "tags", "client.", "ecs.", "error.", "event.", "http."),
    *("organization.", "related.", "rule.", "service.", "trace.", "user."),
)
NOT_OURS = (".entity.", ".x509.", ".geo.", ".as.", "user.changes", "user.effective", "user.target")


def ocsf(whole: dict[str, Any]) -> dict[str, Any]:
    """Return the four classes without profiles that we do not use, and the objects that we do."""
    for name, kind in whole["classes"].items():
        kept = kind["attributes"].items()
        if name != "api_activity":  # `api` is its own, and by another name the cloud's
            kept = [(name, one) for name, one in kept if one.get("profile") != "cloud"]
        profiles = PROFILES | ({"cloud"} if name == "api_activity" else set())
        kind["attributes"] = {n: one for n, one in kept if one.get("profile") in profiles}
        kind["attributes"].pop("cloud", None)
    objects = {name: whole["objects"][name] for name in OBJECTS}
    return whole | {"objects": objects}


def ecs(rows: list[str]) -> list[str]:
    """Return the fields of the sets that we use."""
    head, *fields = rows
    ours = [row for row in fields if row.startswith(SETS)]
    return [head, *(row for row in ours if not any(one in row for one in NOT_OURS))]


def main(shared: Path) -> None:
    """Write both."""
    cut = ocsf(json.loads((shared / "ocsf-1.8.0-cut.json").read_text("utf-8")))
    text = json.dumps(cut, sort_keys=True, separators=(",", ":")).replace("},", "},\n")
    (HERE / "ocsf-1.8.0.json").write_text(text + "\n", "utf-8")
    rows = (shared / "ecs-9.4.0-fields.csv").read_text("utf-8").splitlines()
    (HERE / "ecs-9.4.0.csv").write_text("\n".join(ecs(rows)) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
