"""Texts to WordPieces."""

from pathlib import Path

import pytest

from trainer.tokens import load_tokenizer, tokenize

pytestmark = pytest.mark.slow


def test_a_tokenizer_cuts_and_is_saved_as_if_it_had_not(text_checkpoint: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(text_checkpoint))
    tokenizer.save_pretrained(tmp_path / "before")
    texts = ["one", "a slow piano over a steady drum", "la " * 700]
    found = tokenize(tokenizer, texts, 6)
    tokenizer.save_pretrained(tmp_path / "after")
    for path in (tmp_path / "before").iterdir():
        assert path.read_bytes() == (tmp_path / "after" / path.name).read_bytes()
    assert [len(ids) for ids in found] == [3, 6, 6]
    assert found == tokenizer(texts, truncation=True, max_length=6, padding=False)["input_ids"]
