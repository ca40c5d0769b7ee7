"""Encoded clips: lossless where promised, the same bytes in every process, and windows that equal the whole."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.clip_exactness import difference
from pipeline.media import encode as encode_module
from pipeline.media.encode import UnreadableClipError, decode_clip, encode
from schemas.shard import AudioEncoding
from tests.media import music_CT, wav

PCM_T = np.round(music_CT(30, 16_000, seed=7)[0] * 32_767).astype(np.int16)
LOSSLESS = [AudioEncoding.FLAC, AudioEncoding.PCM16]
WINDOWS = [(0, 160_000), (1, 1), (123_457, 160_000), (320_000, 160_000), (479_999, 1), (0, None), (77_777, None)]


@pytest.mark.parametrize("encoding", LOSSLESS)
@pytest.mark.parametrize(("start", "samples"), WINDOWS)
def test_window_of_a_lossless_clip_is_the_slice(encoding: AudioEncoding, start: int, samples: int | None) -> None:
    window_T = decode_clip(encode(PCM_T, encoding), encoding, start, samples)
    assert window_T.dtype == np.int16
    assert np.array_equal(window_T, PCM_T[start : None if samples is None else start + samples])


@pytest.mark.parametrize("encoding", AudioEncoding)
@pytest.mark.parametrize("start", [0, 123_457])
def test_a_window_is_written_where_it_is_wanted(encoding: AudioEncoding, start: int) -> None:
    encoded, out_T = encode(PCM_T, encoding), np.empty(160_000, np.int16)
    decode_clip(encoded, encoding, start, len(out_T), out_T)
    assert np.array_equal(out_T, decode_clip(encoded, encoding, start, len(out_T)))
    with pytest.raises(UnreadableClipError, match="ends 1 samples before"):
        decode_clip(encoded, encoding, len(PCM_T) - len(out_T) + 1, len(out_T), out_T)


@pytest.mark.parametrize("encoding", LOSSLESS)
@pytest.mark.parametrize("samples_T", [[0], [32_767, -32_768] * 5_000, [0] * 16_000])
def test_extremes_come_back(encoding: AudioEncoding, samples_T: list[int]) -> None:
    pcm_T = np.array(samples_T, np.int16)
    assert np.array_equal(decode_clip(encode(pcm_T, encoding), encoding), pcm_T)


def test_flac_is_smaller_than_its_samples() -> None:
    assert len(encode(PCM_T, AudioEncoding.FLAC)) < 0.9 * PCM_T.nbytes


def test_opus_keeps_length_and_place() -> None:
    encoded = encode(PCM_T, AudioEncoding.OPUS)
    decoded_T = decode_clip(encoded, AudioEncoding.OPUS)
    assert len(decoded_T) == len(PCM_T)
    found = difference(decoded_T, PCM_T)
    assert found.lag_samples == 0
    assert found.residual_db < -10
    assert len(encoded) < 0.35 * PCM_T.nbytes


@pytest.mark.slow
@pytest.mark.parametrize(("start", "samples"), WINDOWS)
def test_window_of_an_opus_clip_is_the_slice(start: int, samples: int | None) -> None:
    encoded = encode(PCM_T, AudioEncoding.OPUS)
    window_T = decode_clip(encoded, AudioEncoding.OPUS, start, samples)
    whole_T = decode_clip(encoded, AudioEncoding.OPUS)[start : None if samples is None else start + samples]
    assert np.array_equal(window_T, whole_T)


@pytest.mark.parametrize("samples", [1, 100, 321, 16_001])
def test_opus_keeps_odd_lengths(samples: int) -> None:
    assert len(decode_clip(encode(PCM_T[:samples], AudioEncoding.OPUS), AudioEncoding.OPUS)) == samples


@pytest.mark.slow
def test_same_samples_give_the_same_bytes_in_every_process() -> None:
    code = (
        "import sys, hashlib, numpy as np\n"
        "from pipeline.media.encode import encode\nfrom schemas.shard import AudioEncoding\n"
        "pcm_T = np.frombuffer(sys.stdin.buffer.read(), '<i2')\n"
        "for encoding in AudioEncoding: print(hashlib.sha256(encode(pcm_T, encoding)).hexdigest())"
    )
    root = Path(encode_module.__file__).parents[2]
    command = [sys.executable, "-c", code]
    runs = [
        subprocess.run(command, input=PCM_T.tobytes(), cwd=root, capture_output=True, check=True).stdout for _ in "ab"
    ]
    assert runs[0] == runs[1]
    assert runs[0].decode().split() == [sha256(encode(PCM_T, encoding)).hexdigest() for encoding in AudioEncoding]


@pytest.mark.parametrize("encoding", AudioEncoding)
def test_damage_is_told(encoding: AudioEncoding) -> None:
    encoded = encode(PCM_T, encoding)
    with pytest.raises(UnreadableClipError):
        decode_clip(encoded, encoding, 400_000, 100_000)
    with pytest.raises(UnreadableClipError):
        decode_clip(encoded[: len(encoded) // 3], encoding, 400_000, 80_000)


@pytest.mark.parametrize("encoding", [AudioEncoding.FLAC, AudioEncoding.OPUS])
@pytest.mark.parametrize(
    "wrong", [b"", b"rubbish", wav(music_CT(1, 16_000), 16_000), encode(PCM_T, AudioEncoding.PCM16)]
)
def test_another_format_is_not_guessed(encoding: AudioEncoding, wrong: bytes) -> None:
    with pytest.raises(UnreadableClipError):
        decode_clip(wrong, encoding)


@pytest.mark.parametrize(
    "wrong_T", [np.zeros(10, np.float32), np.zeros((2, 10), np.int16), np.zeros(0, np.int16), np.zeros(10, np.int32)]
)
def test_only_rows_of_int16_are_encoded(wrong_T: NDArray[np.int16]) -> None:
    with pytest.raises(ValueError, match="int16"):
        encode(wrong_T, AudioEncoding.FLAC)


def test_impossible_windows_are_errors() -> None:
    with pytest.raises(ValueError, match="window"):
        decode_clip(encode(PCM_T, AudioEncoding.PCM16), AudioEncoding.PCM16, -1, 5)
