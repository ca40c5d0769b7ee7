"""The demo's evaluation playlists: valid, the same twice, and by no title of a playlist that is trained on."""

import numpy as np

from pipeline.demo.demo_corpus import eval_playlists, plan_recordings, training_playlists
from schemas.eval_playlist import EvalPlaylist
from schemas.exclusion import ExclusionList, title_key


def test_evaluation_playlists_of_the_corpus() -> None:
    plan = plan_recordings(60, 0)
    rows = eval_playlists(plan)
    assert rows == eval_playlists(plan_recordings(60, 0))
    playlists = [EvalPlaylist.from_json(row) for row in rows]
    assert len(playlists) >= 2  # a text triplet needs another description
    known = {recording.recording_id for recording in plan if recording.sound.piece}
    assert all(set(playlist.recording_ids) <= known for playlist in playlists)
    excluded = ExclusionList(title_keys=frozenset(title_key(playlist.title) for playlist in playlists))
    trained_on = [row["title"] for row in training_playlists(plan, np.random.default_rng(0))]
    assert not any(excluded.has_title(title) for title in trained_on)
