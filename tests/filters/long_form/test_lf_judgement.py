"""What the classifier's figures rest on: labels, folds, metrics, calibration, thresholds, augmentation, audits."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from filters.annotation.exchange import add_bundle
from filters.annotation.log import Log
from filters.annotation.records import Bundle
from filters.long_form.audit import Drawn, ScoredSentence, draw, estimate, read_drawn
from filters.long_form.augment import augment
from filters.long_form.calibration import (
    Calibration,
    fit_platt,
    sigmoid,
    threshold_for_keep_rate,
    threshold_for_precision,
)
from filters.long_form.data import (
    SEED_PATH,
    DataError,
    Example,
    check_trainable,
    examples_digest,
    from_labels,
    grouped_folds,
    prepare_sentence,
    read_examples,
    read_seed,
)
from filters.long_form.gates import judge
from filters.long_form.language import LanguageError, check_languages, is_surely_other
from filters.long_form.metrics import average_precision, bootstrap, paired_gain, roc_auc, wilson, zero_seen
from schemas.label import Label, LabelItem, LabelValue
from schemas.reasons import Reason

pytestmark = pytest.mark.slow


def test_seed_is_seven_hundred_sentences_as_the_job_would_see_them() -> None:
    rows = [json.loads(line) for line in SEED_PATH.read_text(encoding="utf-8").splitlines()]
    examples = read_seed()
    assert len(rows) == len(examples) == 700
    assert Counter(example.is_music for example in examples) == {True: 246, False: 454}
    assert all(example.text == row["text"] for example, row in zip(examples, rows, strict=True))
    assert len({row["language"] for row in rows}) >= 10
    assert sum(judge(example.text) is None for example in examples) > 600


def test_no_english_sentence_of_the_seed_is_taken_for_another_language() -> None:
    rows = [json.loads(line) for line in SEED_PATH.read_text(encoding="utf-8").splitlines()]
    surely_other = [row for row in rows if is_surely_other(row["text"], frozenset({"en"}))]
    assert [row["text"] for row in surely_other if row["language"] == "en"] == []
    assert len(surely_other) >= 50, "most of 82 short sentences in other languages are certain"
    spanish = "la guitarra del final es hermosa y la voz suena muy triste en toda la canción"
    assert judge(spanish, frozenset({"en"})) is Reason.OTHER_LANGUAGE
    assert judge(spanish, frozenset({"en", "es"})) is None
    with pytest.raises(LanguageError, match="'xx' is no language that"):
        check_languages(frozenset({"en", "xx"}))


def test_examples_from_files(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    lines = [
        {"text": "Nice &amp; warm bass", "label": "yes", "item_id": "a"},
        {"text": "nice & WARM bass!", "label": "yes"},
        {"text": "hello there", "label": "no", "group": "g"},
        {"text": "unclear", "label": "skip"},
        {"text": "two minds", "label": "yes"},
        {"text": "Two minds", "label": "no"},
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    found = read_examples(path)
    assert [(example.text, example.is_music) for example in found] == [
        ("Nice & warm bass", True),
        ("hello there", False),
    ]
    assert found[1].group == "g"
    apart = [
        {"item_id": "1", "text": "soft strings"},
        {"item_id": "2", "text": "see you"},
        {"item_id": "1", "annotator": "ada", "label": "yes"},
        {"item_id": "2", "annotator": "ada", "label": "skip", "skip_reason": "language"},
    ]
    path.write_text("\n".join(json.dumps(line) for line in apart), encoding="utf-8")
    assert [(example.item_id, example.text, example.is_music) for example in read_examples(path)] == [
        ("1", "soft strings", True)
    ]
    for bad in ("{", '{"text": 1, "label": "yes"}', '{"text": "a", "label": "maybe"}', "[]"):
        path.write_text(json.dumps(lines[0]) + "\n" + bad, encoding="utf-8")
        with pytest.raises(DataError, match=":2: "):
            read_examples(path)


def test_labels_that_differ_train_nobody() -> None:
    items = [LabelItem(item_id=name, text=f"text {name}") for name in "abc"]
    labels = [
        Label(item_id="a", annotator="one", label=LabelValue.YES),
        Label(item_id="a", annotator="two", label=LabelValue.SKIP),
        Label(item_id="b", annotator="one", label=LabelValue.YES),
        Label(item_id="b", annotator="two", label=LabelValue.NO),
    ]
    assert [(example.item_id, example.is_music) for example in from_labels(items, labels, {})] == [("a", True)]


def test_labels_come_from_the_database_of_the_labelling_tool(tmp_path: Path) -> None:
    items = [LabelItem(item_id=name, text=f"warm bass number {name}") for name in ("a", "b", "c")]
    votes = [("a", "ada", LabelValue.YES), ("a", "bob", LabelValue.YES), ("b", "ada", LabelValue.NO)]
    disputed = [("c", "ada", LabelValue.YES), ("c", "bob", LabelValue.NO)]
    labels = [Label(item_id=i, annotator=who, label=value) for i, who, value in votes + disputed]
    path = tmp_path / "labels.db"
    with Log(path, create=True) as database:
        add_bundle(database, Bundle(items=items, labels=labels), overlap=2)
    assert [(example.item_id, example.is_music) for example in read_examples(path)] == [("a", True), ("b", False)]
    path.write_bytes(b"SQLite format 3\x00" + bytes(200))
    with pytest.raises(DataError):
        read_examples(path)


def test_folds_hold_groups_together_and_share_positives() -> None:
    examples = [Example(item_id=str(i), text=f"t{i}", is_music=i % 3 == 0, group=f"g{i // 4}") for i in range(120)]
    folds = grouped_folds(examples, 5, seed=0)
    assert folds == grouped_folds(examples, 5, seed=0)
    by_group: dict[str, set[int]] = {}
    for example, fold in zip(examples, folds, strict=True):
        by_group.setdefault(example.group, set()).add(fold)
    assert all(len(found) == 1 for found in by_group.values())
    positives = Counter(fold for example, fold in zip(examples, folds, strict=True) if example.is_music)
    assert max(positives.values()) - min(positives.values()) <= 4
    assert examples_digest(examples) == examples_digest(examples[::-1])
    with pytest.raises(DataError, match="labelled yes"):
        check_trainable(examples[1:3], 5)


def test_metrics_are_those_of_sklearn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        is_music = rng.random(60) < 0.3
        is_music[:2] = True, False
        scores = np.round(rng.normal(size=60) + is_music, 1)
        assert roc_auc(is_music, scores) == pytest.approx(roc_auc_score(is_music, scores))
        assert average_precision(is_music, scores) == pytest.approx(average_precision_score(is_music, scores))
    interval = bootstrap(is_music, scores, roc_auc, resamples=200)
    assert interval.low < interval.value < interval.high
    gain = paired_gain(is_music, scores, scores, roc_auc, resamples=50)
    assert (gain.low, gain.value, gain.high) == (0, 0, 0)


def test_platt_finds_the_curve_and_shifts_the_base_rate() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=20_000) * 2
    is_music = rng.random(20_000) < sigmoid(1.5 * logits - 1.0)
    found = fit_platt(logits, is_music)
    assert found.slope == pytest.approx(1.5, abs=0.1)
    assert found.offset == pytest.approx(-1.0, abs=0.1)
    assert found.probabilities(logits).mean() == pytest.approx(is_music.mean(), abs=0.005)
    rare = Calibration(**{**found.to_json(), "base_rate": 0.01})
    weights = np.where(is_music, 0.01 / is_music.mean(), 0.99 / (1 - is_music.mean()))
    assert np.average(rare.probabilities(logits), weights=weights) == pytest.approx(0.01, rel=0.1)
    assert np.isfinite(rare.probabilities(np.array([-1e6, 1e6]))).all()
    separable = fit_platt(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([False, False, True, True]))
    assert 0 < separable.probabilities(np.array([-1.0]))[0] < 0.5 < separable.probabilities(np.array([1.0]))[0] < 1


def test_thresholds_follow_their_aim() -> None:
    rng = np.random.default_rng(2)
    is_music = np.arange(2_000) < 800
    probabilities = sigmoid(rng.normal(size=2_000) + np.where(is_music, 1.5, -1.5))
    met = threshold_for_precision(probabilities, is_music, precision=0.9, base_rate=0.4)
    assert met.met
    assert met.precision >= met.precision_low >= 0.9
    assert (is_music[probabilities >= met.value].mean()) >= 0.9
    rarer = threshold_for_precision(probabilities, is_music, precision=0.9, base_rate=0.05)
    assert rarer.value > met.value
    never = threshold_for_precision(probabilities, is_music, precision=0.999, base_rate=0.001)
    assert not never.met
    keep = threshold_for_keep_rate(probabilities, is_music, keep_rate=0.1, base_rate=0.4)
    assert keep.keep_rate == pytest.approx(0.1, abs=0.01)


def test_augmentation_keeps_labels_by_the_guideline() -> None:
    yes = Example(item_id="y", text="nice guitar", is_music=True, group="y")
    no = Example(item_id="n", text="which guitar should I buy", is_music=False, group="n")
    made = augment([yes, no], count=400, seed=0)
    assert made == augment([yes, no], count=400, seed=0)
    assert all(example.is_music == ("nice" in example.text) for example in made)
    assert len({example.text for example in made}) > 150
    assert any("guitar" not in example.text for example in made)


def test_augmentation_speaks_of_other_things() -> None:
    no = Example(item_id="n", text="The dog opens the fridge", is_music=False, group="n")
    made = {example.text for example in augment([no], count=200, seed=0, join_share=0)}
    assert no.text in made
    assert len(made) > 50
    assert all(re.fullmatch(r"The \S+ opens the \S+", text) for text in made)


def _sentences(count: int, seed: int) -> tuple[list[ScoredSentence], dict[str, bool]]:
    rng = np.random.default_rng(seed)
    scores = rng.beta(0.4, 3, count)
    truth = rng.random(count) < scores
    sentences = [ScoredSentence(text=f"s{i}", score=float(score), source="r") for i, score in enumerate(scores)]
    return sentences, {sentence.text: bool(is_music) for sentence, is_music in zip(sentences, truth, strict=True)}


def test_audit_estimates_what_labelling_everything_would_give() -> None:
    sentences, truth = _sentences(20_000, 0)
    threshold = 0.4
    accepted = [sentence for sentence in sentences if sentence.score >= threshold]
    precision = np.mean([truth[sentence.text] for sentence in accepted])
    recall = sum(truth[sentence.text] for sentence in accepted) / sum(truth.values())
    inside: list[bool] = []
    for seed in range(20):
        drawn, sizes = draw(sentences, threshold=threshold, accepted=200, rejected=400, seed=seed)
        assert sum(sizes.values()) == len(sentences)
        assert sum(1 / item.inclusion_probability for item in drawn) == pytest.approx(len(sentences))
        figures = estimate(drawn, {item.item_id: truth[item.text] for item in drawn})
        assert figures.accepted_share == pytest.approx(len(accepted) / len(sentences))
        inside.append(bool(figures.precision.low <= precision <= figures.precision.high))
        inside.append(bool(figures.recall.low <= recall <= figures.recall.high))
    assert sum(inside) >= 34  # of 40 intervals of 95 %


def test_audit_draws_the_same_whatever_the_order_and_counts_a_text_once() -> None:
    sentences, _ = _sentences(2_000, 1)
    one, sizes = draw(sentences, threshold=0.4, accepted=20, rejected=40, seed=3)
    two, again = draw([*sentences[::-1], *sentences], threshold=0.4, accepted=20, rejected=40, seed=3)
    assert one == two
    assert sizes == again


def test_audit_says_what_is_missing(tmp_path: Path) -> None:
    sentences, truth = _sentences(2_000, 2)
    drawn, _ = draw(sentences, threshold=0.4, accepted=20, rejected=40, seed=3)
    rejected_only = {item.item_id: truth[item.text] for item in drawn if item.score < 0.4}
    with pytest.raises(DataError, match="accepted"):
        estimate(drawn, rejected_only)
    path = tmp_path / "drawn.jsonl"
    path.write_text("".join(json.dumps(item.to_json()) + "\n" for item in drawn), encoding="utf-8")
    assert read_drawn(path) == drawn
    path.write_text('{"text": "x"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=":1: "):
        read_drawn(path)


def test_three_hundred_negatives_cannot_certify_a_tenth_of_a_percent() -> None:
    assert zero_seen(300) > 0.01
    assert wilson(0, 0) == (0.0, 1.0)


def test_sentences_are_prepared_as_in_the_job() -> None:
    assert prepare_sentence("<b>soft</b>\n piano &amp; rain 🎹 mail a@b.example") == "soft piano & rain mail [email]"


def test_drawn_items_are_label_items() -> None:
    item = Drawn(
        item_id="1",
        text="t",
        source="r",
        stratum="accepted-0.5000",
        inclusion_probability=0.5,
        score=0.7,
        threshold=0.5,
    )
    fields = {name: value for name, value in item.to_json().items() if name not in ("score", "threshold")}
    assert LabelItem(**fields).inclusion_probability == 0.5
