"""`mulan doctor` as a user starts it: what it finds, what it must not tell, and how it ends."""

import getpass
import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import openmulan
from pipeline.doctor import installed, sounds, surroundings
from pipeline.doctor.findings import Finding, State, as_text, nameless

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "hf_not0a1real2token"


@pytest.fixture
def hub() -> Iterator[str]:
    """Says no to everybody, which is an answer."""

    class Refuses(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(401)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{getpass.getuser()}:{TOKEN}@127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def doctor(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([environment.pop("PYTHONPATH", ""), str(ROOT)]).strip(os.pathsep)
    return subprocess.run(
        [sys.executable, "-m", "openmulan", "doctor", *arguments],
        cwd=cwd, env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_what_is_broken_is_named_and_nobody_else_is(tmp_path: Path, hub: str) -> None:
    """A torch that ends its process is one line of many, and not the end of the others."""
    (tmp_path / "torch.py").write_text(
        f"import os, sys\nsys.stderr.write('no {tmp_path}/lib for {TOKEN}\\n')\nsys.stderr.flush()\nos.abort()\n",
        encoding="utf-8",
    )
    (tmp_path / "here").mkdir()
    without_credentials = hub.partition("//")[0] + "//" + hub.rpartition("@")[2]
    done = doctor(
        "--json", cwd=tmp_path / "here", PYTHONPATH=str(tmp_path),
        HF_ENDPOINT=without_credentials, HF_TOKEN=TOKEN, TMPDIR=str(tmp_path), HF_HUB_OFFLINE="0",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["broken"] == ["GPU"]
    found = {finding["name"]: finding for finding in told["findings"]}
    assert found["GPU"]["what"].startswith("torch does not work: no ")
    assert found["hub"] == {"name": "hub", "state": "ok", "what": "the hub of HF_ENDPOINT answers", "advice": ""}
    assert found["decoder"]["what"].endswith("wav, mp3, aac, flac, opus")
    assert "HF_TOKEN" in found["set"]["what"]
    assert metadata.version("numpy") in found["packages"]["what"]
    assert found["base"]["what"] == found["extra mine"]["what"] == "whole"
    private = (TOKEN, str(Path.home()), str(tmp_path / "here"), sys.prefix, platform.node(), without_credentials)
    assert [text for text in private if len(text) > 1 and text in done.stdout] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("asked with s3cr3tvalue now", "asked with <hidden> now"),
        (f"{Path.home()}/music/a.mp3", "~/music/a.mp3"),
        (f"{sys.prefix}/lib/python3", "<environment>/lib/python3"),
        ("https://ada:word@proxy.example/x", "https://<hidden>@proxy.example/x"),
        ("on studio-7.", "on <host>."),
        ("for ada, and adage", "for <user>, and adage"),
        ("openmulan 0.1.0", "openmulan 0.1.0"),
    ],
)
def test_names_and_secrets_have_stand_ins(text: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.setattr(platform, "node", lambda: "studio-7")
    assert nameless(text, {"MY_API_KEY": "s3cr3tvalue", "MONKEYS": "openmulan", "A_TOKEN": "0.1.0"}) == told


@pytest.mark.parametrize(
    ("pitch_hz", "amplitude", "wrong"),
    [
        (440, 0.5, ""),
        (480, 0.5, "a tone of 440 Hz comes back at 480 Hz"),
        (440, 0.05, "a tone of 0.5 of full scale comes back at 0.05"),
    ],
)
def test_a_tone_is_known_by_pitch_and_loudness(pitch_hz: float, amplitude: float, wrong: str) -> None:
    wave_T = amplitude * np.sin(2 * np.pi * pitch_hz * np.arange(16_000) / 16_000)
    assert sounds.what_is_wrong((wave_T * 32_767).astype(np.int16)) == wrong


def test_a_decoder_that_does_not_start_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.media.clip._BOOTSTRAP", "raise SystemExit('no libavcodec')")
    (finding,) = sounds.findings()
    assert finding.state is State.BAD


@pytest.mark.slow
def test_a_version_outside_of_the_range_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "torch" else real(name))
    found = {finding.name: finding for finding in installed.findings()}
    assert found["extra train"].state is State.BAD
    assert found["extra train"].what == "torch is 0.1, not ==2.13.*"
    assert found["extra train"].advice == "pip install 'openmulan[train]'"
    assert found["extra embed"].state is State.BAD, "what an extra takes from another counts too"
    assert found["extra mine"].state is State.OK


@pytest.mark.slow
def test_a_missing_package_leaves_an_extra_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "boto3":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = {finding.name: finding for finding in installed.findings()}
    assert (found["extra s3"].state, found["extra s3"].what) == (State.NOTE, "not installed: lacks boto3")


@pytest.mark.parametrize(
    ("setting", "offline", "what"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, False, "the hub of HF_ENDPOINT: Connection refused"),
        ({"HF_ENDPOINT": "file:///etc/passwd"}, False, "the hub of HF_ENDPOINT: the address is neither http nor https"),
        ({"HF_HUB_OFFLINE": "1"}, False, "not asked (HF_HUB_OFFLINE)"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, True, "not asked (--offline)"),
    ],
)
def test_a_hub_that_is_not_there_is_a_note(
    setting: dict[str, str], offline: bool, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"HF_HUB_OFFLINE": "", **setting}.items():
        monkeypatch.setenv(name, value)
    (finding,) = surroundings.network(offline)
    assert (finding.state, finding.what) == (State.NOTE, what)


def test_a_temp_folder_that_cannot_be_written_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    *_, finding = surroundings.disk()
    assert (finding.state, finding.what) == (State.BAD, "nothing can be written: No such file or directory")


@pytest.mark.slow
def test_the_torch_that_is_installed_is_asked_what_it_can_use() -> None:
    (finding,) = surroundings.gpu()
    assert finding.state is not State.BAD
    assert finding.what.startswith(f"torch {metadata.version('torch')}")


def test_the_text_has_a_line_a_finding_and_one_for_what_to_do() -> None:
    findings = [
        Finding(name="a", state=State.OK, what="works"),
        Finding(name="long", state=State.BAD, what="fails", advice="mend it"),
    ]
    assert as_text(findings) == "ok    a     works\nbad   long  fails\n            → mend it\n"


def test_a_system_without_locks_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for module in [name for name in sys.modules if name.partition(".")[2].startswith("doctor")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert openmulan.main(["doctor", "--offline"]) == 2
    assert capsys.readouterr().err == "mulan doctor: no module resource on this system; Windows needs WSL\n"
