"""The validation loss: recordings that are not trained on, the same pairs at every look, no augmentation.

One batch of at most 1,024 pairs, kept in memory. Its loss stands beside its own chance line, because a contrastive loss
depends on the number of pairs. A clip is embedded as the API does: the mean over its windows (trainer/cuts.py).

Legend: R pairs of this rank, N windows, D embedding size.
"""

import logging

import torch
from torch import Tensor

from schemas.sources import TextSource
from trainer import dist
from trainer.data import Corpus
from trainer.dist import Ranks
from trainer.gradcache import autocast
from trainer.loader import Batch, Texts, read_batch
from trainer.loss import chance_loss, contrastive_loss
from trainer.mixture import Mixture, MixtureError
from trainer.model import Model
from trainer.split import Split
from trainer.streams import Lanes
from trainer.towers import unit

log = logging.getLogger(__name__)

MAX_PAIRS = 1024
_SEED = 0


class Validation:
    """`run()` is {} where there are too few validation recordings."""

    def __init__(self, model: Model, batch: tuple[Batch, Tensor] | None, pairs: int) -> None:
        self._model, self._batch, self._pairs = model, batch, pairs

    @classmethod
    def open(cls, corpus: Corpus, model: Model, mixture: Mixture, ranks: Ranks) -> "Validation":
        pairs = min(MAX_PAIRS, model.recipe.batch_size, corpus.recordings[Split.VALIDATION])
        pairs -= pairs % model.recipe.lanes
        if pairs < 2:
            log.warning("too few validation recordings (%d): no validation loss", pairs)
            return cls(model, None, 0)
        missing = {source for source in TextSource if not corpus.rows_of(source, Split.VALIDATION)}
        try:
            left, lanes = mixture.without(missing), model.recipe.lanes
            planned = Lanes(corpus, left, pairs, lanes, _SEED, ranks=ranks, split=Split.VALIDATION)
        except (MixtureError, ZeroDivisionError):
            log.warning("the %d validation recordings have too little text: no validation loss", pairs)
            return cls(model, None, 0)
        texts = Texts(tokenizer=model.tokenizer, recipe=model.recipe)
        batch = read_batch(planned, corpus, texts, window_samples=model.recipe.data.window_samples)
        return cls(model, batch, pairs)

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        if self._batch is None:
            return {}
        model, (batch, owners_N) = self._model, self._batch
        audio_RD, text_RD = embeddings(model, batch, owners_N)
        text_ids_R = batch.text_ids_R.to(model.device)
        result = contrastive_loss(audio_RD, text_RD, model.towers.log_temperature, text_ids_R, model.recipe.loss)
        loss = dist.sum_over_ranks(result.loss.cpu().double())  # MPS has no float64
        return {"loss": float(loss), "chance": chance_loss(model.recipe.loss.kind, self._pairs)}


@torch.no_grad()
def embeddings(model: Model, batch: Batch, owners_N: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(audio, text) of this rank's pairs as they are, without augmentation or dropout; the towers then train on.

    With `owners_N`, a pair has the windows that name it; else one.
    """
    compute, towers, device = model.recipe.compute, model.towers, model.device
    towers.eval()
    with autocast(device, compute.precision):
        audio_RD = torch.cat([towers.audio(part.to(device)) for part in batch.wave_RS.split(compute.audio_chunk)])
        if owners_N is not None:
            sums_RD = audio_RD.new_zeros(len(batch.examples), audio_RD.shape[1])
            audio_RD = unit(sums_RD.index_add(0, owners_N.to(device), audio_RD))
        placed = [chunk.to(device) for chunk in batch.chunks]
        text_RD = torch.empty_like(audio_RD)
        for chunk in placed:
            text_RD[chunk.order_B] = towers.text(chunk.tokens_BL, chunk.attention_BL)
    towers.train()
    return audio_RD, text_RD
