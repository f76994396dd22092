"""Cut what our exports use out of the schemas that `../shared/schemas` has.

    python -m tests.audit.exports.schemas.extract ../shared/schemas

What is left out can only make the validation stricter: an attribute or field that is not in the
cut is refused.
"""

import json
import sys
from pathlib import Path
from typing import Any


SCHEMA_FOLDER = Path(__file__).parent
OCSF_PROFILES = {None, "security_control", "trace", "host"}
OCSF_OBJECTS = (
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
ECS_FIELD_SETS = (
    *("@timestamp", "labels", "message", "tags", "client.", "ecs.", "error.", "event.", "http."),
    *("organization.", "related.", "rule.", "service.", "trace.", "user."),
)
UNUSED_ECS_FIELDS = (
    ".entity.",
    ".x509.",
    ".geo.",
    ".as.",
    "user.changes",
    "user.effective",
    "user.target",
)


def cut_ocsf(whole: dict[str, Any]) -> dict[str, Any]:
    """Return the four classes without profiles that we do not use, and the objects that we do."""
    for name, kind in whole["classes"].items():
        kept = kind["attributes"].items()
        if name != "api_activity":  # `api` is its own, and by another name the cloud's
            kept = [(name, one) for name, one in kept if one.get("profile") != "cloud"]
        profiles = OCSF_PROFILES | ({"cloud"} if name == "api_activity" else set())
        kind["attributes"] = {n: one for n, one in kept if one.get("profile") in profiles}
        kind["attributes"].pop("cloud", None)
    objects = {name: whole["objects"][name] for name in OCSF_OBJECTS}
    return whole | {"objects": objects}


def cut_ecs(rows: list[str]) -> list[str]:
    """Return the fields of the sets that we use."""
    head, *fields = rows
    ours = [row for row in fields if row.startswith(ECS_FIELD_SETS)]
    return [head, *(row for row in ours if not any(one in row for one in UNUSED_ECS_FIELDS))]


def main(shared: Path) -> None:
    """Write both."""
    cut = cut_ocsf(json.loads((shared / "ocsf-1.8.0-cut.json").read_text("utf-8")))
    text = json.dumps(cut, sort_keys=True, separators=(",", ":")).replace("},", "},\n")
    (SCHEMA_FOLDER / "ocsf-1.8.0.json").write_text(text + "\n", "utf-8")
    rows = (shared / "ecs-9.4.0-fields.csv").read_text("utf-8").splitlines()
    (SCHEMA_FOLDER / "ecs-9.4.0.csv").write_text("\n".join(cut_ecs(rows)) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
