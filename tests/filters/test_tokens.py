"""Token counts are those of BERT's own tokenizer, and survive the trip to a worker."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from filters.tokens import DEFAULT_TOKENIZER, TokenCounter, TokenizerError, load_tokenizer
from tests.shared_files import SharedFolder

ROOT = Path(__file__).resolve().parents[2]
_VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "bass", "line", "##s", "warm", "cafe", "!", "音"]
_TEXTS = ["The BASS lines!", "café", "", "音 warm", "zebra", "\ud800 the"]


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(_VOCABULARY) + "\n", encoding="utf-8")
    return path


def test_counts_without_special_tokens(vocabulary: Path) -> None:
    counter = load_tokenizer(str(vocabulary))
    assert counter is not None
    assert counter.count(_TEXTS) == [5, 1, 0, 2, 1, 2]
    assert counter.count([]) == []


def test_survives_serialisation(vocabulary: Path, tmp_path: Path) -> None:
    counter = load_tokenizer(str(vocabulary))
    assert counter is not None
    copy = TokenCounter.from_str(counter.to_str())
    assert copy.count(_TEXTS) == counter.count(_TEXTS)
    assert copy.to_str() == counter.to_str()
    saved = tmp_path / "saved" / "tokenizer.json"
    saved.parent.mkdir()
    saved.write_text(counter.to_str(), encoding="utf-8")
    for spec in (saved, saved.parent):
        again = load_tokenizer(str(spec))
        assert again is not None
        assert again.count(_TEXTS) == counter.count(_TEXTS)


@pytest.mark.slow
def test_agrees_with_the_bert_tokenizer_of_transformers(shared_folder: SharedFolder) -> None:
    transformers = pytest.importorskip("transformers")
    path = shared_folder.need("data/text/bert-base-uncased-vocab.txt")
    counter = load_tokenizer(str(path))
    assert counter is not None
    reference = transformers.BertTokenizer(vocab=str(path), do_lower_case=True)
    texts = ["Étude in F♯ minor", "夜の港 live at Kyōto", "unbelievably jazzy lo-fi beats :)", "गाना", "a" * 300]
    assert counter.count(texts) == [len(reference(text, add_special_tokens=False)["input_ids"]) for text in texts]


def test_none_counts_nothing() -> None:
    assert load_tokenizer("none") is None


@pytest.mark.parametrize("content", ["{not json", "one\ntwo\n", "{}"])
def test_bad_files_are_told_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def ask_hub(name: str, home: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """In a process of its own: the hub's client reads its environment once."""
    script = f"import filters.tokens as t; t.HUB_WITHIN_S = 1.0; print(t.load_tokenizer({name!r}).count(['warm bass']))"
    given = {"HF_HOME": str(home), "PATH": "", **environment}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=given, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.slow
def test_unreachable_hub_says_what_to_do(tmp_path: Path) -> None:
    ran = ask_hub("no-such-organisation/no-such-tokenizer", tmp_path, HF_HUB_OFFLINE="1")
    assert ran.stderr.splitlines()[-1].startswith("filters.tokens.TokenizerError: tokenizer 'no-such-organisation")
    assert "--tokenizer FILE" in ran.stderr


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_asked_for_a_few_seconds_and_never_for_what_is_in_its_cache(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as black_hole:  # takes connections and says nothing
        endpoint = f"http://127.0.0.1:{black_hole.getsockname()[1]}"
        start = time.monotonic()
        ran = ask_hub(DEFAULT_TOKENIZER, tmp_path / "none", HF_ENDPOINT=endpoint)
        assert time.monotonic() - start < 20  # its client would go on for minutes
        *_, line = ran.stderr.splitlines()
        assert line.startswith("filters.tokens.TokenizerError: tokenizer 'bert-base-uncased': the hub did not give it")
        black_hole.setblocking(False)
        black_hole.accept()[0].close()  # it was asked indeed
        revision = "0" * 40
        cached = tmp_path / "hub" / "models--bert-base-uncased"
        (cached / "refs").mkdir(parents=True)
        (cached / "refs" / "main").write_text(revision, encoding="utf-8")
        (cached / "snapshots" / revision).mkdir(parents=True)
        vocabulary = tmp_path / "vocab.txt"
        vocabulary.write_text("\n".join(["[UNK]", "warm", "bass"]), encoding="utf-8")
        counter = load_tokenizer(str(vocabulary))
        assert counter is not None
        (cached / "snapshots" / revision / "tokenizer.json").write_text(counter.to_str(), encoding="utf-8")
        ran = ask_hub(DEFAULT_TOKENIZER, tmp_path, HF_ENDPOINT=endpoint)
        assert ran.stdout == "[2]\n", ran.stderr


def test_missing_files_are_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="no such file"):
        load_tokenizer(str(tmp_path / "missing.txt"))
    with pytest.raises(TokenizerError, match="neither"):
        load_tokenizer(str(tmp_path))
