"""Names that stand for code."""

from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import pytest

from schemas.lookup import UnknownNameError, find_factory, is_factory, lacking

KNOWN = {"digest": "schemas.digest:digest_json"}


def test_a_short_name_and_a_module_s_factory_are_found() -> None:
    from schemas.digest import digest_json, hash64

    assert find_factory("digest", KNOWN, "function") is digest_json
    assert find_factory("schemas.digest:hash64", KNOWN, "function") is hash64


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "function 'nothing': it is one of digest, or package.module:factory of your own"),
        ("schemas.nowhere:f", "no module 'schemas.nowhere'"),
        ("nowhere.at.all:f", "no module 'nowhere.at.all'"),
        ("schemas.digest:nothing", "schemas.digest has no 'nothing'"),
        ("schemas.version:VERSION", "cannot be called"),
        ("os:system('true')", "it is one of digest"),
        ("/tmp/file.py:f", "it is one of digest"),
    ],
)
def test_what_stands_for_nothing_is_said_in_one_line(name: str, words: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_factory(name, KNOWN, "function")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("import a_package_that_nobody_has", "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_fails_is_not_called_a_wrong_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, reason: str
) -> None:
    (tmp_path / "theirs_failing.py").write_text(f"{line}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UnknownNameError, match="theirs_failing cannot be imported") as caught:
        find_factory("theirs_failing:f", KNOWN, "function")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises((ImportError, ArithmeticError, SyntaxError)):  # one of ours: its caller says what to install
        find_factory("ours", {"ours": "theirs_failing:f"}, "function")


def test_what_an_object_lacks_is_named() -> None:
    class Contract(Protocol):
        size: int

        @property
        def name(self) -> str: ...

        def run(self) -> None: ...

    assert lacking(object(), Contract) == ["name", "run", "size"]
    assert lacking(SimpleNamespace(size=1, run=print), Contract) == ["name"]


def test_addresses_are_no_factories() -> None:
    assert is_factory("package.module:factory")
    assert not is_factory("https://tfhub.dev/google/yamnet/1")
    assert not is_factory("C:\\models\\yamnet.tflite")
    assert not is_factory("builtin")
