"""The styles of music that are synthesised: a table of tempo, harmony, layers and drums, and the words for each.

`compose` draws one piece of a style; what it drew is what the sound is made from and what the text says, so that both
agree.
"""

from dataclasses import dataclass

import numpy as np

MODES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "pentatonic": (0, 2, 4, 7, 9, 12, 14),
}

# Scale degrees of a chord a bar.
PROGRESSIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "bright": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 4), (0, 3, 0, 4), (3, 4, 0, 5)),
    "dark": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 4), (0, 5, 3, 4), (0, 0, 5, 6)),
    "jazz": ((1, 4, 0, 5), (0, 5, 1, 4), (0, 3, 1, 4)),
    "still": ((0, 0, 3, 3), (0, 5, 0, 5), (0, 1, 0, 6), (0, 0, 0, 0)),
}

# Sixteenth steps of a bar, one row a drum; a bar of three beats uses the first twelve.
DRUM_PATTERNS: dict[str, dict[str, str]] = {
    "four on the floor": {"kick": "x---x---x---x---", "open hat": "--x---x---x---x-", "clap": "----x-------x---"},
    "rock beat": {"kick": "x-----x-x-------", "snare": "----x-------x---", "hat": "x-x-x-x-x-x-x-x-"},
    "driving beat": {"kick": "x-x---x-x-x---x-", "snare": "----x-------x---", "ride": "x---x---x---x---"},
    "boom bap": {"kick": "x--x------x-----", "snare": "----x-------x--x", "hat": "x-x-x-x-x-x-x-x-"},
    "breakbeat": {"kick": "x-x-------xx----", "snare": "----x--x-x--x---", "hat": "xxx-xxx-xxx-xxx-"},
    "swing ride": {"ride": "x---x-x-x---x-x-", "hat": "----x-------x---", "kick": "x---------------"},
    "brushes": {"shaker": "x-x-x-x-x-x-x-x-", "rim": "----x-------x---"},
    "latin percussion": {"conga": "--x---xx--x---xx", "shaker": "xxxxxxxxxxxxxxxx", "rim": "x--x--x---x-x---"},
    "march snare": {"snare": "x--xx-x-x--xx-xx", "kick": "x-------x-------", "timpani": "x---------------"},
    "timpani": {"timpani": "x-----------x---"},
    "sparse hits": {"tom": "x-----------x---"},
    "one drop": {"kick": "--------x-------", "rim": "--------x-------", "hat": "--x---x---x---x-"},
    "waltz beat": {"kick": "x---------------", "rim": "----x---x-------", "hat": "x---x---x-------"},
    "tribal drums": {"tom": "x--x--x-x--x--x-", "kick": "x-------x-------", "conga": "--x-x-x---x-x-xx"},
    "electronic kit": {"kick": "x---x---x---x---", "hat": "xxxxxxxxxxxxxxxx", "clap": "----x-------x---"},
}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A part of a style: what it plays, on one of which instruments, around which pitch."""

    role: str
    instruments: tuple[str, ...]
    midi: int
    level: float = 0.5
    chance: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Style:
    name: str
    tempo_bpm: tuple[int, int]
    modes: tuple[str, ...]
    harmony: tuple[str, ...]
    moods: tuple[str, ...]
    scene: str  # what one would put it on for
    layers: tuple[Layer, ...] = ()
    drums: tuple[str, ...] = ()
    drum_level: float = 0.5
    beats: tuple[int, ...] = (4,)
    swing: float = 0.0
    reverb: tuple[float, float] = (0.2, 0.9)
    sevenths: bool = False


_SYNTH_BASS = ("synth bass", "acid bass", "sub bass")

STYLES: dict[str, Style] = {
    style.name: style
    for style in (
        Style(
            name="house",
            tempo_bpm=(118, 130),
            modes=("minor", "dorian", "major"),
            harmony=("dark", "bright"),
            moods=("energetic", "uplifting", "hypnotic"),
            scene="the dance floor",
            layers=(
                Layer(role="bass", instruments=_SYNTH_BASS, midi=38, level=0.5),
                Layer(role="chords", instruments=("saw lead", "electric piano", "synth pluck"), midi=62, level=0.3),
                Layer(role="arp", instruments=("synth pluck", "square lead"), midi=72, level=0.2, chance=0.6),
            ),
            drums=("four on the floor", "electronic kit"),
        ),
        Style(
            name="techno",
            tempo_bpm=(126, 140),
            modes=("minor", "phrygian"),
            harmony=("still",),
            moods=("dark", "driving", "hypnotic"),
            scene="late nights",
            layers=(
                Layer(role="arp", instruments=("acid bass",), midi=40, level=0.5),
                Layer(role="pad", instruments=("synth pad",), midi=60, level=0.15, chance=0.5),
            ),
            drums=("electronic kit", "four on the floor"),
            drum_level=0.7,
        ),
        Style(
            name="ambient",
            tempo_bpm=(50, 75),
            modes=("major", "dorian", "pentatonic"),
            harmony=("still", "bright"),
            moods=("calm", "dreamy", "peaceful"),
            scene="meditation and sleep",
            layers=(
                Layer(role="pad", instruments=("synth pad", "glass pad", "humming choir"), midi=58, level=0.5),
                Layer(role="drone", instruments=("synth pad", "bowed drone"), midi=38, level=0.3, chance=0.7),
                Layer(role="melody", instruments=("vibraphone", "glass pad", "bells"), midi=74, level=0.2, chance=0.5),
            ),
            reverb=(1.5, 4.0),
        ),
        Style(
            name="solo piano",
            tempo_bpm=(60, 110),
            modes=("major", "minor"),
            harmony=("bright", "dark"),
            moods=("intimate", "melancholic", "romantic"),
            scene="a quiet evening",
            layers=(
                Layer(role="melody", instruments=("piano",), midi=74, level=0.5),
                Layer(role="arp", instruments=("piano",), midi=52, level=0.35),
            ),
            beats=(4, 3),
        ),
        Style(
            name="acoustic folk",
            tempo_bpm=(80, 125),
            modes=("major", "mixolydian"),
            harmony=("bright",),
            moods=("warm", "relaxed", "hopeful"),
            scene="a fireside",
            layers=(
                Layer(role="arp", instruments=("acoustic guitar", "nylon guitar"), midi=55, level=0.5),
                Layer(
                    role="melody", instruments=("violin", "flute", "acoustic guitar"), midi=72, level=0.35, chance=0.7
                ),
                Layer(role="bass", instruments=("double bass",), midi=38, level=0.35, chance=0.5),
            ),
            beats=(4, 3),
        ),
        Style(
            name="orchestral",
            tempo_bpm=(65, 120),
            modes=("minor", "major"),
            harmony=("dark", "bright"),
            moods=("epic", "solemn", "majestic"),
            scene="a film's great moment",
            layers=(
                Layer(role="pad", instruments=("strings",), midi=60, level=0.45),
                Layer(role="bass", instruments=("cello",), midi=40, level=0.4),
                Layer(role="melody", instruments=("brass", "oboe", "violin", "flute"), midi=70, level=0.4),
                Layer(role="pad", instruments=("choir",), midi=64, level=0.25, chance=0.3),
            ),
            drums=("timpani", "march snare"),
            drum_level=0.35,
            reverb=(0.8, 2.2),
        ),
        Style(
            name="chamber music",
            tempo_bpm=(70, 130),
            modes=("major", "minor"),
            harmony=("bright", "dark"),
            moods=("elegant", "playful", "tender"),
            scene="a small hall",
            layers=(
                Layer(role="melody", instruments=("violin", "oboe", "clarinet"), midi=74, level=0.45),
                Layer(role="melody", instruments=("cello", "clarinet"), midi=55, level=0.35),
                Layer(role="chords", instruments=("pizzicato strings", "strings"), midi=62, level=0.25),
            ),
            beats=(4, 3),
            reverb=(0.5, 1.5),
        ),
        Style(
            name="drum groove",
            tempo_bpm=(80, 140),
            modes=("minor",),
            harmony=("still",),
            moods=("groovy", "raw", "energetic"),
            scene="practising along",
            drums=("rock beat", "breakbeat", "boom bap", "tribal drums", "latin percussion", "driving beat"),
        ),
        Style(
            name="jazz trio",
            tempo_bpm=(90, 180),
            modes=("major", "dorian"),
            harmony=("jazz",),
            moods=("smooth", "laid-back", "swinging"),
            scene="a small club",
            layers=(
                Layer(role="walking bass", instruments=("double bass",), midi=40, level=0.5),
                Layer(role="chords", instruments=("piano", "electric piano"), midi=60, level=0.3),
                Layer(role="melody", instruments=("saxophone", "piano", "trumpet", "vibraphone"), midi=72, level=0.4),
            ),
            drums=("swing ride",),
            drum_level=0.3,
            swing=0.33,
            sevenths=True,
        ),
        Style(
            name="chiptune",
            tempo_bpm=(110, 170),
            modes=("major", "minor"),
            harmony=("bright", "dark"),
            moods=("playful", "cheerful", "frantic"),
            scene="an old video game",
            layers=(
                Layer(role="melody", instruments=("square lead", "pulse lead"), midi=74, level=0.4),
                Layer(role="arp", instruments=("pulse lead", "square lead"), midi=62, level=0.25),
                Layer(role="bass", instruments=("triangle bass",), midi=42, level=0.5),
            ),
            drums=("rock beat", "electronic kit"),
            drum_level=0.25,
            reverb=(0.0, 0.1),
        ),
        Style(
            name="choral",
            tempo_bpm=(50, 80),
            modes=("major", "minor", "dorian"),
            harmony=("bright", "dark"),
            moods=("sacred", "solemn", "serene"),
            scene="a church",
            layers=(
                Layer(role="pad", instruments=("choir", "humming choir"), midi=60, level=0.5),
                Layer(role="melody", instruments=("choir",), midi=72, level=0.35),
                Layer(role="drone", instruments=("humming choir", "organ"), midi=43, level=0.25, chance=0.5),
            ),
            reverb=(1.5, 3.5),
        ),
        Style(
            name="rock",
            tempo_bpm=(100, 165),
            modes=("minor", "mixolydian"),
            harmony=("dark", "bright"),
            moods=("aggressive", "powerful", "rebellious"),
            scene="a loud drive",
            layers=(
                Layer(role="power chords", instruments=("distorted guitar",), midi=47, level=0.45),
                Layer(role="bass", instruments=("electric bass",), midi=35, level=0.4),
                Layer(role="melody", instruments=("distorted guitar", "saw lead"), midi=69, level=0.3, chance=0.6),
            ),
            drums=("rock beat", "driving beat"),
            drum_level=0.6,
        ),
        Style(
            name="lullaby",
            tempo_bpm=(60, 90),
            modes=("major", "pentatonic"),
            harmony=("bright", "still"),
            moods=("tender", "innocent", "sleepy"),
            scene="bedtime",
            layers=(
                Layer(role="melody", instruments=("music box", "kalimba", "bells"), midi=79, level=0.5),
                Layer(role="arp", instruments=("music box", "harp"), midi=67, level=0.3),
            ),
            beats=(3, 4),
            reverb=(0.4, 1.5),
        ),
        Style(
            name="celtic",
            tempo_bpm=(90, 140),
            modes=("mixolydian", "dorian"),
            harmony=("bright",),
            moods=("lively", "rustic", "nostalgic"),
            scene="a village dance",
            layers=(
                Layer(role="melody", instruments=("flute", "violin", "bagpipe", "accordion"), midi=76, level=0.5),
                Layer(
                    role="drone", instruments=("bagpipe", "accordion", "bowed drone"), midi=50, level=0.2, chance=0.6
                ),
                Layer(role="arp", instruments=("harp", "lute", "acoustic guitar"), midi=60, level=0.3),
            ),
            drums=("brushes", "tribal drums"),
            drum_level=0.2,
            beats=(4, 3),
        ),
        Style(
            name="fanfare",
            tempo_bpm=(95, 130),
            modes=("major", "mixolydian"),
            harmony=("bright",),
            moods=("triumphant", "festive", "heroic"),
            scene="a parade",
            layers=(
                Layer(role="melody", instruments=("trumpet", "brass"), midi=70, level=0.45),
                Layer(role="chords", instruments=("brass",), midi=58, level=0.4),
                Layer(role="bass", instruments=("brass",), midi=41, level=0.35),
            ),
            drums=("march snare",),
            drum_level=0.35,
            reverb=(0.5, 1.5),
        ),
        Style(
            name="dark drone",
            tempo_bpm=(50, 70),
            modes=("phrygian", "minor"),
            harmony=("still",),
            moods=("ominous", "tense", "eerie"),
            scene="a horror scene",
            layers=(
                Layer(role="drone", instruments=("bowed drone", "synth pad"), midi=33, level=0.5),
                Layer(role="pad", instruments=("strings", "humming choir", "glass pad"), midi=55, level=0.3),
                Layer(role="melody", instruments=("bells", "piano", "cello"), midi=62, level=0.25, chance=0.6),
            ),
            drums=("sparse hits",),
            drum_level=0.3,
            reverb=(1.5, 4.0),
        ),
        Style(
            name="waltz",
            tempo_bpm=(90, 160),
            modes=("major", "minor"),
            harmony=("bright", "dark"),
            moods=("nostalgic", "charming", "whimsical"),
            scene="a ballroom",
            layers=(
                Layer(role="melody", instruments=("accordion", "clarinet", "violin"), midi=74, level=0.45),
                Layer(role="chords", instruments=("accordion", "piano", "nylon guitar"), midi=62, level=0.25),
                Layer(role="bass", instruments=("double bass", "cello"), midi=40, level=0.4),
            ),
            drums=("waltz beat",),
            drum_level=0.2,
            beats=(3,),
        ),
        Style(
            name="lo-fi hip hop",
            tempo_bpm=(68, 92),
            modes=("dorian", "minor", "major"),
            harmony=("jazz", "dark"),
            moods=("mellow", "relaxed", "nostalgic"),
            scene="studying",
            layers=(
                Layer(role="chords", instruments=("electric piano", "nylon guitar", "vibraphone"), midi=60, level=0.4),
                Layer(role="bass", instruments=("sub bass", "electric bass"), midi=38, level=0.45),
                Layer(
                    role="melody", instruments=("electric piano", "flute", "saxophone"), midi=72, level=0.2, chance=0.5
                ),
            ),
            drums=("boom bap",),
            swing=0.2,
            sevenths=True,
        ),
        Style(
            name="synthwave",
            tempo_bpm=(85, 118),
            modes=("minor", "dorian"),
            harmony=("dark",),
            moods=("nostalgic", "futuristic", "cool"),
            scene="a night drive",
            layers=(
                Layer(role="bass", instruments=("synth bass",), midi=38, level=0.45),
                Layer(role="pad", instruments=("synth pad",), midi=60, level=0.3),
                Layer(role="melody", instruments=("saw lead",), midi=72, level=0.3, chance=0.7),
                Layer(role="arp", instruments=("synth pluck",), midi=67, level=0.2, chance=0.6),
            ),
            drums=("electronic kit", "rock beat"),
        ),
        Style(
            name="gamelan",
            tempo_bpm=(70, 130),
            modes=("pentatonic",),
            harmony=("still",),
            moods=("ritual", "shimmering", "hypnotic"),
            scene="a ceremony",
            layers=(
                Layer(role="arp", instruments=("gamelan", "marimba", "kalimba"), midi=67, level=0.4),
                Layer(role="melody", instruments=("gamelan", "vibraphone"), midi=60, level=0.4),
                Layer(role="drone", instruments=("bells",), midi=43, level=0.3),
            ),
            drums=("latin percussion", "sparse hits"),
            drum_level=0.2,
        ),
        Style(
            name="baroque organ",
            tempo_bpm=(60, 100),
            modes=("minor", "major"),
            harmony=("dark", "bright"),
            moods=("solemn", "grand", "strict"),
            scene="a cathedral",
            layers=(
                Layer(role="melody", instruments=("organ",), midi=74, level=0.4),
                Layer(role="melody", instruments=("organ",), midi=62, level=0.35),
                Layer(role="bass", instruments=("organ",), midi=40, level=0.35),
            ),
            reverb=(1.0, 3.0),
        ),
        Style(
            name="reggae",
            tempo_bpm=(65, 90),
            modes=("major", "dorian"),
            harmony=("bright",),
            moods=("sunny", "laid-back", "easygoing"),
            scene="the beach",
            layers=(
                Layer(
                    role="offbeat chords",
                    instruments=("electric piano", "organ", "acoustic guitar"),
                    midi=62,
                    level=0.4,
                ),
                Layer(role="bass", instruments=("electric bass", "sub bass"), midi=36, level=0.55),
                Layer(role="melody", instruments=("brass", "flute", "saxophone"), midi=70, level=0.25, chance=0.6),
            ),
            drums=("one drop",),
        ),
        Style(
            name="latin",
            tempo_bpm=(95, 130),
            modes=("minor", "major"),
            harmony=("dark", "bright"),
            moods=("passionate", "festive", "sensual"),
            scene="dancing",
            layers=(
                Layer(role="chords", instruments=("piano", "nylon guitar"), midi=62, level=0.4),
                Layer(role="bass", instruments=("double bass", "electric bass"), midi=38, level=0.45),
                Layer(role="melody", instruments=("trumpet", "flute", "nylon guitar"), midi=72, level=0.35),
            ),
            drums=("latin percussion",),
        ),
        Style(
            name="singer-songwriter",
            tempo_bpm=(70, 115),
            modes=("major", "minor"),
            harmony=("bright", "dark"),
            moods=("heartfelt", "bittersweet", "intimate"),
            scene="a small stage",
            layers=(
                Layer(role="vocals", instruments=("voice",), midi=60, level=0.5),
                Layer(role="arp", instruments=("acoustic guitar", "piano", "nylon guitar"), midi=55, level=0.4),
                Layer(role="bass", instruments=("electric bass",), midi=38, level=0.3, chance=0.4),
            ),
            drums=("brushes",),
            drum_level=0.15,
        ),
        Style(
            name="solo melody",
            tempo_bpm=(60, 120),
            modes=("minor", "dorian", "major", "pentatonic"),
            harmony=("still", "bright", "dark"),
            moods=("lonely", "wistful", "plain"),
            scene="an empty room",
            layers=(
                Layer(
                    role="melody",
                    instruments=(
                        "flute",
                        "violin",
                        "clarinet",
                        "saxophone",
                        "cello",
                        "trumpet",
                        "nylon guitar",
                        "piano",
                    ),
                    midi=69,
                ),
            ),
            beats=(4, 3),
            reverb=(0.2, 2.0),
        ),
        Style(
            name="a cappella",
            tempo_bpm=(60, 100),
            modes=("minor", "dorian", "major", "pentatonic"),
            harmony=("still", "bright"),
            moods=("bare", "devout", "longing"),
            scene="a chapel",
            layers=(
                Layer(role="vocals", instruments=("voice",), midi=62),
                Layer(role="vocals", instruments=("voice",), midi=55, level=0.4, chance=0.5),
                Layer(role="pad", instruments=("humming choir",), midi=57, level=0.2, chance=0.4),
            ),
            reverb=(0.4, 2.5),
        ),
        Style(
            name="electropop",
            tempo_bpm=(100, 128),
            modes=("major", "minor"),
            harmony=("bright",),
            moods=("catchy", "bright", "carefree"),
            scene="a party",
            layers=(
                Layer(role="vocals", instruments=("voice",), midi=64, level=0.4),
                Layer(role="chords", instruments=("synth pluck", "saw lead"), midi=62, level=0.3),
                Layer(role="bass", instruments=_SYNTH_BASS, midi=38, level=0.45),
            ),
            drums=("four on the floor", "rock beat"),
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A layer of one piece, with the instrument that was drawn for it."""

    role: str
    instrument: str
    midi: int
    level: float


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Everything that was drawn for one piece; sound and text are made from this."""

    style: Style
    tempo_bpm: int
    root: int  # semitones above C
    mode: str
    progression: tuple[int, ...]
    beats: int
    parts: tuple[Part, ...]
    drums: str | None
    mood: str
    reverb_s: float
    looseness: float  # how far the players are from a machine: 1 is 15 cents and 15 ms


def compose(style: Style, rng: np.random.Generator) -> Piece:
    """Draw one piece of a style."""
    progressions = PROGRESSIONS[_pick(style.harmony, rng)]
    parts = tuple(
        Part(
            role=layer.role,
            instrument=_pick(layer.instruments, rng),
            midi=layer.midi + int(rng.integers(-3, 4)),
            level=layer.level * float(rng.uniform(0.7, 1.3)),
        )
        for layer in style.layers
        if rng.random() < layer.chance
    )
    return Piece(
        style=style,
        tempo_bpm=int(rng.integers(style.tempo_bpm[0], style.tempo_bpm[1] + 1)),
        root=int(rng.integers(12)),
        mode=_pick(style.modes, rng),
        progression=progressions[int(rng.integers(len(progressions)))],
        beats=style.beats[int(rng.integers(len(style.beats)))],
        parts=parts,
        drums=_pick(style.drums, rng) if style.drums else None,
        mood=_pick(style.moods, rng),
        reverb_s=float(rng.uniform(*style.reverb)),
        looseness=float(rng.uniform(0, 1) ** 2),
    )


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
