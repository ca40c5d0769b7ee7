"""Each coefficient against scikit-learn, statsmodels or a published example, and the intervals against theory."""

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from filters.annotation import agreement
from filters.annotation.agreement import Array, agreement_of, agreement_table
from filters.annotation.records import ADJUDICATED
from schemas.label import Label, LabelItem, LabelValue
from tests.shared_files import SharedFolder


def rows_of(ratings: list[list[int | None]]) -> Array:
    """Counts per unit and category from one list a rater, None where a rater did not rate."""
    categories = sorted({one for rater in ratings for one in rater if one is not None})
    return np.array(
        [[sum(one == category for one in unit) for category in categories] for unit in zip(*ratings, strict=True)],
        dtype=float,
    )


def ones(rows: Array) -> Array:
    return np.ones(len(rows))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=60))
def test_cohen_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    assume(len({*first, *second}) > 1)
    expected = cohen_kappa_score(first, second)
    cells = np.array(pairs, dtype=float)
    assert float(agreement.cohen_kappa(cells, ones(cells))) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=40))
def test_fleiss_equals_statsmodels(yes_counts: list[int]) -> None:
    rows = np.array([[5 - count, count] for count in yes_counts], dtype=float)
    assume(0 < sum(yes_counts) < 5 * len(yes_counts))
    assert float(agreement.fleiss_kappa(rows, ones(rows))) == pytest.approx(fleiss_kappa(rows), abs=1e-12)


def test_fleiss_of_the_example_of_1971() -> None:
    """Ten units, fourteen raters, five categories (the table that textbooks print): kappa 0.210."""
    rows = np.array(
        [
            [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
        ],
        dtype=float,
    )  # fmt: skip
    assert float(agreement.fleiss_kappa(rows, ones(rows))) == pytest.approx(0.210, abs=5e-4)


# Four observers, twelve units, five categories, with gaps: Krippendorff (2011), section C; Gwet's irrCAC calls it
# cac.raw4raters.
FOUR_RATERS: list[list[int | None]] = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def test_krippendorff_of_his_own_example() -> None:
    rows = rows_of(FOUR_RATERS)
    assert float(agreement.krippendorff_alpha(rows, ones(rows))) == pytest.approx(0.743, abs=5e-4)


def test_gwet_of_the_published_example() -> None:
    """irrCAC gives AC1 = 0.77544 for these ratings."""
    rows = rows_of(FOUR_RATERS)
    assert float(agreement.gwet_ac1(rows, ones(rows))) == pytest.approx(0.77544, abs=5e-6)


def test_two_raters_of_the_published_contingency_table() -> None:
    """Three diagnoses by two abstractors (irrCAC's cont3x3abstractors): Cohen's kappa 0.7964094."""
    counts = np.array([[13, 0, 0], [0, 20, 7], [0, 4, 56]], dtype=float)
    cells = np.array([[i, j] for i in range(3) for j in range(3)], dtype=float)
    kappa = agreement.cohen_kappa(cells, counts.ravel())
    assert float(kappa) == pytest.approx(0.7964094, abs=5e-8)
    assert float(kappa) == pytest.approx(cohens_kappa(counts).kappa, abs=1e-12)


def test_krippendorff_is_fleiss_but_for_the_small_sample_correction() -> None:
    """With n ratings in all and no gaps, 1 - alpha = (1 - kappa)(n - 1)/n."""
    rows = np.array([[3, 0], [2, 1], [0, 3], [1, 2], [3, 0]], dtype=float)
    alpha, kappa = (float(one(rows, ones(rows))) for one in (agreement.krippendorff_alpha, agreement.fleiss_kappa))
    assert 1 - alpha == pytest.approx((1 - kappa) * (rows.sum() - 1) / rows.sum(), abs=1e-12)


def test_the_interval_is_close_to_the_asymptotic_one() -> None:
    counts = np.array([[420, 30], [25, 125]], dtype=float)
    cells = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], counts.ravel().astype(int), axis=0).astype(float)
    ours = agreement.estimate(cells, agreement.cohen_kappa)
    theirs = cohens_kappa(counts)
    assert ours.value == pytest.approx(theirs.kappa, abs=1e-12)
    assert ours.low == pytest.approx(theirs.kappa_low, abs=0.01)
    assert ours.high == pytest.approx(theirs.kappa_upp, abs=0.01)
    assert ours == agreement.estimate(cells, agreement.cohen_kappa), "the interval has a fixed seed"


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """300 draws of 150 sentences from a population whose kappa is known."""
    shares = np.array([0.72, 0.05, 0.04, 0.19])
    cells = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
    truth = float(agreement.cohen_kappa(cells, shares))
    dice = np.random.default_rng(7)
    hits = 0
    for _ in range(300):
        drawn = cells[dice.choice(4, size=150, p=shares)]
        one = agreement.estimate(drawn, agreement.cohen_kappa, resamples=400)
        hits += one.low <= truth <= one.high
    assert 0.90 <= hits / 300 <= 0.985


def test_the_interval_is_the_middle_95_percent_of_the_redraws() -> None:
    """Redrawn raw agreement is binomial: its quantiles are known, and ours are off by the noise of 2,000 redraws."""
    rows = np.array([[2, 0]] * 32_000 + [[1, 1]] * 8_000, dtype=float)
    ours = agreement.estimate(rows, agreement.observed_agreement)
    assert (ours.value, ours.units) == (0.8, 40_000)
    spread = (0.8 * 0.2 / 40_000) ** 0.5
    assert (ours.low - 0.8) / spread == pytest.approx(norm.ppf(0.025), abs=0.12)
    assert (ours.high - 0.8) / spread == pytest.approx(norm.ppf(0.975), abs=0.12)


@pytest.mark.parametrize("name", ["observed_agreement", "fleiss_kappa", "krippendorff_alpha", "gwet_ac1"])
def test_many_tables_at_once_are_each_alone(name: str) -> None:
    """Four tables of three units and two categories, as one array, and as one of weights over the same rows."""
    coefficient = getattr(agreement, name)
    dice = np.random.default_rng(3)
    yes = dice.integers(0, 4, (4, 3)).astype(float)
    rows, weights = np.stack([3 - yes, yes], axis=-1), dice.integers(1, 5, (4, 3)).astype(float)
    alone = [float(coefficient(*one)) for one in zip(rows, weights, strict=True)]
    assert coefficient(rows, weights).tolist() == pytest.approx(alone, abs=1e-12, nan_ok=True)
    reweighted = [float(coefficient(rows[0], one)) for one in weights]
    assert coefficient(rows[0], weights).tolist() == pytest.approx(reweighted, abs=1e-12, nan_ok=True)
    repeated = np.repeat(rows[0], weights[0].astype(int), axis=0)
    assert float(coefficient(repeated, ones(repeated))) == pytest.approx(reweighted[0], abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", ["observed_agreement", "krippendorff_alpha", "gwet_ac1"])
def test_a_sentence_that_nobody_judged_says_nothing(name: str) -> None:
    coefficient = getattr(agreement, name)
    rows = np.array([[2, 0], [1, 1], [0, 3], [1, 0]], dtype=float)
    with_another = np.vstack([rows, np.zeros((1, 2))])
    assert float(coefficient(with_another, ones(with_another))) == pytest.approx(float(coefficient(rows, ones(rows))))


def test_one_label_alone_counts_for_what_is_usual_and_not_for_agreement() -> None:
    """Gwet takes chance from every label; raw agreement and Krippendorff only see those that have a partner."""
    rows = np.array([[2, 0], [1, 1], [0, 2]], dtype=float)
    more = np.vstack([rows, [[0, 1]]])
    for coefficient in (agreement.observed_agreement, agreement.krippendorff_alpha):
        assert float(coefficient(more, ones(more))) == float(coefficient(rows, ones(rows)))
    expected = 2 * (1.5 / 4) * (2.5 / 4)
    assert float(agreement.gwet_ac1(more, ones(more))) == pytest.approx((2 / 3 - expected) / (1 - expected))


def test_kappa_misleads_where_yes_is_rare_and_ac1_does_not() -> None:
    votes = [{"a": LabelValue.NO, "b": LabelValue.NO}] * 95 + [{"a": LabelValue.YES, "b": LabelValue.NO}] * 5
    one = agreement_of("all", votes)
    assert one.observed.value == pytest.approx(0.95)
    assert one.cohen is not None
    assert one.cohen.value == pytest.approx(0.0)
    assert one.gwet.value > 0.94


def test_what_is_undefined_is_nan_and_not_an_error() -> None:
    same = agreement_of("all", [{"a": LabelValue.NO, "b": LabelValue.NO}] * 3)
    assert same.cohen is not None
    assert np.isnan(same.cohen.value)
    assert same.gwet.value == 1
    nothing = agreement_of("all", [{"a": LabelValue.NO}])
    assert nothing.units == 0
    assert np.isnan(nothing.krippendorff.value)
    assert nothing.krippendorff.units == nothing.fleiss.units == 0
    assert agreement_of("all", [{"a": LabelValue.NO, "b": LabelValue.YES}]).observed.units == 1


def test_rounding_does_not_make_a_figure_of_what_is_undefined() -> None:
    """Shares of one and the same answer add up to a little less than 1, and so does what chance explains."""
    for weights in np.random.default_rng(11).random((50, 7)):
        assert np.isnan(agreement.cohen_kappa(np.zeros((7, 2)), weights))


def test_the_table_has_pairs_and_strata_and_leaves_skips_and_decisions_out() -> None:
    items = [LabelItem(item_id=str(n), text="x", stratum="left" if n < 2 else "right") for n in range(4)]
    said = {"a": "ynyy", "b": "ynns", "c": "ynyn"}
    words = {"y": LabelValue.YES, "n": LabelValue.NO, "s": LabelValue.SKIP}
    labels = [
        Label(item_id=str(n), annotator=name, label=words[letter])
        for name, letters in said.items()
        for n, letter in enumerate(letters)
    ]
    labels.append(Label(item_id="0", annotator=ADJUDICATED, label=LabelValue.NO))
    table = {row.name: row for row in agreement_table(items, labels)}
    assert set(table) == {"all", "a + b", "a + c", "b + c", "left", "right"}
    assert table["all"].units == 4
    assert table["a + b"].units == 3, "a skip is no judgement"
    assert table["a + c"].units == 4, "also where nobody else judged"
    assert table["all"].cohen is None
    assert table["all"].fleiss.units == 3, "Fleiss counts the sentences with the usual number of labels"
    assert table["left"].observed.value == 1


def test_two_annotators_of_one_stratum_are_one_row() -> None:
    labels = [Label(item_id=item, annotator=name, label=LabelValue.YES) for item in "12" for name in "ab"]
    alike = [LabelItem(item_id=item, text="x", stratum="left") for item in "12"]
    (row,) = agreement_table(alike, labels)
    assert (row.name, row.units) == ("all", 2)
    assert row.cohen is not None
    labels.append(Label(item_id="3", annotator="c", label=LabelValue.YES))
    assert [row.name for row in agreement_table(alike, labels)] == ["all"], "who judged alone is in no pair"
    named = [LabelItem(item_id="1", text="x", source="web"), LabelItem(item_id="2", text="x")]
    assert [row.name for row in agreement_table(named, labels)] == ["all", "(no stratum)", "web"]


def test_the_real_labels_of_two_annotators(shared_folder: SharedFolder) -> None:
    """700 sentences, Cohen's kappa 0.948, as scikit-learn and statsmodels say too."""
    folder = shared_folder.need("data/labels")
    items = [LabelItem(**json.loads(line)) for line in (folder / "sentences.jsonl").open(encoding="utf-8")]
    labels = []
    for number in (1, 2):
        for line in (folder / f"annotator_{number}.jsonl").open(encoding="utf-8"):
            row = json.loads(line)
            labels.append(Label(**{**row, "label": LabelValue(row["label"])}))
    whole = agreement_table(items, labels)[0]
    assert whole.units == 700
    assert whole.cohen is not None
    assert whole.cohen.value == pytest.approx(0.948, abs=5e-4)
    said = [{label.item_id: label.label for label in labels if label.annotator == f"annotator_{n}"} for n in (1, 2)]
    first, second = ([one[item.item_id] for item in items] for one in said)
    assert whole.cohen.value == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
