"""What each versioned piece of code makes of a frozen sample, and what it made of it at each of its versions.

    python -m tests.frozen_outputs

records the outputs of every version that `frozen/outputs.json` does not have yet, and changes none that is there.
`frozen/sample.json` is synthetic text, written once by `python -m tests.frozen_outputs --write_sample`; like the made
media and sounds it stays as it is, or all outputs would have to be recorded again. Text is compared by digest. Samples
of clips may differ by 1 LSB and scores by 0.001 between classes of CPU, so of these a few are kept as numbers.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from filters.long_form import gates, redaction, sentences
from filters.music.builtin.detector import BuiltinDetector, load
from filters.music.builtin.synthesis import synthesise
from filters.music.detector import MusicDetector
from filters.music.load import load_detector
from filters.music.yamnet_savedmodel import YamnetSavedModel
from filters.music.yamnet_tflite import YamnetTflite
from filters.short_form import rules
from pipeline.media.clip import ClipDecoder, ClipError
from pipeline.media.protocol import DECODER_VERSION, ClipSpec, DecodeConfig, ShortPolicy
from schemas.digest import digest_json
from tests.filters.music.tiny_yamnet import save_savedmodel, save_tflite
from tests.media import encoded, music_CT

FROZEN = Path(__file__).parent / "frozen"
SAMPLE, RECORDED = FROZEN / "sample.json", FROZEN / "outputs.json"
# Container, codec and rate of lossless media, which are the same bytes wherever they are made.
MEDIA = (
    ("wav", "pcm_s16le", 44_100),
    ("flac", "flac", 48_000),
    ("wav", "pcm_s16le", 8_000),
    ("aiff", "pcm_s24be", 16_000),
)
SOUNDS = ("jazz trio", "reggae", "rain", "wind")


def sample() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(SAMPLE.read_text(encoding="utf-8"))
    return value


def of_rules() -> dict[str, Any]:
    cleaned = [rules.clean(text, rules.Field(field)) for field, text in sample()["short"]]
    whole = rules.clean_recording(title="A", artist="a", album=" ", tags=["b", "B!", "video"])
    return {"digest": digest_json([[[form.text, form.reason, form.hits] for form in cleaned], whole.kept, whole.hits])}


def of_redaction() -> dict[str, Any]:
    return {"digest": digest_json([redaction.redact(text) for text in sample()["long"]])}


def of_sentences() -> dict[str, Any]:
    found = [sentences.sentences(text) for text in sample()["long"]]
    keys = [sentences.duplicate_key(sentence) for text in found for sentence in text]
    return {"digest": digest_json([found, keys])}


def of_gates() -> dict[str, Any]:
    wanted = frozenset({"en"})
    return {"digest": digest_json([[gates.judge(text), gates.judge(text, wanted)] for text in sample()["sentences"]])}


def of_decoder() -> dict[str, Any]:
    """Facts of every clip or the reason why there is none, and each 997th sample."""
    facts: list[Any] = []
    values: list[int] = []
    for policy in ShortPolicy:
        with ClipDecoder(DecodeConfig(short_policy=policy)) as decoder:
            for container, codec, rate_hz in MEDIA:
                layout = "mono" if rate_hz < 44_100 else "stereo"
                wave_CT = music_CT(3.0, rate_hz, 1 if layout == "mono" else 2)
                media = encoded(wave_CT, rate_hz, container, codec, layout=layout)
                for start_s in (0.0, 1.5, 2.495, 2.6):
                    try:
                        clip = decoder.cut(media, ClipSpec(start_s=start_s, duration_s=0.5))
                    except ClipError as error:
                        facts.append([str(policy), container, start_s, error.reason])
                        continue
                    facts.append([str(policy), container, start_s, clip.start_s, clip.padded_samples, clip.walked])
                    values += clip.pcm_T[::997].tolist()
    return {"digest": digest_json(facts), "values": values, "margin": 1}


def of_detector(detector: MusicDetector) -> dict[str, Any]:
    scores = np.concatenate([detector.scores(synthesise(kind, 1, 6.0)) for kind in SOUNDS])
    return {"digest": digest_json([len(scores)]), "values": scores.astype(float).round(6).tolist(), "margin": 1e-3}


def _of_tflite() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return of_detector(load_detector(str(save_tflite(Path(folder, "tiny.tflite")))))


def _of_savedmodel() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return of_detector(load_detector(str(save_savedmodel(Path(folder, "tiny")))))


# What is versioned → its number, where that stands, and what it makes of the sample.
VERSIONED: dict[str, tuple[int, str, Callable[[], dict[str, Any]]]] = {
    "rules": (rules.VERSION, "filters/short_form/rules.py", of_rules),
    "sentences": (sentences.VERSION, "filters/long_form/sentences.py", of_sentences),
    "redaction": (redaction.VERSION, "filters/long_form/redaction.py", of_redaction),
    "gates": (gates.VERSION, "filters/long_form/gates.py", of_gates),
    "decoder": (DECODER_VERSION, "pipeline/media/protocol.py", of_decoder),
    "builtin": (BuiltinDetector.version, "filters/music/builtin/detector.py", lambda: of_detector(load())),
    "yamnet-tflite": (YamnetTflite.version, "filters/music/yamnet_tflite.py", _of_tflite),
    "yamnet-savedmodel": (
        YamnetSavedModel.version,
        "filters/music/yamnet_savedmodel.py",
        _of_savedmodel,
    ),
}
NEED_TENSORFLOW = ("yamnet-tflite", "yamnet-savedmodel")  # in a process that has no torch


def recorded() -> dict[str, dict[str, Any]]:
    """By name and version."""
    value: dict[str, dict[str, Any]] = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}
    return value


def complaint(name: str, found: dict[str, Any], version: int | None = None) -> str | None:
    """What to do where a version's outputs, today's if None, are not those that were recorded of it."""
    today, file, _ = VERSIONED[name]
    version = version or today
    known = recorded().get(name, {}).get(str(version))
    if known is None:
        return f"version {version} of {name} is new: run `python -m tests.frozen_outputs` and commit what it records"
    values, before = (np.array(outputs.get("values", []), float) for outputs in (found, known))
    same = found["digest"] == known["digest"] and values.shape == before.shape
    if same and (not values.size or np.abs(values - before).max() <= known["margin"]):
        return None
    return (
        f"{name} puts out something else than version {version} did: raise the version in {file}, run "
        "`python -m tests.frozen_outputs` and commit what it records"
    )


def write_sample() -> None:
    """Synthetic text: what the rules and the tests have as examples on the day of writing, and texts at every bound."""
    short: list[tuple[str, str]] = [
        (example.field, example.before) for rule in rules.RULES for example in rule.examples
    ]
    short += [(field, text) for _, text in short for field in ("artist", "tag")]
    short += [("title", f"{'la ' * 120}(Official Video)"), ("title", "Ã©tude nÂ° 3 â€“ live"), ("tag", "x" * 301)]
    contacts = (
        "Mail me at some.one@example.com or some one (at) example dot com!",
        "Call 555-123-4567 or +44 20 7946 0958 now. Since 1999, 120 bpm, 12:34, 1 234 567 views, BWV 1046.",
        "06 12 34 56 78 / 090-1234-5678 / WhatsApp: 07911 123456 / date 12.05.2019 14:30",
        "See https://example.com/a?b=c, www.example.org. or example.net/path; the end.no more, @some_body and @ 5.",
        "booking: 0123 456789 contact@example.org http : / / spaced.example/x",
    )
    texts = (
        "One. Two! Three? Four… five... six .. Seven.Eight",
        "Mr. J. S. Bach wrote No. 5 in op. 3, feat. the St. Thomas choir vs. nobody.",
        "I said no. Then he left. 3. Third. Vol. 2 and p.ex. more, etc. And so on.",
        "first line\nsecond line\r\n\n- bullet\n* another\n--- === ---\n1. item one\n2. item two",
        "これは静かな曲です。とても好きです！音がいい？はい",
        "<b>Bold</b> &amp; &lt;i&gt; br<br/>new \u200bzero\u200d width \ufeffmark \U0001f600 smile Ã©tÃ© donâ€™t",
        "sooooooooooooo good!!!!!!!!!!! yeeeeeeeeesssssssss \u202eturned\u202c",
        "Señor López canta. ¿Quién es? ¡Qué bueno! «Très bien» dit-il. „Ja.“ Nein.",
        "क्या बात है। बहुत अच्छा॥ هل هذا جيد؟ نعم۔",
        "long " * 5000,
        "short one. " * 600,
    )
    bounds = [
        *("ab " * words + "c" * letters for words in range(4) for letters in range(1, 9)),
        *("音" * letters for letters in range(1, 8)),
        *("a" * letters + " " + "1" * digits for letters in (6, 8, 12) for digits in range(4, 14)),
        *("word " * words for words in (199, 200, 201)),
        *("a " * 20 + "b" * length for length in (959, 960, 961, 962)),
        *("[url]", "[email] [phone]", "see [url]", "look at [handle] now", "12345 678", "!!! ???", ""),
        "The bass is warm and slow, and the drums are soft.",
        "Das Schlagzeug ist leise und der Bass sehr warm, das gefällt mir wirklich gut.",
        "La batería es suave y el bajo suena muy cálido en esta canción tan hermosa.",
        "हिन्दी गीत बहुत मधुर है",
    ]
    value = {"about": "synthetic", "short": short, "long": [*contacts, *texts], "sentences": bounds}
    SAMPLE.write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def main() -> None:
    if sys.argv[1:] == ["--write_sample"]:
        write_sample()
        return
    known = recorded()
    for name, (version, _, outputs) in VERSIONED.items():
        if str(version) not in known.setdefault(name, {}):
            known[name][str(version)] = outputs()
    lines = [f"{json.dumps(name)}: {json.dumps(known[name], sort_keys=True)}" for name in sorted(known)]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
