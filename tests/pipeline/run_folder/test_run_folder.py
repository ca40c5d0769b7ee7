"""What is in a run folder, and beside it, is nobody's to lose: odd names, damaged files, gaps, other people's files."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.exits import BAD_INPUT, DONE
from tests.pipeline.mining import manifest, mine, row, shard_hashes, write_catalogue

pytestmark = pytest.mark.slow

OPTIONS = ("--rows_per_shard=2", "--on_removed=tombstone")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_catalogue(folder, [row(number) for number in range(4)])
    write_catalogue(folder, [row(number) for number in range(1, 5)], "later.jsonl")
    return folder


@pytest.fixture(scope="module")
def two_generations(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("mined") / "run"
    assert mine(corpus / "catalog.jsonl", output, *OPTIONS) == DONE
    assert mine(corpus / "later.jsonl", output, *OPTIONS) == DONE
    return output


@pytest.fixture
def run(two_generations: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two_generations, tmp_path / "run"))


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder but the lock, which each job writes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


class TestOtherPeoplesFiles:
    @pytest.mark.parametrize("name", ["run*", "*", "run[1]", "run?", "r**"])
    def test_an_output_with_wildcards_leaves_its_neighbours_alone(
        self, name: str, corpus: Path, two_generations: Path, tmp_path: Path
    ) -> None:
        neighbours = tmp_path / "runs"
        for other in ("run1", "run2", "runx"):
            shutil.copytree(two_generations, neighbours / other)
        for other, file in (("music", "shards/g0001-00000-0123456789ab.parquet"), ("docs", "tmp/mulan-notes")):
            (neighbours / other / file).parent.mkdir(parents=True)
            (neighbours / other / file).write_text("mine", encoding="utf-8")
        before = contents(neighbours)
        output = neighbours / name
        for catalogue in ("catalog.jsonl", "later.jsonl", "later.jsonl"):
            assert mine(corpus / catalogue, output, *OPTIONS) == DONE
        assert shard_hashes(output) == shard_hashes(two_generations)
        shutil.rmtree(output)
        assert contents(neighbours) == before

    def test_what_this_code_does_not_write_stays_in_the_folder(self, corpus: Path, tmp_path: Path) -> None:
        output = tmp_path / "run"
        theirs = {
            *("shards/notes.txt", "shards/my.parquet", "rejects/read-me.jsonl", "tmp/mulan-upload.bin"),
            *("groups-of-mine.parquet", "plans/g0001/part-of-me.parquet", "plans/g0001/attempt-at-nothing/x"),
            *("plans/mine/plan.json", "pieces/notes.txt", "pieces/g0001-00000/0123456789ab.parquet"),
        }
        for name in theirs:
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).write_text(name, encoding="utf-8")
        leftovers = {
            *("shards/g0001-00000-0123456789ab.parquet", "rejects/g0009-00000-0123456789ab.jsonl"),
            *(f"tmp/mulan-{'0' * 32}", "groups-0123456789ab.parquet", "plans/g0001/part-00000-0123456789ab.parquet"),
            *(f"plans/g0001/plan.json.{'a' * 32}.tmp", f"run.json.{'a' * 32}.tmp"),
            *(f"commits/g0001-00000.json.{'a' * 32}.tmp", f"manifest-0001.json.{'a' * 32}.tmp"),
            *(f"pieces/g000{g}-00000-0123456789ab/0123456789ab.parquet" for g in (1, 9)),
            *("plans/g0001/attempt-0001-01234567/survey.json", "plans/g0007/removed-000-0123456789ab.jsonl"),
        }
        for name in leftovers:
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).write_text(name, encoding="utf-8")
        assert mine(corpus / "catalog.jsonl", output, *OPTIONS) == DONE
        assert {name for name in theirs if not (output / name).exists()} == set()
        assert {name for name in leftovers if (output / name).exists()} == set()


class TestCataloguesWithBrackets:
    @pytest.mark.parametrize("name", ["catalog[1].jsonl", "what?.jsonl", "star*.jsonl"])
    def test_a_name(self, name: str, corpus: Path, two_generations: Path, tmp_path: Path) -> None:
        shutil.copytree(corpus / "audio", tmp_path / "audio")
        shutil.copy(corpus / "catalog.jsonl", tmp_path / name)
        (tmp_path / "catalog1.jsonl").write_text("{}\n", encoding="utf-8")
        assert mine(tmp_path / name, tmp_path / "run", *OPTIONS) == DONE
        assert sum(shard["rows"] for shard in manifest(tmp_path / "run")["shards"]) == 4

    def test_a_folder_and_its_side_tables(self, corpus: Path, tmp_path: Path) -> None:
        folder = tmp_path / "Album [FLAC]"
        shutil.copytree(corpus, folder)
        comment = {"recording_id": "rec-001", "text": "The brackets are lovely. They really are."}
        (folder / "comments [all].jsonl").write_text(json.dumps(comment) + "\n", encoding="utf-8")
        options = ("--comments", f"{folder}/comments [all].jsonl")
        assert mine(folder / "cat*.jsonl", folder / "run [1]", *OPTIONS, *options) == DONE
        assert sum(shard["rows"] for shard in manifest(folder / "run [1]")["shards"]) == 4


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


class TestDamagedFiles:
    """What says what a run is must be whole: to go on without it would plan over a run that is there."""

    @pytest.mark.parametrize(
        ("name", "harm"),
        [
            ("run.json", cut_short),
            ("run.json", Path.unlink),
            ("plans/g0001/plan.json", cut_short),
            ("plans/g0001/plan.json", Path.unlink),
            ("plans/g0002/plan.json", cut_short),
            ("plans/g0002/plan.json", Path.unlink),
            ("manifest-0002.json", cut_short),
            ("manifest-0002.json", Path.unlink),
            ("manifest.json", cut_short),
        ],
        ids=lambda value: value.replace("/", "-") if isinstance(value, str) else value.__name__,
    )
    def test_stop_the_job_with_one_line_and_lose_nothing(
        self,
        name: str,
        harm: Callable[[Path], None],
        run: Path,
        corpus: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        harm(run / name)
        before = contents(run)
        assert mine(corpus / "catalog.jsonl", run, *OPTIONS, "--rows_per_shard=3") == BAD_INPUT
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mulan mine: ")]
        assert len(said) == 1
        assert name in said[0]
        assert "restore" in said[0]
        assert contents(run) == before

    def test_a_commit_record_can_be_made_again(self, run: Path, corpus: Path) -> None:
        before = shard_hashes(run)
        cut_short(next((run / "commits").iterdir()))
        assert mine(corpus / "later.jsonl", run, *OPTIONS) == DONE
        assert shard_hashes(run) == before

    def test_a_plan_part_that_is_gone_is_named_before_the_work(
        self, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert mine(corpus / "catalog.jsonl", tmp_path, *OPTIONS, "--dry_run") == DONE
        part = next(tmp_path.glob("plans/g0001/part-*.parquet"))
        part.unlink()
        assert mine(corpus / "catalog.jsonl", tmp_path, *OPTIONS) == BAD_INPUT
        said = capsys.readouterr().err
        assert f"{part} is gone; restore it" in said
        assert "Traceback" not in said


class TestNumbers:
    def test_old_manifests_may_go(self, corpus: Path, two_generations: Path, tmp_path: Path) -> None:
        """Deleting them by hand must neither move the pointer back nor let live files be swept."""
        output = Path(shutil.copytree(two_generations, tmp_path / "run"))
        for number in range(5, 8):
            rows = [row(n) for n in range(1, number + 1)]
            assert mine(write_catalogue(corpus, rows, f"{number}.jsonl"), output, *OPTIONS) == DONE
        assert manifest(output)["number"] == 5
        for number in (1, 2, 4):
            (output / f"manifest-000{number}.json").unlink()
        before = shard_hashes(output)
        assert mine(corpus / "7.jsonl", output, *OPTIONS) == DONE
        assert manifest(output)["number"] == 5
        assert shard_hashes(output) == before
        rows = [row(n) for n in range(1, 9)]
        assert mine(write_catalogue(corpus, rows, "8.jsonl"), output, *OPTIONS) == DONE
        assert manifest(output)["number"] == 6
        assert before.items() & shard_hashes(output).items()
        third = json.loads((output / "manifest-0003.json").read_bytes())
        assert all((output / shard["path"]).exists() for shard in third["shards"])

    def test_a_catalogue_that_breaks_off_removes_nobody(
        self, run: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Of a gzip file that was copied by halves the rest would look as if it had left the catalogue."""
        import gzip

        whole = gzip.compress((corpus / "later.jsonl").read_bytes() * 20)
        broken = corpus / "broken.jsonl.gz"
        broken.write_bytes(whole[: len(whole) // 2])
        (corpus / "one.jsonl").write_text((corpus / "later.jsonl").read_text().splitlines()[0] + "\n")
        before = shard_hashes(run)
        code = mine(corpus / "one.jsonl", run, *OPTIONS, "--catalog", str(broken))
        said = capsys.readouterr().err
        assert code == BAD_INPUT
        assert "nothing is removed" in said
        assert shard_hashes(run) == before
