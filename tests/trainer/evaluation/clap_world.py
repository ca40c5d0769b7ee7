"""A CLAP checkpoint of random weights, small and whole: model, processor and tokenizer in a folder."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WORDS = ("<s>", "<pad>", "</s>", "<unk>", "slow", "piano", "loud", "drums", "calm", "wild")


def write_clap(folder: Path, *, fusion: bool = False) -> Path:
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "spec_size": 128,
        "num_mel_bins": 64,
        "window_size": 4,
        "hidden_size": 16,
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "patch_stride": [4, 4],
        "projection_dim": 16,
    }
    audio = transformers.ClapAudioConfig(
        **small, num_hidden_layers=2, enable_fusion=fusion, num_classes=4, enable_patch_layer_norm=True
    )
    text = transformers.ClapTextConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=34,
        projection_dim=16,
    )
    config = transformers.ClapConfig(audio_config=audio, text_config=text, projection_dim=16)
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(
        max_length_s=1, truncation="fusion" if fusion else "rand_trunc", hop_length=480
    ).save_pretrained(folder)
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    fast: Any = transformers.PreTrainedTokenizerFast
    fast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    return folder
