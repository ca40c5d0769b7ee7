"""Play a piece: bars of notes for each part, rendered and mixed.

Sections of four bars repeat their motifs, as music does; a detector that knows only sound without repetition would
learn the wrong thing.
"""

import numpy as np

from filters.music.builtin.synthesis.dsp import Wave, normalise, place, reverb
from filters.music.builtin.synthesis.instruments import INSTRUMENTS, drum, note
from filters.music.builtin.synthesis.styles import DRUM_PATTERNS, MODES, Part, Piece
from filters.music.builtin.synthesis.voice import SungNote, sing

# A note: start and length in beats, scale degree (0 is the root, 7 the octave), loudness.
Note = tuple[float, float, int, float]

SECTION_BARS = 4

_CHORD_RHYTHMS = (
    ((0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0)),
    ((0.5, 0.4), (1.5, 0.4), (2.5, 0.4), (3.5, 0.4)),
    ((0.0, 1.4), (1.5, 1.4), (3.0, 0.9)),
    ((0.0, 1.9), (2.0, 1.9)),
    ((1.0, 0.5), (2.0, 0.5), (3.0, 0.5)),
)
_BASS_RHYTHMS = (
    ((0.0, 3.8),),
    ((0.0, 0.9), (1.0, 0.9), (2.0, 0.9), (3.0, 0.9)),
    tuple((step / 2, 0.45) for step in range(8)),
    ((0.5, 0.45), (1.5, 0.45), (2.5, 0.45), (3.5, 0.45)),
    ((0.0, 1.4), (1.5, 0.4), (2.0, 1.9)),
)
_MELODY_RHYTHMS = (
    (1.0, 1.0, 1.0, 1.0),
    (0.5, 0.5, 1.0, 0.5, 0.5, 1.0),
    (1.5, 0.5, 2.0),
    (2.0, 1.0, 1.0),
    (0.75, 0.25, 1.0, 0.5, 0.5, 1.0),
    (0.5,) * 8,
    (3.0, 1.0),
    (4.0,),
)


def play(piece: Piece, duration_s: float, sample_rate_hz: int, rng: np.random.Generator) -> Wave:
    """The piece's first `duration_s`, mono."""
    samples = int(duration_s * sample_rate_hz)
    out_T = np.zeros(samples, dtype=np.float32)
    beat_s = 60.0 / piece.tempo_bpm
    bars = int(np.ceil(duration_s / (beat_s * piece.beats))) + 1
    for part in piece.parts:
        notes = _section_notes(piece, part, bars, rng)
        if part.role == "vocals":
            sung = [
                SungNote(start_s=start * beat_s, duration_s=length * beat_s, midi=_midi(piece, part.midi, degree))
                for start, length, degree, _ in notes
            ]
            place(out_T, sing(sung, samples, sample_rate_hz, rng), 0, part.level)
            continue
        _render(out_T, piece, part, notes, beat_s, sample_rate_hz, rng)
    if piece.drums:
        _render_drums(out_T, piece, bars, beat_s, sample_rate_hz, rng)
    if piece.reverb_s > 0.05:
        out_T = reverb(out_T, rng, piece.reverb_s, float(rng.uniform(0.1, 0.6)), sample_rate_hz)
    return normalise(out_T)


def _section_notes(piece: Piece, part: Part, bars: int, rng: np.random.Generator) -> list[Note]:
    """Two sections, A and B, in the order A A B A; a part rests in some."""
    sections = [_bars_of(piece, part, rng) for _ in range(2)]
    notes: list[Note] = []
    for section in range(-(-bars // SECTION_BARS)):
        if section and part.role not in ("bass", "drone") and rng.random() < 0.15:
            continue
        offset = section * SECTION_BARS * piece.beats
        material = sections[1 if section % 4 == 2 else 0]
        notes += [(start + offset, length, degree, loudness) for start, length, degree, loudness in material]
    return notes


def _bars_of(piece: Piece, part: Part, rng: np.random.Generator) -> list[Note]:
    """Four bars of a part."""
    notes: list[Note] = []
    beats = piece.beats
    chord_tones = (0, 2, 4, 6) if piece.style.sevenths else (0, 2, 4)
    chord_rhythm = _CHORD_RHYTHMS[1 if part.role == "offbeat chords" else int(rng.integers(len(_CHORD_RHYTHMS)))]
    bass_rhythm = _BASS_RHYTHMS[int(rng.integers(len(_BASS_RHYTHMS)))]
    motif = _motif(beats, rng)
    arp_step = float(rng.choice([0.25, 0.5, 0.5]))
    arp_order = [int(index) for index in rng.permutation(5)] if rng.random() < 0.4 else [0, 1, 2, 3, 2, 1]
    walk = 0
    for bar in range(SECTION_BARS):
        at = float(bar * beats)
        root = piece.progression[bar % len(piece.progression)]
        if part.role == "pad":
            notes += [(at, float(beats), root + tone, 0.5) for tone in chord_tones]
        elif part.role == "drone":
            if bar % 2 == 0:
                notes += [(at, 2.0 * beats, degree, 0.7) for degree in (0, 4)]
        elif part.role in ("chords", "offbeat chords", "power chords"):
            tones = (0, 4, 7) if part.role == "power chords" else chord_tones
            for start, length in chord_rhythm:
                if start < beats:
                    notes += [(at + start, length, root + tone, 0.6) for tone in tones]
        elif part.role == "bass":
            octave = 7 if rng.random() < 0.2 else 0
            low = root - 7 if root > 3 else root
            notes += [
                (at + start, min(length, beats - start), low + octave * (index % 2), 0.9)
                for index, (start, length) in enumerate(bass_rhythm)
                if start < beats
            ]
        elif part.role == "walking bass":
            following = piece.progression[(bar + 1) % len(piece.progression)]
            for beat in range(beats):
                degree = root + (following - root) * beat // beats + int(rng.integers(-1, 3)) * (beat % 2)
                notes.append((at + beat, 0.9, root if beat == 0 else degree, 0.9))
        elif part.role == "arp":
            for step in range(int(beats / arp_step)):
                tone = arp_order[step % len(arp_order)]
                degree = root + chord_tones[tone % len(chord_tones)] + 7 * (tone // len(chord_tones))
                notes.append((at + step * arp_step, arp_step * 1.2, degree, 0.9 if step % 4 == 0 else 0.6))
        else:
            if bar % 2 == 0 and bar:
                motif = motif if rng.random() < 0.6 else _motif(beats, rng)
            for start, length, step, rest in motif:
                walk = int(np.clip(walk + step, -4, 8))
                if start == 0:
                    walk = root + min(chord_tones, key=lambda tone: abs(root + tone - walk))
                if not rest:
                    notes.append((at + start, length * 0.95, walk, float(rng.uniform(0.6, 1.0))))
    return notes


def _motif(beats: int, rng: np.random.Generator) -> list[tuple[float, float, int, bool]]:
    """A bar of melody: start, length, step from the note before, whether it rests."""
    lengths = _MELODY_RHYTHMS[int(rng.integers(len(_MELODY_RHYTHMS)))]
    motif, at = [], 0.0
    for length in lengths:
        if at < beats:
            step = int(rng.choice([-3, -2, -1, -1, 0, 1, 1, 2, 3]))
            motif.append((at, min(length, beats - at), step, bool(rng.random() < 0.1)))
        at += length
    return motif


def _midi(piece: Piece, centre: int, degree: int) -> int:
    """The pitch of a scale degree in the octave around a part's centre."""
    scale = MODES[piece.mode]
    size = 5 if piece.mode == "pentatonic" else 7
    root = centre + (piece.root - centre + 6) % 12 - 6
    octave, index = divmod(degree, size)
    return root + scale[index] + 12 * octave


def _swung(start_beats: float, swing: float) -> float:
    """Off-beat eighths come late by `swing` of half a beat."""
    within = start_beats % 1.0
    return start_beats + (swing * 0.5 if abs(within - 0.5) < 0.01 else 0.0)


def _render(
    out_T: Wave,
    piece: Piece,
    part: Part,
    notes: list[Note],
    beat_s: float,
    sample_rate_hz: int,
    rng: np.random.Generator,
) -> None:
    instrument = INSTRUMENTS[part.instrument]
    rendered: dict[tuple[int, float], Wave] = {}
    for start, length, degree, loudness in notes:
        at_s = _swung(start, piece.style.swing) * beat_s + float(rng.normal(0, 0.002 + 0.015 * piece.looseness))
        if at_s * sample_rate_hz >= len(out_T):
            continue
        midi = _midi(piece, part.midi, degree)
        key = (midi, round(length, 2))
        if key not in rendered:
            rendered[key] = note(instrument, midi, length * beat_s, sample_rate_hz, rng, 1 + 15 * piece.looseness)
        gain = part.level * loudness * float(rng.uniform(0.85, 1.0))
        place(out_T, rendered[key], int(at_s * sample_rate_hz), gain)


def _render_drums(
    out_T: Wave, piece: Piece, bars: int, beat_s: float, sample_rate_hz: int, rng: np.random.Generator
) -> None:
    assert piece.drums is not None
    steps = piece.beats * 4
    for name, pattern in DRUM_PATTERNS[piece.drums].items():
        hit_T = drum(name, sample_rate_hz, rng)
        level = piece.style.drum_level * (0.35 if name in ("hat", "open hat", "ride", "shaker") else 1.0)
        for bar in range(bars):
            for step in range(steps):
                fill = bar % SECTION_BARS == SECTION_BARS - 1 and step >= steps - 4 and rng.random() < 0.25
                if pattern[step % len(pattern)] == "x" or fill:
                    beat = bar * piece.beats + step / 4
                    at_s = _swung(beat, piece.style.swing) * beat_s + float(
                        rng.normal(0, 0.002 + 0.01 * piece.looseness)
                    )
                    place(out_T, hit_T, int(at_s * sample_rate_hz), level * float(rng.uniform(0.7, 1.0)))
