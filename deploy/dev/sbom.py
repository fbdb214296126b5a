#!/usr/bin/env python3
"""Writes what the binary for a target is made of as CycloneDX: every crate that is linked into it, with version, licence,
checksum and what it depends on. Tools of the build and of tests are left out, since they are not shipped.

    sbom.py TARGET FILE
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys
import tomllib
import uuid

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = SchemaVersion.V1_6


def cargo(*arguments):
    done = subprocess.run(["cargo", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"sbom: cargo {arguments[0]}: {done.stderr}")
    return done.stdout


def linked(target):
    """(name, version) of every crate in the binary. From `cargo tree`, which knows the features that it is built with;
    `cargo metadata` would add what only tests switch on."""
    tree = cargo("tree", "--locked", "--package", "fanfare", "--edges", "normal,no-proc-macro", "--target", target, "--prefix", "none",
                 "--format", "{p}")  # fmt: skip
    return {tuple(line.split()[:2]) for line in tree.splitlines() if line}


def component(package, checksums):
    name, version = package["name"], package["version"]
    ours = package["source"] is None
    licences = LicenseFactory()
    links = [(ExternalReferenceType.VCS, "repository"), (ExternalReferenceType.WEBSITE, "homepage")]
    checksum = checksums.get((name, version))
    # Cargo takes "MIT/Apache-2.0" for "MIT OR Apache-2.0", which is older than SPDX's expressions.
    expression = (package["license"] or "").replace("/", " OR ")
    return Component(
        type=ComponentType.APPLICATION if name == "fanfare" else ComponentType.LIBRARY,
        name=name,
        version=version,
        bom_ref=f"{name}@{version}",
        purl=None if ours else PackageURL("cargo", name=name, version=version),
        description=package["description"],
        licenses=[licences.make_with_expression(expression)] if expression else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checksum)] if checksum else [],
        external_references=[
            ExternalReference(type=kind, url=XsUri(package[key])) for kind, key in links if package[key]
        ],
    )


def bom(target):
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", target))
    lock = (ROOT / "Cargo.lock").read_bytes()
    checksums = {
        (package["name"], package["version"]): package["checksum"]
        for package in tomllib.loads(lock.decode())["package"]
        if "checksum" in package
    }
    wanted = {(name, version.removeprefix("v")) for name, version in linked(target)}
    packages = {
        package["id"]: package for package in metadata["packages"] if (package["name"], package["version"]) in wanted
    }
    components = {identity: component(package, checksums) for identity, package in packages.items()}
    (main,) = [one for one in components.values() if one.name == "fanfare"]
    found = Bom(components=[one for one in components.values() if one is not main])
    found.metadata.component = main
    # The same for the same sources.
    found.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, f"{main.version} {target} {lock.hex()}")
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        found.metadata.timestamp = datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc)
    for node in metadata["resolve"]["nodes"]:
        if node["id"] in components:
            normal = [dep["pkg"] for dep in node["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
            needed = [components[identity] for identity in normal if identity in components]
            found.register_dependency(components[node["id"]], needed)
    return found


def main():
    target, file = sys.argv[1], pathlib.Path(sys.argv[2])
    text = make_outputter(bom(target), OutputFormat.JSON, VERSION).output_as_string(indent=2)
    if problem := JsonStrictValidator(VERSION).validate_str(text):
        sys.exit(f"sbom: {file} is no CycloneDX: {problem}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    print(f"{file}: {len(json.loads(text)['components'])} components")


if __name__ == "__main__":
    main()
