"""How many samples packets last that are read on the way to a clip but not decoded, and where that cannot be known.

Of a packet that does not do as those before did, the container tells (it is to be discarded in part, or brings new
parameters) or its own first bytes do: a joined or damaged MP3 has packets that are no whole frame, or of another rate.
What decoding would make of such a packet only decoding shows, so the recording is then decoded from the start.
"""

from __future__ import annotations  # PyAV's classes are generic in its stubs only

import functools
from collections.abc import Callable, Hashable
from fractions import Fraction
from typing import TypeAlias

from pipeline.media.opened import AnyPacket, OpenedMedia
from pipeline.media.sniff import mpeg_frame_bytes

OPUS_RATE_HZ = 48_000
OPUS_GRID = 120


class CannotWalk(Exception):
    """Walking would not be exact here; decode from the start."""


# What the first bytes of a packet say: what must not change on the way (rate and channels), and, where they say it, how
# long the packet is in bytes and in samples.
_Form: TypeAlias = tuple[Hashable, int | None, int | None]


@functools.lru_cache(1 << 16)
def _mpeg_form(head: bytes) -> _Form:
    size = mpeg_frame_bytes(head)
    return size and (head[1] & 0x1E, head[2] & 0x0C, head[3] >> 6 == 3), size, None


@functools.lru_cache(1 << 16)
def _flac_form(head: bytes) -> _Form:
    """RFC 9639, section 9.1: the rate, and the channels, of which 8 to 10 are ways to store two."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xFE != 0xF8:
        return None, 0, None
    channels = head[3] >> 4
    return (head[2] & 0x0F, 1 if channels in (8, 9, 10) else channels), None, None


@functools.lru_cache(1 << 16)
def _opus_form(head: bytes) -> _Form:
    """RFC 6716, section 3.1: frames of one length, whose number stands in a second byte where it is not one or two."""
    config, code = head[0] >> 3, head[0] & 3
    if config < 12:
        samples = (480, 960, 1_920, 2_880)[config & 3]
    elif config < 16:
        samples = (480, 960)[config & 1]
    else:
        samples = (120, 240, 480, 960)[config & 3]
    frames = (1, 2, 2, head[-1] & 0x3F)[code]
    return None, None, frames * samples


_FORMS: dict[str, tuple[Callable[[bytes], _Form], int]] = {
    "opus": (_opus_form, 2),
    "flac": (_flac_form, 4),
    **dict.fromkeys(("mp1", "mp2", "mp3", "mp1float", "mp2float", "mp3float"), (_mpeg_form, 4)),
}


class PacketClock:
    """Tells how many samples packets last; raises CannotWalk where that is not known exactly."""

    def __init__(self, opened: OpenedMedia, rate_hz: int) -> None:
        samples_per_tick = (opened.stream.time_base or Fraction(0)) * rate_hz
        # Matroska rounds to milliseconds. Opus packets last multiples of 2.5 ms, which can be told apart all the same.
        grid = OPUS_GRID if opened.codec == "opus" else 1

        @functools.cache
        def samples_of(ticks: int) -> int:
            samples = ticks * samples_per_tick
            if grid == 1 and samples.denominator != 1:
                raise CannotWalk("time stamps are coarser than a sample")
            on_grid = round(samples / grid) * grid
            if on_grid <= 0:
                raise CannotWalk("packets without a duration")
            return on_grid

        self._samples_of = samples_of
        self._form_of: Callable[[bytes], _Form] | None
        self._form_of, self._head_bytes = _FORMS.get(opened.codec, (None, 0))
        self._form: Hashable = None

    def lasts(self, packet: AnyPacket) -> int:
        """What a packet lasts by the container alone."""
        return self._samples_of(packet.duration or 0)

    def at_start(self, packet: AnyPacket) -> int:
        """What one of the first packets lasts, which are decoded; those on the way must have the form of the last."""
        samples = self.lasts(packet)
        if self._form_of is not None and packet.size:
            self._form = self._form_of(bytes(packet)[: self._head_bytes])[0]
        return samples

    def on_the_way(self, packet: AnyPacket) -> int:
        """What a packet lasts that is decoded as those before were, as far as can be told without decoding it."""
        for side_data in packet.iter_sidedata():
            raise CannotWalk(f"a packet has {side_data.data_type}")
        if packet.is_discard:
            raise CannotWalk("a packet is discarded")
        samples = self.lasts(packet)
        if self._form_of is not None:
            form, size, lasts = self._form_of(bytes(packet)[: self._head_bytes])
            if form != self._form or size not in (None, packet.size) or lasts not in (None, samples):
                raise CannotWalk("a packet is no whole frame of the form of those before")
        return samples
