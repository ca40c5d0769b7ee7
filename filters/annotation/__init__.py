"""The annotators' tool: a small page on which a few people label sentences, and what goes with it.

`log` (append-only events) and `projection` (tables derived from them) hold the data; `work`, `adjudication`, `people`
and `exchange` are what may be done with it; `agreement` and `sampling` are the statistics; `server`, `pages` and
`security` what is served; `formats` other tools' files; `frozen` the fold that is never sampled.
"""

from filters.annotation.exchange import read_labels, settled
from filters.annotation.frozen import is_frozen
from filters.annotation.records import ADJUDICATED, AnnotationError

__all__ = ["ADJUDICATED", "AnnotationError", "is_frozen", "read_labels", "settled"]
