"""A shard row's audio as a browser plays it."""

import io
import wave

from schemas.shard import CLIP_SAMPLE_RATE_HZ, AudioEncoding


def playable(audio: bytes, encoding: AudioEncoding) -> tuple[bytes, str]:
    """The bytes of a file and its media type; bare samples get a header."""
    if encoding is not AudioEncoding.PCM16:
        return audio, "audio/flac" if encoding is AudioEncoding.FLAC else "audio/ogg"
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(CLIP_SAMPLE_RATE_HZ)
        writer.writeframes(audio)
    return file.getvalue(), "audio/wav"
