"""The contrastive losses: MuLan's own (Huang et al. 2022, section 3.1), and CLIP's for comparison.

MuLan's loss of a pair i, with h(a, b) = exp(a·b/τ):

    −log( h(x_i, t_i) / Σ_{j≠i} [ h(x_i, t_j) + h(x_j, t_i) ] )

One denominator holds both directions and leaves the positive out, so at chance it is ln(2(B−1)). CLIP's loss is the
mean of two cross-entropies whose denominators include the positive; at chance it is ln(B).

The scores of a rank are (B/N)·B numbers, computed in blocks of rows that are recomputed in the backward pass, so memory
grows with B. Scores and log-sum-exp are float32 (float64 where the embeddings are) under any autocast.

Legend: B pairs of the global mini-batch, R pairs of this rank, C rows of a block, D embedding size.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from trainer import dist

KINDS = ("mulan", "clip")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Initial τ could not be recovered from the paper: 0.1 is ours, and so is the range that it is kept in."""

    kind: str = "mulan"
    initial_temperature: float = 0.1
    min_temperature: float = 0.01
    max_temperature: float = 1.0
    block_rows: int = 1024
    mask_shared_texts: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"loss is {self.kind!r}; it may be {' or '.join(KINDS)}")
        if not 0 < self.min_temperature <= self.initial_temperature <= self.max_temperature:
            raise ValueError(
                f"initial temperature {self.initial_temperature} must lie in "
                f"[{self.min_temperature}, {self.max_temperature}]"
            )
        if self.block_rows < 1:
            raise ValueError(f"block_rows is {self.block_rows}; it must be positive")


class LossResult(NamedTuple):
    """`loss` is this rank's share: the sum over ranks is the mean loss of a pair of the global mini-batch."""

    loss: Tensor
    shared_text_rate: Tensor  # share of the global mini-batch's pairs whose text stands in another pair too


def chance_loss(kind: str, pairs: int) -> float:
    """The loss of embeddings that know nothing: the line that a run must leave."""
    return math.log(2 * (pairs - 1)) if kind == "mulan" else math.log(pairs)


def contrastive_loss(
    audio_RD: Tensor, text_RD: Tensor, log_temperature: Tensor, text_ids_R: Tensor, config: LossConfig
) -> LossResult:
    """Loss of this rank's pairs against all pairs of all ranks.

    `audio_RD` and `text_RD` are l2-normalised; `text_ids_R` is an int64 name of each text, equal where texts are.
    """
    with torch.autocast(audio_RD.device.type, enabled=False):
        dtype = torch.float64 if audio_RD.dtype == torch.float64 else torch.float32
        audio_RD, text_RD = audio_RD.to(dtype), text_RD.to(dtype)
        audio_BD, text_BD, ids_B = dist.gather(audio_RD), dist.gather(text_RD), dist.gather(text_ids_R)
        pairs, mine = audio_BD.shape[0], audio_RD.shape[0]
        if pairs < 2:
            raise ValueError("a contrastive loss needs at least two pairs")
        first = dist.rank() * mine
        inverse_temperature = torch.exp(-log_temperature.to(dtype))
        block = _mulan_block if config.kind == "mulan" else _clip_block
        total = torch.zeros((), dtype=dtype, device=audio_RD.device)
        for start in range(0, mine, config.block_rows):
            rows = slice(start, min(start + config.block_rows, mine))
            place_C = torch.arange(first + rows.start, first + rows.stop, device=audio_RD.device)
            masked_CB = None
            if config.mask_shared_texts:
                masked_CB = (text_ids_R[rows, None] == ids_B[None, :]) & ~_one_hot(place_C, pairs)
            total = total + checkpoint(
                block,
                audio_RD[rows],
                text_RD[rows],
                audio_BD,
                text_BD,
                inverse_temperature,
                place_C,
                masked_CB,
                use_reentrant=False,
                preserve_rng_state=False,
            )
        return LossResult(total / pairs, _shared_rate(ids_B))


def shared_rate(ids_R: Tensor) -> Tensor:
    """Share of the global mini-batch's pairs whose id stands in another pair too; `ids_R` are those of this rank."""
    return _shared_rate(dist.gather(ids_R))


def _shared_rate(ids_B: Tensor) -> Tensor:
    sorted_B = ids_B.sort().values
    same = sorted_B[1:] == sorted_B[:-1]
    return (functional.pad(same, (0, 1)) | functional.pad(same, (1, 0))).float().mean()


def _mulan_block(
    audio_CD: Tensor,
    text_CD: Tensor,
    audio_BD: Tensor,
    text_BD: Tensor,
    inverse_temperature: Tensor,
    place_C: Tensor,
    masked_CB: Tensor | None,
) -> Tensor:
    positive_C = (audio_CD * text_CD).sum(dim=1) * inverse_temperature
    left_out_CB = _one_hot(place_C, audio_BD.shape[0])
    if masked_CB is not None:
        left_out_CB = left_out_CB | masked_CB
    to_texts_CB = (audio_CD @ text_BD.T * inverse_temperature).masked_fill(left_out_CB, -torch.inf)
    to_audios_CB = (text_CD @ audio_BD.T * inverse_temperature).masked_fill(left_out_CB, -torch.inf)
    loss_C = torch.logsumexp(torch.cat([to_texts_CB, to_audios_CB], dim=1), dim=1) - positive_C
    # Masking can leave a pair without negatives; it then has nothing to be told apart from.
    alone_C = left_out_CB.all(dim=1)
    return torch.where(alone_C, torch.zeros_like(loss_C), loss_C).sum() if masked_CB is not None else loss_C.sum()


def _clip_block(
    audio_CD: Tensor,
    text_CD: Tensor,
    audio_BD: Tensor,
    text_BD: Tensor,
    inverse_temperature: Tensor,
    place_C: Tensor,
    masked_CB: Tensor | None,
) -> Tensor:
    positive_C = (audio_CD * text_CD).sum(dim=1) * inverse_temperature
    to_texts_CB = audio_CD @ text_BD.T * inverse_temperature
    to_audios_CB = text_CD @ audio_BD.T * inverse_temperature
    if masked_CB is not None:
        to_texts_CB = to_texts_CB.masked_fill(masked_CB, -torch.inf)
        to_audios_CB = to_audios_CB.masked_fill(masked_CB, -torch.inf)
    loss_C = 0.5 * (torch.logsumexp(to_texts_CB, dim=1) + torch.logsumexp(to_audios_CB, dim=1)) - positive_C
    return loss_C.sum()


def _one_hot(place_C: Tensor, width: int) -> Tensor:
    return place_C[:, None] == torch.arange(width, device=place_C.device)[None, :]
