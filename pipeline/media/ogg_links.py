"""Where a chained Ogg file goes on in another form, and must be opened anew.

Links follow on one another in a file, each with headers of its own (RFC 3533, section 4): joined files and recorded web
radio are such. ffmpeg's demuxer goes on into a link of the same codec, rate and channels, and stops at one of others.
"""

import itertools
from collections.abc import Iterator

_PAGE = b"OggS"
_PAGE_HEADER_BYTES = 27
_BEGINS_STREAM = 2  # among a page's flags
# How a stream's first packet begins -> where it tells the rate and the channels; the rate of Opus is always the same.
_FORMS = {b"\x01vorbis": slice(7, 16), b"OpusHead": slice(8, 10), b"\x7fFLAC": slice(17, 30)}


def form_changes(media: bytes) -> list[int]:
    """The bytes at which a link begins that is not of the form of the one before."""
    links = list(_links(media))
    return [start for (_, before), (start, form) in itertools.pairwise(links) if form != before]


def _links(media: bytes) -> Iterator[tuple[int, tuple[bytes, ...]]]:
    """Of each link where it begins, and of each of its audio streams codec, rate and channels."""
    start, in_head = 0, False
    form: list[bytes] = []
    at = media.find(_PAGE)
    while 0 <= at < len(media) - _PAGE_HEADER_BYTES:
        content = at + _PAGE_HEADER_BYTES + media[at + _PAGE_HEADER_BYTES - 1]
        if media[at + 5] & _BEGINS_STREAM:
            if not in_head:
                start, form, in_head = at, [], True
            for magic, where in _FORMS.items():
                if media.startswith(magic, content):
                    form.append(magic + media[content + where.start : content + where.stop])
        elif in_head:
            in_head = False
            yield start, tuple(form)
        at = media.find(_PAGE, content + sum(media[at + _PAGE_HEADER_BYTES : content]))
