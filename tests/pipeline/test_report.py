"""The report: what was left out can be heard, what the filters do can be read, and nothing in it does a reader harm."""

import html.parser
import itertools
import json
import shutil
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from numpy.typing import NDArray

from filters.short_form.rules import RULES, clean_recording
from pipeline import report_command
from pipeline.report import FIGURES, build_report, count_ticks, figure, render_html
from pipeline.report_samples import SHOWN, _covering, playable, short_forms
from pipeline.table_2 import table_2
from schemas.commit import TextTotals
from schemas.reasons import Reason
from tests.filters.annotation.browser import CHROMIUM, MISSING, chromium
from tests.pipeline.mining import mine, report, row, write_catalogue

pytestmark = pytest.mark.slow

HOSTILE = '"><script>document.title="owned"</script><img src=x onerror=alert(1)>'
LONG = "a very long name without an end " * 6


class Scorer:
    """Knows spam by its links, and is sure of what has a tune."""

    model, digest, threshold = "by words", "words-1", 0.5

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([0.05 if "[url]" in text else 0.93 if "sound" in text else 0.4 for text in texts], np.float32)


def write_silence(path: Path, seconds: float) -> None:
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(16_000)
        stream.writeframes(bytes(int(seconds * 32_000)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four good recordings, and some that are left out, of a catalogue that nobody should trust."""
    folder = tmp_path_factory.mktemp("report")
    audio = folder / "audio"
    audio.mkdir()
    silent = [f"audio/{name}.wav" for name in ("#1 100%?", "javascript:alert(1)", "über ' \" <b>", "d", "e", "f", "g")]
    for uri in silent:
        write_silence(folder / uri, 6.0)
    write_silence(audio / "short.wav", 2.0)
    (audio / "bomb.ogg").write_bytes(b"OggS" + bytes(3000))
    odd = [row(10 + i, audio_uri=uri, music_gate="apply") for i, uri in enumerate(silent)]
    odd += [
        row(
            20,
            recording_id=f"{HOSTILE}{LONG}",
            audio_uri="audio/short.wav",
            title=HOSTILE,
            comments=[f"{HOSTILE} sound"],
        ),
        row(21, audio_uri="audio/bomb.ogg"),
        row(22, audio_uri="javascript:alert(1)"),
        row(23, audio_uri="../../etc/passwd"),
        row(24, audio_uri="http://127.0.0.1:9/never"),
    ]
    catalogue = write_catalogue(folder, [*(row(number) for number in range(4)), *odd])
    with catalogue.open("a", encoding="utf-8") as stream:
        stream.write(f'{{"recording_id": "<b>", "audio_uri": ["x"], "title": {json.dumps(HOSTILE)}}}\n')
    output = folder / "run"
    options = ("--max_failure_rate=1", "--rows_per_shard=4", f"--lf_model={__name__}:Scorer", "--fetch_attempts=1")
    assert mine(catalogue, output, *options) == 0
    return output


class Page(html.parser.HTMLParser):
    """What a browser would follow, load or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.sounds: list[str] = []
        self.handlers: list[str] = []
        self.metas: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        self.handlers += [name for name in given if name.startswith("on")]
        if tag == "a":
            assert given["rel"] == "noreferrer noopener"
            self.links.append(str(given["href"]))
        elif tag == "audio":
            assert given["preload"] == "none"
            self.sounds.append(str(given["src"]))
        elif tag == "meta":
            self.metas.append(given)

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(run: Path) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))


def test_what_was_dropped_for_its_sound_can_be_heard_and_nothing_else_is_followed(run: Path) -> None:
    page = page_of(run)
    shown = report(run)["samples"]["recordings"]
    assert len(shown["silent"]) == SHOWN < 7
    assert [one["plays"] for one in shown["silent"]] == [True] * SHOWN
    assert shown["too_short"][0]["plays"]
    for reason in ("corrupt_media", "not_found", "outside_root", "private_address"):
        assert {one["link"] for one in shown[reason]} == {None}, reason
    assert len(page.sounds) == SHOWN + 1
    assert page.links == page.sounds
    for link in page.links:
        path, _, _ = link.partition("#")
        assert (run / unquote(path)).is_file(), "a file beside the run, whatever its name"
    assert sum(link.endswith("#t=1,5") for link in page.links) == SHOWN, "it begins with the clip"


def test_nothing_in_the_page_runs(run: Path) -> None:
    page = page_of(run)
    assert not page.tags & {"script", "img", "iframe", "form", "object", "base", "link"}
    assert page.handlers == []
    (policy,) = (meta["content"] for meta in page.metas if meta.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'; style-src 'unsafe-inline'; media-src ")
    assert "onerror=alert(1)" in page.text, "what is hostile is shown as it is, as a text"


def test_texts_are_shown_by_rule_and_by_score(run: Path) -> None:
    shown = report(run)["samples"]
    rules = {one["rule"]: one for one in shown["short_forms"]}
    before_after = {(text["before"], text["after"]) for one in rules.values() for text in one["kept"]}
    assert ("A slow tune (Official Video) [HD]", "A slow tune") in before_after
    assert any("spam" not in text["text"] for band in shown["sentences"] for text in band["kept"]["texts"])
    bands = {(band["from"], band["to"]): band for band in shown["sentences"]}
    assert set(bands) == {(0.0, 0.1), (0.4, 0.5), (0.9, 1.0)}
    for (low, _), band in bands.items():
        full, empty = ("kept", "left_out") if low >= 0.5 else ("left_out", "kept")
        assert 0 < len(band[full]["texts"]) <= SHOWN
        assert band[full]["seen"] >= len(band[full]["texts"])
        assert band[empty] == {"seen": 0, "texts": []}
    assert shown["unscored"] == []
    assert shown["rows"]["wrong_type"][0]["place"].startswith("catalog.jsonl:")


def test_the_same_run_shows_the_same_finished_or_not(run: Path, tmp_path: Path) -> None:
    first = build_report(str(run))
    again = build_report(str(run))
    assert {**first, "written": ""} == {**again, "written": ""}
    assert first["name"] == "run"
    assert first["finished"].endswith("UTC")
    half = tmp_path / "run"
    shutil.copytree(run, half)
    shutil.rmtree(half / "commits")
    for manifest in half.glob("manifest*"):
        manifest.unlink()
    unfinished = build_report(str(half))
    assert unfinished["state"] == "in progress"
    assert unfinished["finished"] is None
    assert unfinished["samples"]["recordings"] == {}
    for kind in ("short_forms", "sentences", "rows"):
        assert unfinished["samples"][kind] == first["samples"][kind]
    assert "in progress" in render_html(unfinished)


def test_a_plan_part_that_is_gone_costs_its_samples_alone(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    for part in (tmp_path / "run" / "plans").glob("*/part-*"):
        part.write_bytes(b"PAR1")
    found = build_report(str(tmp_path / "run"))
    assert found["samples"]["short_forms"] == found["samples"]["sentences"] == []
    assert {one["link"] for one in found["samples"]["recordings"]["silent"]} == {None}


def test_table_2_has_the_paper_s_long_forms(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_command.main([str(run)]) == 0
    said = capsys.readouterr().out
    lines = {line[:16].strip(): line[16:].split() for line in said.splitlines()}
    assert lines["LF, unfiltered"][1] == "70.70"
    assert " 30.7 B " in said
    assert " 0.2 B " in said
    assert lines["LF"][1] == "0.40"
    assert "15.5%" in lines["LF"]
    assert "40.9%" in lines["PL"]
    assert "kept from 0.5" in said


def test_table_2_has_them_where_no_classifier_filters_too() -> None:
    of_filtered, of_nothing = ({row["label"]: row for row in table_2(TextTotals(), 3, name)} for name in ("x", "none"))
    assert of_filtered.keys() == of_nothing.keys()
    assert of_nothing["LF"]["paper"] == of_filtered["LF"]["paper"]
    assert {figure(of_nothing["LF"][name], form) for name, _, form in FIGURES} == {"–"}
    assert "–" not in {figure(of_filtered["LF"][name], form) for name, _, form in FIGURES[:-1]}


@pytest.mark.parametrize(
    ("uri", "link"),
    [
        ("audio/a.mp3", "../data/audio/a.mp3#t=30,60"),
        ("a b#c?d%e:f.mp3", "../data/a%20b%23c%3Fd%25e%3Af.mp3#t=30,60"),
        ("/elsewhere/a.mp3", "../../elsewhere/a.mp3#t=30,60"),
        ("https://media.example/a b.mp3", None),
        ("https://media.example/a.mp3", "https://media.example/a.mp3#t=30,60"),
        ("https://media.example/ü.mp3", "https://media.example/%C3%BC.mp3#t=30,60"),
        ("https://media.example/a.mp3?signature=1", None),
        ("https://media.example/a.mp3#x", None),
        ("https://ada:secret@media.example/a.mp3", None),
        ("ftp://media.example/a.mp3", None),
        ("javascript://%0aalert(1)", None),
        ("data://text/html,x", None),
        ("file:///etc/passwd", None),
        ("gs://bucket/a.mp3", None),
        ("s3://bucket/a.mp3", None),
    ],
)
def test_links(uri: str, link: str | None) -> None:
    place = {"audio_uri": uri, "base_uri": "/srv/data", "start_s": 30.0, "duration_s": 30.0}
    assert playable("/srv/run", Reason.NOT_MUSIC, place) == {"link": link, "plays": link is not None}
    for reason in Reason:
        if reason not in (Reason.NOT_MUSIC, Reason.SILENT, Reason.TOO_SHORT):
            assert playable("/srv/run", reason, place)["link"] is None, reason
    if link is not None and not link.startswith("http"):
        assert playable("gs://bucket/run", Reason.NOT_MUSIC, place)["link"] is None
        assert playable("/srv/run", Reason.NOT_MUSIC, {**place, "base_uri": "gs://bucket"})["link"] is None


def test_a_video_is_linked_and_does_not_play() -> None:
    place = {"audio_uri": "https://youtu.be/dQw4w9WgXcQ?t=1", "base_uri": "/d", "start_s": 30.0, "duration_s": 30.0}
    found = playable("/srv/run", Reason.NOT_MUSIC, place)
    assert found == {"link": "https://www.youtube.com/watch?v=dQw4w9WgXcQ", "plays": False}


def test_rules_are_told_as_they_were_applied() -> None:
    """From texts before and after alone, without their fields, for each rule's own examples."""
    told = 0
    for rule in RULES:
        for example in rule.examples:
            given: dict[str, Any] = {"title": None, "artist": "The Band", "album": None, "tags": ["soul", "The  Band"]}
            if example.field == "tag":
                given["tags"] = [example.before, *given["tags"]]
            else:
                given[str(example.field)] = example.before
            done = clean_recording(**given)
            forms = [form for _, form in short_forms(done.unfiltered, done.kept)]
            hits = [name for form in forms for name in form.hits]
            assert {name: hits.count(name) for name in hits} == done.hits, (rule.id, example)
            assert sum(form.text is None for form in forms) == sum(done.dropped.values())
            told += 1
    assert told > 40


def test_few_parts_are_read_of_a_large_run_and_rare_things_are_found() -> None:
    parts = [(i, {"common": 3, **({"rare": 1} if i == 9_990 else {})}) for i in range(10_000)]
    assert _covering(parts, SHOWN) == [9_990, 0]
    assert len(_covering([(i, {f"reason {i % 50}": 1}) for i in range(10_000)], SHOWN)) == 50 * SHOWN


def test_the_axis_ends_above_the_largest_count() -> None:
    for most in itertools.chain(range(300), (9_999, 10_001, 44_000_000)):
        ticks = count_ticks(most)
        assert ticks[0] == 0
        assert ticks[-1] >= most
        assert len(ticks) <= 7
        assert len({b - a for a, b in itertools.pairwise(ticks)}) == 1


@pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
def test_the_page_in_a_browser(run: Path) -> None:
    """On a phone it is as wide as the screen, long names and all; sound plays; nothing runs or is fetched unasked."""
    said: list[str] = []
    asked: list[str] = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 360, "height": 740})
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((run / "report.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.title() == "run · mining report"
        assert asked == [(run / "report.html").as_uri()]
        assert page.locator("audio").count() == SHOWN + 1
        for sound in page.locator("audio").all():
            started_s = sound.evaluate("async one => { one.muted = true; await one.play(); return one.currentTime }")
            assert started_s < 2.0
    assert said == []
