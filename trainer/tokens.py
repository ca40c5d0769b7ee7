"""Texts to WordPieces, and WordPieces to padded chunks.

Short texts are the rule (a title, a tag, a sentence), so padding to 512 would waste almost all of a step: the texts of
a mini-batch are sorted by length and each chunk is padded to its own longest, rounded up to a bucket. A chunk holds as
many texts as keep it within a budget of padded WordPieces, so one long text makes a chunk of few, not a large one.

Legend: B texts, L WordPieces.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from schemas.hub import check_answers


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """From a directory or the hub. Raises ValueError with one line."""
    try:
        check_answers(name)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, use_fast=True)
    except (OSError, ValueError, KeyError) as error:
        where = "directory" if Path(name).is_dir() else "hub"
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{name}: no tokenizer could be loaded from the {where} ({reason})") from error
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    if tokenizer.is_fast:
        # Kept from an earlier use: what a model saves must not depend on what its tokenizer was last asked for.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """WordPieces of each text with [CLS] and [SEP], cut at `max_tokens`."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), truncation=False, padding=False, return_attention_mask=False, verbose=False)
    # The tokenizer's own truncation would be kept in it, and saved with the model.
    return [ids if len(ids) <= max_tokens else [*ids[: max_tokens - 1], ids[-1]] for ids in encoded["input_ids"]]


@dataclass(frozen=True, kw_only=True)
class TextChunk:
    """Some texts of a mini-batch, padded together; `order_B` says which."""

    order_B: Tensor
    tokens_BL: Tensor
    attention_BL: Tensor

    def to(self, device: torch.device) -> "TextChunk":
        return TextChunk(
            order_B=self.order_B.to(device),
            tokens_BL=self.tokens_BL.to(device),
            attention_BL=self.attention_BL.to(device),
        )


def text_chunks(
    ids: Sequence[Sequence[int]], *, budget: int, bucket: int, max_tokens: int, pad_id: int, by_length: bool = True
) -> list[TextChunk]:
    """Cut texts into chunks of at most `budget` padded WordPieces, shortest text first; `by_length` False pads all to
    `max_tokens` in the given order. A text that is wider than the budget is a chunk of its own."""
    order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i)) if by_length else list(range(len(ids)))
    widths = [padded_width(len(text), bucket, max_tokens) if by_length else max_tokens for text in ids]
    parts: list[list[int]] = []
    for i in order:
        if parts and (len(parts[-1]) + 1) * widths[i] <= budget:
            parts[-1].append(i)
        else:
            parts.append([i])
    chunks = []
    for part in parts:
        width = widths[part[-1]]
        tokens_BL = torch.full((len(part), width), pad_id, dtype=torch.int64)
        attention_BL = torch.zeros((len(part), width), dtype=torch.int64)
        for row, i in enumerate(part):
            tokens_BL[row, : len(ids[i])] = torch.tensor(ids[i])
            attention_BL[row, : len(ids[i])] = 1
        chunks.append(TextChunk(order_B=torch.tensor(part), tokens_BL=tokens_BL, attention_BL=attention_BL))
    return chunks


def padded_width(tokens: int, bucket: int, max_tokens: int) -> int:
    """Of a chunk whose longest text has so many WordPieces."""
    return min(math.ceil(tokens / bucket) * bucket, max_tokens)
