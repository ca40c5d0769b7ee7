"""What the README says to type: lines that read a run with other tools are run, commands that mine are parsed."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from filters.annotation.cli import _parser as label_parser
from filters.long_form.cli import _parser as lf_filter_parser
from pipeline.catalogues.arguments import parser_of as catalog_parser
from pipeline.catalogues.made import Paths
from pipeline.options import parser as mine_parser
from tests.trainer.fixture_runs import shard_row, write_run
from trainer.evaluation.arguments import _parser as evaluate_parser
from trainer.search.arguments import parser_of as search_parser
from trainer.train import _parser as train_parser

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["pandas", "duckdb", "datasets", "pyarrow.dataset"])
def test_each_recording_is_read_once(module: str, tmp_path: Path) -> None:
    """In a process of its own, as a reader of the README has it: beside the native libraries of all other tests, one
    such import has ended theirs."""
    (line,) = re.findall(rf"^{module}\..*$", README, re.MULTILINE)
    name = module.partition(".")[0]
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    # `datasets` and DuckDB take patterns, so that the folder's name has one.
    run = write_run(tmp_path / "run [1]", [shard_row(f"r{i}", sf=["slow"]) for i in range(8)])
    (run / "shards" / "g0000-00000.parquet").write_bytes((run / "shards" / "g0001-00000.parquet").read_bytes())
    ids = "[row[0] for row in rows.fetchall()]" if name == "duckdb" else "rows['recording_id']"
    lines = (
        f"import glob, json, {module}, openmulan",
        f"files = openmulan.Run.open({str(run)!r}).files()",
        f"rows = {line}",
        f"print(json.dumps(sorted(map(str, {ids}))))",
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [f"r{i}" for i in range(8)]


def test_the_way_from_a_folder_to_the_page_is_five_commands() -> None:
    """Each takes what the one before it has made."""
    found = README[README.index("## Find music by words") : README.index("## Where to read on")]
    (block,) = re.findall(r"```sh\n(.*?)```", found, re.DOTALL)
    catalog, mine, train, index, serve = [shlex.split(line, comments=True)[1:] for line in block.splitlines()]
    assert catalog[0] == "catalog"
    mined, of_beam = mine_parser().parse_known_args(mine[1:])
    assert of_beam == []
    assert mined.catalog == [catalog[catalog.index("--output") + 1]]
    trained = train_parser().parse_args(train[1:])
    assert (trained.data, trained.recipe) == ([mined.output], "tiny")
    indexed, served = (search_parser().parse_args(words[1:]) for words in (index, serve))
    assert indexed.model == f"{trained.output}/model"
    assert (indexed.inputs, str(indexed.catalog)) == ([catalog[1]], mined.catalog[0])
    assert served.places == [str(indexed.output)]


def test_the_commands_that_mine_are_taken_as_they_stand() -> None:
    """In their order, with the options of today; a newcomer mines with a filter of sentences."""
    mined = README[README.index("## Mine your own") : README.index("## Train, evaluate")]
    (block,) = re.findall(r"```sh\n(.*?)```", mined, re.DOTALL)
    commands = [shlex.split(line, comments=True)[1:] for line in block.splitlines() if line.startswith("mulan ")]
    assert [name for name, *_ in commands] == ["catalog", "lf-filter", "mine", "mine", "report"]
    made = Paths(catalogue=catalog_parser().parse_args(commands[0][1:]).output)
    fit = lf_filter_parser().parse_args(commands[1][1:])
    assert (fit.labels, fit.encoder) == ([], "bert-base-uncased"), "the package's own sentences"
    for _, *options in commands[2:4]:
        arguments, of_beam = mine_parser().parse_known_args(options)
        assert of_beam == []
        assert (arguments.catalog, arguments.playlists) == ([str(made.catalogue)], [str(made.playlists)])
        assert arguments.lf_model == str(fit.output)


def test_what_a_container_is_told_is_taken() -> None:
    """With the ports that the containers pass on."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "containers.md").read_text(encoding="utf-8")
    told = re.findall(r"^docker run (.*) openmulan-(train|pages) \\\n +(.*)$", page, re.MULTILINE)
    parsers = {"train": train_parser, "evaluate": evaluate_parser, "label": label_parser, "search": search_parser}
    assert {image for _, image, _ in told} == {"train", "pages"}
    assert len(told) == 5
    for options, _, words in told:
        name, *rest = shlex.split(words)
        arguments = parsers[name]().parse_args(rest)
        if "-p" in shlex.split(options):
            passed_on = f"127.0.0.1:{arguments.port}:{arguments.port}"
            assert f"-p {passed_on} " in options
            assert (arguments.host, arguments.public_url) == ("0.0.0.0", f"http://localhost:{arguments.port}")
