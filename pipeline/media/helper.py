"""The decoder's helper process: media bytes in, float32 samples at 16 kHz mono out, or the facts of the media.

Media come from strangers, and decoders are where strangers' bytes do harm. So this process is started by exec with an
empty environment, takes bytes rather than names, and gives up what it does not need before the first item arrives:
it can open no further file or socket, write no file, start no process, and outlive no deadline.
"""

import json
import os
import signal
import struct
import sys
from typing import Any, BinaryIO

import av

from pipeline.media.cut import cut_clip
from pipeline.media.facts import answer_each
from pipeline.media.opened import ENOMEM, Refusal
from pipeline.media.protocol import (
    CLIP_RATE_HZ,
    FACTS_MAGIC,
    MAGIC,
    MAX_FACTS_FILES,
    MAX_JSON_BYTES,
    REPLY_HEADER,
    REQUEST_HEADER,
    ClipSpec,
    DecodeConfig,
    Pieces,
)
from pipeline.media.rights import arm_deadline, end_with_parent, give_up_rights, resident_bytes
from schemas.reasons import Reason


def answer(media: bytes, spec: ClipSpec, config: DecodeConfig) -> tuple[dict[str, Any], bytes]:
    """The reply to one request: facts and samples, or a reason and no samples."""
    try:
        return cut_clip(media, spec, config)
    except Refusal as refusal:
        return {"reason": refusal.reason.value, "detail": refusal.detail}, b""
    except MemoryError:
        return {"reason": Reason.DECODER_MEMORY.value, "detail": f"more than {config.memory_bytes} bytes"}, b""
    except (av.FFmpegError, OSError, ValueError, OverflowError) as error:
        memory = isinstance(error, OSError) and error.errno == ENOMEM
        reason = Reason.DECODER_MEMORY if memory else Reason.CORRUPT_MEDIA
        return {"reason": reason.value, "detail": str(error)}, b""


def _warm_up(config: DecodeConfig) -> None:
    """Decodes a little silence, so that whatever is loaded or allocated at first use is there before rights go."""
    pcm = bytes(2 * CLIP_RATE_HZ)
    form = struct.pack("<IHHIIHH", 16, 1, 1, CLIP_RATE_HZ // 2, CLIP_RATE_HZ, 2, 16)
    wav = b"RIFF" + struct.pack("<I", 36 + len(pcm)) + b"WAVEfmt " + form + b"data" + struct.pack("<I", len(pcm)) + pcm
    cut_clip(wav, ClipSpec(start_s=0, duration_s=0.5), config)
    _answer_facts([{"size": len(wav), "pieces": [[0, len(wav)]]}], wav, config)


def _answer_facts(files: list[dict[str, Any]], media: bytes, config: DecodeConfig) -> bytes:
    """The reply to a request for facts. Raises ValueError where the request is none."""
    asked = [
        Pieces(size=file["size"], pieces=tuple((start, length) for start, length in file["pieces"])) for file in files
    ]
    if len(asked) > MAX_FACTS_FILES or sum(file.sent_bytes for file in asked) != len(media):
        raise ValueError("the pieces are not what was sent")
    return json.dumps(answer_each(asked, memoryview(media), config)).encode()


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError
    return content


def _reply(stream: BinaryIO, number: int, meta: dict[str, Any], samples: bytes) -> None:
    meta_json = json.dumps(meta).encode()
    stream.write(REPLY_HEADER.pack(MAGIC, number, len(meta_json), len(samples)) + meta_json)
    stream.write(samples)
    stream.flush()


def main(config_json: str) -> None:
    """Serves requests from standard input until it closes."""
    config = DecodeConfig.from_json(json.loads(config_json))
    # The parent reads the real standard output; what a library prints must not get into it.
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    end_with_parent()
    av.logging.set_level(None)
    _warm_up(config)
    statm_fd = give_up_rights(config)
    _reply(replies, 0, {"ready": True, "av": av.__version__}, b"")
    while True:
        try:
            magic, number, spec_bytes, media_bytes = REQUEST_HEADER.unpack(_read_exactly(requests, REQUEST_HEADER.size))
        except EOFError:
            return
        known = magic in (MAGIC, FACTS_MAGIC)
        if not known or spec_bytes > MAX_JSON_BYTES or media_bytes > config.max_media_bytes:
            return
        arm_deadline(config.deadline_s)
        try:
            asked = json.loads(_read_exactly(requests, spec_bytes))
            media = _read_exactly(requests, media_bytes)
        except EOFError:
            return
        meta: dict[str, Any] = {}
        if magic == FACTS_MAGIC:
            samples = _answer_facts(asked, media, config)
        else:
            meta, samples = answer(media, ClipSpec(**asked), config)
        del media
        meta["resident_bytes"] = resident_bytes(statm_fd)
        _reply(replies, number, meta, samples)
        signal.setitimer(signal.ITIMER_REAL, 0)
