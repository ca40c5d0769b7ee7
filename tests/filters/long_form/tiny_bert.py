"""A BERT of random weights, small enough to train in a test, with a vocabulary of the seed's own letters."""

import json
import string
from pathlib import Path

from filters.long_form.data import SEED_PATH
from filters.tokens import load_tokenizer

MAX_TOKENS = 64


def make_checkpoint(folder: Path, *, hidden: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """A folder as `transformers` saves it: config.json, model.safetensors, tokenizer.json."""
    # Not with the module, which the tests of files from older commits collect as well.
    import torch
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    words: dict[str, int] = {}
    for line in SEED_PATH.read_text(encoding="utf-8").splitlines():
        for word in json.loads(line)["text"].lower().split():
            plain = word.strip(string.punctuation)
            words[plain] = words.get(plain, 0) + 1
    letters = sorted({character for word in words for character in word} | set(string.punctuation))
    pieces = [*letters, *(f"##{letter}" for letter in letters)]
    frequent = [word for word, count in words.items() if count > 1 and len(word) > 1]
    vocabulary = list(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces, *frequent]))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    counter = load_tokenizer(str(folder / "vocab.txt"))
    assert counter is not None
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=512,
    )
    torch.manual_seed(seed)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}),
        encoding="utf-8",
    )
    return folder
