"""What progress says: amounts, rates and times, in one line and in place on a terminal."""

import io
import logging
import os
import pty
import re
import termios
from collections.abc import Iterator

import pytest

from pipeline.progress import snapshot
from pipeline.progress.shown import Bar
from pipeline.progress.snapshot import BUILD, SURVEY, Rate, Snapshot, duration
from schemas.accounting import Account
from schemas.reasons import Reason

ACCOUNT = Account(kept=250, left_out={Reason.SILENT: 10, Reason.NOT_MUSIC: 1_040, Reason.NOT_FOUND: 12})
BUILDING = Snapshot(stage=BUILD, done=1_312, total=2_000, rate=4.13, left_s=166.4, account=ACCOUNT, shards=(1, 4))
READING = Snapshot(
    stage=SURVEY,
    done=34_000_000,
    total=100_000_000,
    rate=8_123.4,
    left_s=30,
    rows={"catalogue": 12_345},
    rows_left_out={"catalogue": {"not_json": 2, "bad_value": 3}},
    is_reading=True,
)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (399, "6 min 39 s"),
        (601, "10 min"),
        (3_599, "59 min"),
        (3_600, "1 h 0 min"),
        (7_380, "2 h 3 min"),
        (86_400 * 3 + 3_700, "3 d 1 h"),
    ],
)
def test_a_duration_is_said_in_the_unit_that_tells(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (
            BUILDING,
            "build: 1,312 of 2,000 recordings (66%); 4.1/s, 2 min 46 s left; 250 kept, 1,050 dropped (1,040 not_music, "
            "10 silent), 12 failed (12 not_found); 1 of 4 shards",
        ),
        (
            READING,
            "survey: 12,345 rows, 34.0 of 100.0 MB (34%); 8,123 rows/s, 30 s left; 5 rows not used (3 bad_value, "
            "2 not_json)",
        ),
        (Snapshot(stage=BUILD, done=0, total=0, shards=(0, 0)),
         "build: 0 of 0 recordings (100%); 0 kept, 0 dropped, 0 failed; 0 of 0 shards"),
    ],
)  # fmt: skip
def test_a_line_says_everything(now: Snapshot, line: str) -> None:
    assert now.line() == line


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(snapshot, "awake", lambda: now[0])
    return now


def test_a_rate_is_of_the_recent_past(clock: list[float]) -> None:
    rate = Rate()
    assert rate.per_s() is None
    for second in range(200):
        clock[0] = second
        rate.add(10 * second if second < 100 else 1_000 + second - 100)
    assert rate.per_s() == pytest.approx(1, rel=0.05)
    assert rate.seconds_for(30) == pytest.approx(30, rel=0.05)


def test_steps_that_are_rare_have_a_rate_as_well(clock: list[float]) -> None:
    """A shard at a time, as an engine tells."""
    rate = Rate()
    for second in range(4_001):
        clock[0] = second
        rate.add(512 * (second // 500))
    assert rate.per_s() == pytest.approx(512 / 500)
    clock[0] = 6_000  # nothing comes any more
    assert rate.per_s() == pytest.approx(512 / 1_000)


@pytest.fixture
def terminal() -> Iterator[tuple[io.TextIOWrapper, int]]:
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield stream, reader
    os.close(reader)


def drawn(reader: int) -> str:
    return os.read(reader, 65_536).decode()


@pytest.mark.parametrize(
    ("columns", "first"),
    [
        (110, r"build  66%\|█{30} {17}\| 1,312 of 2,000 recordings, 4.1/s, 2 min 46 s left"),
        (80, r"build  66%\|█{11} {6}\| 1,312 of 2,000 recordings, 4.1/s, 2 min 46 s left"),
        (60, r"build  66%\|█{5} {3}\| 1,312 of 2,000, 4.1/s, 2 min 46 s left"),
        (40, r"build  66% 1,312 of 2,000, 4.1/s, 2 min"),
    ],
)
def test_what_stands_in_place_fits_the_terminal(
    terminal: tuple[io.TextIOWrapper, int], columns: int, first: str
) -> None:
    stream, reader = terminal
    termios.tcsetwinsize(stream.fileno(), (24, columns))
    bar = Bar(stream)
    bar.show(BUILDING)
    one, two = drawn(reader).removeprefix("\r\x1b[J").split("\r\n")
    assert re.fullmatch(first, one)
    assert BUILDING.outcomes().startswith(two)
    assert len(one) < columns
    assert len(two) < columns
    termios.tcsetwinsize(stream.fileno(), (24, 30))  # which wraps both
    bar.show(READING)
    rows = -(-len(one) // 30) + -(-len(two) // 30)
    assert drawn(reader).startswith(f"\r\x1b[{rows - 1}A\x1b[J")


def test_what_is_logged_stands_above_and_nothing_is_left(terminal: tuple[io.TextIOWrapper, int]) -> None:
    stream, reader = terminal
    termios.tcsetwinsize(stream.fileno(), (24, 80))
    root = logging.getLogger()
    handler = logging.StreamHandler(stream)
    root.addHandler(handler)
    try:
        with Bar(stream).drawn() as bar:
            bar.show(BUILDING)
            shown = drawn(reader).removeprefix("\r\x1b[J")
            root.warning("look here")
            assert drawn(reader) == f"\r\x1b[1A\x1b[Jlook here\r\n{shown}"
        assert handler.stream is stream
        assert drawn(reader) == "\r\x1b[1A\x1b[J"
    finally:
        root.removeHandler(handler)
