"""Any `AutoModel` of `transformers` that takes waves at 16 kHz or log-mels, its states averaged over time.

`auto_waves` is for Wav2Vec2, HuBERT, WavLM, data2vec and their kin; `auto_log_mel` for what takes frames (an AST) or a
picture of one channel. Without a checkpoint, `options` hold the `model_type` and its configuration. A repository that
brings its class as code (MERT) is refused: no code of a checkpoint is run.

Legend: B examples, L positions, H width of the body, P, Q places on a map.
"""

import logging
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModel, PretrainedConfig

from schemas.shard import CLIP_SAMPLE_RATE_HZ
from trainer.augment import SpecAugment
from trainer.bodies.ast import with_checkpoint_log_mel
from trainer.bodies.body import AudioBody, AudioTowerConfig
from trainer.bodies.pretrained import extractor_settings
from trainer.bodies.waves import Waves

log = logging.getLogger(__name__)

_NORMALISE = "do_normalize"  # the word of `preprocessor_config.json`


class _Auto(AudioBody):
    architecture = AutoModel

    def configuration(self) -> PretrainedConfig:
        return self.restored(self.config.options)

    def restored(self, saved: dict[str, Any]) -> PretrainedConfig:
        model_type = str(saved.get("model_type"))
        if model_type not in CONFIG_MAPPING:
            raise ValueError(
                f"audio body {self.config.body} needs a warm_start, or a model_type of transformers in its options, "
                f"not {model_type}"
            )
        configuration: PretrainedConfig = CONFIG_MAPPING[model_type].from_dict(dict(saved))
        return configuration

    def model(self, configuration: PretrainedConfig) -> Any:
        return AutoModel.from_config(configuration, trust_remote_code=False)  # type: ignore[no-untyped-call]

    def build(self, saved: dict[str, Any] | None = None) -> Any:
        body = super().build(saved)
        if body.config.is_encoder_decoder:
            raise ValueError(f"audio body {self.config.body}: {body.config.model_type} has a decoder, which needs text")
        # Theirs draws its masks from numpy's global state, so GradCache's two passes would see different ones.
        body.config.apply_spec_augment = False
        return body

    def features(self, body: Any, inputs: Tensor) -> Tensor:
        states: Tensor = body(inputs).last_hidden_state  # BLH, or BHPQ of a convolutional network
        h_BH: Tensor = states.mean(dim=1) if states.dim() == 3 else states.mean(dim=(2, 3))
        return h_BH


class AutoWaves(_Auto):
    """`options` may say `do_normalize` (true by default): a checkpoint's own is taken."""

    def __init__(self, config: AudioTowerConfig) -> None:
        super().__init__(config)
        if config.max_masked_bins or config.max_masked_frames:
            raise ValueError(
                f"audio body {config.body} takes waves, on which SpecAugment has nothing to hide; set "
                "max_masked_bins and max_masked_frames to 0"
            )

    def configuration(self) -> PretrainedConfig:
        return self.restored({name: value for name, value in self.config.options.items() if name != _NORMALISE})

    def said_by_checkpoint(self) -> AudioTowerConfig:
        config = self.config
        if config.warm_start is None:
            return config
        settings = extractor_settings(config.warm_start)
        rate = settings.get("sampling_rate", CLIP_SAMPLE_RATE_HZ)
        if rate != CLIP_SAMPLE_RATE_HZ:
            raise ValueError(f"{config.warm_start}: takes audio at {rate} Hz, our clips have {CLIP_SAMPLE_RATE_HZ}")
        if _NORMALISE not in settings:
            log.warning("%s: says nothing of its normalisation; the recipe's is taken", config.warm_start)
            return config
        return replace(config, options={**config.options, _NORMALISE: bool(settings[_NORMALISE])})

    def front_end(self) -> nn.Module:
        return Waves(normalise=bool(self.config.options.get(_NORMALISE, True)))

    def augment(self) -> SpecAugment | None:
        return None


class AutoLogMel(_Auto):
    def said_by_checkpoint(self) -> AudioTowerConfig:
        return with_checkpoint_log_mel(self.config)

    def features(self, body: Any, mel_BFT: Tensor) -> Tensor:
        picture = body.main_input_name == "pixel_values"
        return super().features(body, mel_BFT[:, None] if picture else mel_BFT.transpose(1, 2))
