"""Which extras are whole, and which package is not what one of them asks for."""

from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline.doctor.findings import Finding, State
from schemas.version import VERSION

PROJECT = "openmulan"
# What the tests and the house need is nobody's trouble.
_NOT_TOLD = ("test", "dev", "all")
_NAMED = 5  # of the packages that an extra lacks


def findings() -> Iterator[Finding]:
    """The package itself, each extra, and the versions of what they bring."""
    try:
        of_project = metadata.distribution(PROJECT)
    except metadata.PackageNotFoundError:
        yield Finding(
            name="installed", state=State.BAD, what="no package openmulan: this is a bare checkout",
            advice="pip install -e '.[mine]' in it, or install the wheel",
        )  # fmt: skip
        return
    if of_project.version != VERSION:
        yield Finding(
            name="installed", state=State.BAD,
            what=f"the code is {VERSION} and what pip knows of it {of_project.version}",
            advice="install it again",
        )  # fmt: skip
    extras = [name for name in of_project.metadata.get_all("Provides-Extra") or () if name not in _NOT_TOLD]
    versions: dict[str, str] = {}
    yield _judged("base", "", versions)
    for extra in extras:
        yield _judged(f"extra {extra}", extra, versions)
    told = ", ".join(f"{name} {versions[name]}" for name in sorted(versions))
    yield Finding(name="packages", state=State.OK, what=told)


def _judged(name: str, extra: str, versions: dict[str, str]) -> Finding:
    absent, wrong = [], []
    for requirement in _requirements(PROJECT, extra, set()):
        package = canonicalize_name(requirement.name)
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            if package not in absent:
                absent.append(package)
            continue
        if not requirement.specifier.contains(versions[package], prereleases=True):
            wrong.append(f"{package} is {versions[package]}, not {requirement.specifier}")
    command = f"pip install '{PROJECT}[{extra}]'" if extra else f"pip install {PROJECT}"
    if wrong or (absent and not extra):
        lacking = f"lacks {', '.join(absent)}" if absent else ""
        return Finding(name=name, state=State.BAD, what="; ".join([*wrong, *filter(None, [lacking])]), advice=command)
    if absent:
        first, rest = absent[:_NAMED], len(absent) - _NAMED
        more = f" and {rest} more" if rest > 0 else ""
        return Finding(name=name, state=State.NOTE, what=f"not installed: lacks {', '.join(first)}{more}")
    return Finding(name=name, state=State.OK, what="whole")


def _requirements(package: str, extra: str, seen: set[tuple[str, str]]) -> Iterator[Requirement]:
    """What an extra of a package asks for on this machine, what its extras of others ask for included."""
    if (package, extra) in seen:
        return
    seen.add((package, extra))
    try:
        lines = metadata.requires(package) or ()
    except metadata.PackageNotFoundError:
        return
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        # With an extra, only what the package alone would not ask for.
        if marker is None:
            wanted = not extra
        else:
            wanted = marker.evaluate({"extra": extra}) and (not extra or not marker.evaluate({"extra": ""}))
        if not wanted:
            continue
        if canonicalize_name(requirement.name) != PROJECT:
            yield requirement
        for more in requirement.extras:
            yield from _requirements(canonicalize_name(requirement.name), more, seen)
