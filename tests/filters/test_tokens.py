"""Token counts are those of BERT's own tokenizer, and survive the trip to a worker."""

import subprocess
import sys
from pathlib import Path

import pytest

from filters.tokens import TokenCounter, TokenizerError, load_tokenizer
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


def test_unreachable_hub_says_what_to_do(tmp_path: Path) -> None:
    """In a process of its own, with the hub's client switched off."""
    script = "from filters.tokens import load_tokenizer; load_tokenizer('no-such-organisation/no-such-tokenizer')"
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": ""}
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.stderr.splitlines()[-1].startswith("filters.tokens.TokenizerError: tokenizer 'no-such-organisation")
    assert "--tokenizer FILE" in ran.stderr


def test_missing_files_are_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="no such file"):
        load_tokenizer(str(tmp_path / "missing.txt"))
    with pytest.raises(TokenizerError, match="neither"):
        load_tokenizer(str(tmp_path))
