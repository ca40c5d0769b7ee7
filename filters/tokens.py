"""Counts of WordPiece tokens, the unit of our Table 2 (BERT's uncased vocabulary, without special tokens); the
paper does not say what its tokens are.

The launcher loads a tokenizer once, from a file or the hub, and ships it to the workers as text, so that a worker
needs neither the file nor the network.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from schemas.hub import WITHIN_S as HUB_WITHIN_S
from schemas.hub import ask

DEFAULT_TOKENIZER = "bert-base-uncased"
NO_TOKENIZER = "none"
_HUB_FILE = "tokenizer.json"
_MAX_FILE_BYTES = 64 * 2**20
_MAX_WORD_CHARS = 100
_UNKNOWN = "[UNK]"

log = logging.getLogger(__name__)


class TokenizerError(ValueError):
    """The tokenizer cannot be loaded: one line that says what to do."""


class TokenCounter:
    """Counts tokens of texts. Made by `load_tokenizer` or, on a worker, by `from_str`."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens."""
        if not texts:
            return []
        encodings = self._tokenizer.encode_batch_fast(
            [text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8") for text in texts],
            add_special_tokens=False,
        )
        return [len(encoding) for encoding in encodings]

    def to_str(self) -> str:
        """The tokenizer as JSON: what `from_str` reads and what a digest of it is taken of."""
        text: str = self._tokenizer.to_str()
        return text

    @classmethod
    def from_str(cls, text: str) -> "TokenCounter":
        from tokenizers import Tokenizer

        return cls(Tokenizer.from_str(text))


def load_tokenizer(spec: str) -> TokenCounter | None:
    """A vocabulary (`vocab.txt`, one token a line, lower case), a `tokenizer.json`, a folder with one of them, or a
    name on the hub. `none` gives None: tokens are not counted.

    Raises TokenizerError.
    """
    if spec == NO_TOKENIZER:
        return None
    path = Path(spec)
    if path.is_dir():
        for name in ("tokenizer.json", "vocab.txt"):
            if (path / name).is_file():
                return _load_file(path / name)
        raise TokenizerError(f"{path}: the folder holds neither tokenizer.json nor vocab.txt")
    if path.is_file():
        return _load_file(path)
    if path.suffix in (".txt", ".json") or spec.startswith((".", "/", "~")) or spec.count("/") > 1:
        raise TokenizerError(f"{spec}: no such file")
    return _load_from_hub(spec)


def _load_file(path: Path) -> TokenCounter:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise TokenizerError(f"{path}: larger than {_MAX_FILE_BYTES >> 20} MB, not a tokenizer")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{path}: cannot be read ({error})") from error
    if not text.lstrip().startswith("{"):
        return TokenCounter(_word_piece(text, path))
    try:
        return TokenCounter.from_str(text)
    except Exception as error:  # the library raises bare Exceptions
        raise TokenizerError(f"{path}: not a tokenizer.json ({error})") from error


def _word_piece(vocabulary_text: str, path: Path) -> Any:
    """BERT's uncased tokenizer over a vocabulary file."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    # By newline alone: a vocabulary has tokens that other line separators would cut.
    tokens = vocabulary_text.removesuffix("\n").replace("\r\n", "\n").split("\n")
    if _UNKNOWN not in tokens:
        raise TokenizerError(f"{path}: not a WordPiece vocabulary (no line {_UNKNOWN})")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    model = models.WordPiece(vocabulary, unk_token=_UNKNOWN, max_input_chars_per_word=_MAX_WORD_CHARS)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _load_from_hub(name: str) -> TokenCounter:
    """From the hub's cache on this disk, or else from the hub."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.logging import set_verbosity

    # It tells each of its attempts, twice; what has become of them is told below.
    set_verbosity(logging.CRITICAL)
    download: Callable[..., str] = partial(hf_hub_download, name, _HUB_FILE)
    try:
        path = download(local_files_only=True)
    except Exception as error:  # whatever the cache has instead of it
        log.debug("tokenizer %s is not in the cache: %s", name, error)
        try:
            path = ask(download, HUB_WITHIN_S)
        except Exception as error:  # of the network and of unknown names alike
            raise TokenizerError(
                f"tokenizer {name!r}: the hub did not give it within {HUB_WITHIN_S:g} s: it cannot be reached, or has "
                "no such tokenizer; pass --tokenizer FILE (a vocab.txt or tokenizer.json), or "
                f"--tokenizer {NO_TOKENIZER} to count no tokens"
            ) from error
    return _load_file(Path(path))
