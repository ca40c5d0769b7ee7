"""SpecAugment: masks of the stated widths, anywhere alike, and the cells that they name are those that are hidden."""

import collections

import pytest
import torch

from trainer.augment import Masks, SpecAugment, apply_masks


def test_spec_augment_hides_what_it_drew() -> None:
    augment = SpecAugment(mel_bins=64, mel_frames=1000, max_bins=24, max_frames=192)
    drawn = [augment.draw(0, i) for i in range(500)]
    assert {m.bins for m in drawn} == set(range(25))
    assert 180 < max(m.frames for m in drawn) <= 192
    assert all(m.first_bin + m.bins <= 64 and m.first_frame + m.frames <= 1000 for m in drawn)
    assert augment.draw(0, 1) == augment.draw(0, 1) != augment.draw(1, 1)
    mel = apply_masks(torch.ones(2, 64, 1000), torch.tensor([Masks(3, 5, 100, 20), Masks()]))
    assert mel[0].sum() == (64 - 5) * (1000 - 20)
    assert mel[1].all()


def test_spec_augment_hides_the_cells_that_it_names() -> None:
    hidden = (apply_masks(torch.ones(2, 6, 9), torch.tensor([Masks(2, 1, 4, 3), Masks(0, 2, 8, 1)])) == 0).int()
    assert hidden[0].amin(dim=1).tolist() == [0, 0, 1, 0, 0, 0]
    assert hidden[0].amin(dim=0).tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 0]
    assert hidden[1].amin(dim=1).tolist() == [1, 1, 0, 0, 0, 0]
    assert hidden[1].amin(dim=0).tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_spec_augment_draws_each_place_alike_and_apart() -> None:
    """Every place that a mask fits into, with masks of one bin and one frame; and the two say nothing of each other."""
    augment = SpecAugment(mel_bins=6, mel_frames=6, max_bins=1, max_frames=1)
    drawn = [augment.draw("seed", i) for i in range(4000)]
    places = collections.Counter((m.first_bin, m.first_frame) for m in drawn if m.bins == m.frames == 1)
    assert set(places) == {(first_bin, first_frame) for first_bin in range(6) for first_frame in range(6)}
    expected = places.total() / 36
    assert all(abs(count - expected) < 5 * expected**0.5 for count in places.values())
    assert {m.first_bin for m in drawn if not m.bins} == set(range(7))
    assert abs(sum(m.bins == m.frames for m in drawn) - 2000) < 5 * 1000**0.5, "the widths are drawn apart too"


def test_masks_may_be_as_large_as_the_log_mel_and_no_larger() -> None:
    SpecAugment(mel_bins=4, mel_frames=5, max_bins=4, max_frames=5)
    assert SpecAugment(mel_bins=4, mel_frames=5, max_bins=0, max_frames=0).draw(1).bins == 0
    for widths in ({"max_bins": 5}, {"max_frames": 6}, {"max_bins": -1}, {"max_frames": -1}):
        with pytest.raises(ValueError, match="larger than the log-mel"):
            SpecAugment(**{"mel_bins": 4, "mel_frames": 5, "max_bins": 1, "max_frames": 1, **widths})
    assert Masks() == (0, 0, 0, 0), "a mask of nothing, from the first cell on"
