"""Bottom-k sketches: bounded, exact, and the same whatever the order and the grouping."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sketch import Sketch, add_text, count_sketch, empty_sketch, leave_out, merge_sketches, text_key
from schemas.reasons import Reason

CAP = 5


def sketch_of(texts: list[str]) -> Sketch:
    sketch = empty_sketch()
    for text in texts:
        add_text(sketch, text_key(text), text, len(text), CAP)
    return sketch


@pytest.mark.slow
@given(st.lists(st.lists(st.sampled_from([f"text {i}" for i in range(40)]), max_size=30), max_size=8), st.randoms())
def test_bags_merge_into_the_sketch_of_the_union(groups: list[list[str]], rng: random.Random) -> None:
    texts = [text for group in groups for text in group]
    expected = count_sketch(sketch_of(texts), CAP)
    sketches = [sketch_of(group) for group in groups]
    rng.shuffle(sketches)
    merged = empty_sketch()
    for sketch in sketches:
        merge_sketches(merged, sketch, CAP)
        assert len(merged[0]) <= CAP
    found = count_sketch(merged, CAP)
    assert found == expected
    occurrences = Counter(texts)
    assert all(count == occurrences[text] for text, count, _ in found.entries)
    assert found.account.read == len(texts) == found.annotations
    assert len(found.entries) == min(CAP, len(occurrences))


def test_a_hundred_thousand_texts_take_no_more_room_than_ten() -> None:
    sketch = empty_sketch()
    for i in range(100_000):
        add_text(sketch, text_key(f"text {i}"), f"text {i}", 1, CAP)
        assert len(sketch[0]) < 2 * CAP
    counted = count_sketch(sketch, CAP)
    assert len(counted.entries) == CAP
    assert counted.account.left_out == {Reason.OVER_CAP: 100_000 - CAP}


def test_what_is_left_out_is_counted_by_reason() -> None:
    sketch = empty_sketch()
    leave_out(sketch, Reason.LINK, 3)
    add_text(sketch, text_key("a"), "A", 2, CAP)
    add_text(sketch, text_key("a"), "a", 2, CAP)
    counted = count_sketch(sketch, CAP)
    assert counted.entries == [("A", 2, 2)]
    assert (counted.annotations, counted.tokens) == (3, 7)
    assert counted.account.left_out == {Reason.LINK: 1, Reason.DUPLICATE_TEXT: 1}
