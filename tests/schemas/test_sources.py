"""The page of the text sources is current, and what derives from their records is what files hold."""

from pathlib import Path

import pytest

from schemas import sources_page
from schemas.shard import COUNTS, TEXT_FIELDS
from schemas.sources import TextSource

ROOT = Path(__file__).resolve().parents[2]


def test_page_is_current() -> None:
    assert (ROOT / sources_page.DEFAULT_PATH).read_text(encoding="utf-8") == sources_page.page(), (
        "docs/text-sources.md is stale: run `python -m schemas.sources_page`"
    )


def test_the_columns_of_the_paper_s_sources_come_first_in_the_order_of_old_shards() -> None:
    columns = ["sf", "sf_unfiltered", "lf", "max_lf_score", "pl", "aset"]
    assert [field.name for field in TEXT_FIELDS][: len(columns)] == columns
    assert [field.name for field in TEXT_FIELDS][-4:] == ["text_sources", "counts", "licence", "source"]
    counts = [f"{text}_{unit}" for text in columns if text != "max_lf_score" for unit in ("annotations", "tokens")]
    assert [field.name for field in COUNTS][: len(counts)] == counts


@pytest.mark.parametrize(
    ("source", "bit", "filtered", "unfiltered"),
    [
        (TextSource.SF, 1, "sf", "sf_unfiltered"),
        (TextSource.LF, 2, "lf", "lf"),
        (TextSource.PL, 4, "pl", "pl"),
        (TextSource.ASET, 8, "aset", "aset"),
    ],
)
def test_a_source_has_its_bit_and_its_columns(source: TextSource, bit: int, filtered: str, unfiltered: str) -> None:
    assert int(source) == bit
    assert source.record.bit is source
    assert source.record.column(filtered=True) == filtered
    assert source.record.column(filtered=False) == unfiltered
