"""What a release says of itself in several files, from one version; and that the sdist is the whole checkout."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from schemas.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_changelog_begins_with_this_version() -> None:
    (first, *_) = re.findall(r"^## (\S+?),? ", text("CHANGELOG.md"), re.MULTILINE)
    assert first == VERSION


def test_the_version_is_written_in_one_place() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert "version:" not in text("CITATION.cff").replace("cff-version:", "")


def test_the_citation_names_the_authors_and_the_licence_of_the_package() -> None:
    citation = text("CITATION.cff")
    assert f"license: {PROJECT['license']}\n" in citation
    assert all(f"- name: {author['name']}\n" in citation for author in PROJECT["authors"])


def test_every_python_that_the_package_takes_is_named_where_it_is_asked_for() -> None:
    pythons = [
        match[1] for name in PROJECT["classifiers"] if (match := re.search(r":: (3\.\d+)$", name))
    ]  # fmt: skip
    assert pythons == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    assert "PYTHONS ?= " + " ".join(f"python{python}" for python in pythons) in text("Makefile")
    asked = ", ".join(f"({python.replace('.', ', ')})" for python in pythons)
    assert f"sys.version_info[:2] not in ({asked})" in text("Makefile")
    for page in ("README.md", "docs/install.md"):
        assert "Python 3.11, 3.12 or 3.13" in text(page)


@pytest.mark.slow
def test_the_sdist_is_the_whole_checkout(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("no git checkout")
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    for name in names:
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "tree" / name)
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    made = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)],
        cwd=tmp_path / "tree", capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    with tarfile.open(tmp_path / f"openmulan-{VERSION}.tar.gz") as archive:
        packed = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert set(names) - packed == set()
    assert {name for name in packed - set(names) if "egg-info" not in name} == {"PKG-INFO", "setup.cfg"}


def test_what_the_pages_and_the_nightly_round_name_is_a_target_of_make() -> None:
    makefile = text("Makefile")
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.MULTILINE))
    in_table = set(re.findall(r"^\| `make ([a-z0-9-]+)", text("docs/development.md"), re.MULTILINE))
    nightly = text(".github/workflows/checks.yml")
    (matrix,) = re.findall(r"target: \[(.*)\]", nightly)
    at_night = {*matrix.split(", "), *re.findall(r"target: ([a-z0-9-]+)", nightly)}
    assert {"test", "test-fast", "test-s3", "test-dist"} <= in_table
    assert {"test", "test-s3", "test-dist"} <= at_night
    assert (in_table | at_night) - targets == set()
    assert "- run: .ci/run\n" in nightly


def test_issue_forms_and_the_workflow_are_yaml_that_says_what_it_needs() -> None:
    yaml = pytest.importorskip("yaml")
    forms = [path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
    assert len(forms) == 3
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        ids = [field["id"] for field in form["body"]]
        assert {"name", "description", "body"} <= form.keys()
        assert len(set(ids)) == len(ids)
        assert all(field["attributes"]["label"] for field in form["body"])
    assert set(yaml.safe_load(text(".github/workflows/checks.yml"))["jobs"]) == {"change", "nightly"}
