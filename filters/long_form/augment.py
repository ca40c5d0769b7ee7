"""More sentences from few, without a new judgement: what guideline v1 lets one write down from what is labelled.

Two changes keep a label by the guideline's own rules. A sentence that puts two together describes music exactly if one
of them does ("one descriptive part is enough"). And a sentence judges the same of another instrument, style, mood or
thing: if "nice guitar" is yes, so is "nice cello"; if "which piano should I buy?" is no, so is "which harp should I
buy?"; and "the dog opens the fridge" stays no with a parrot and a laptop, which is how a few hundred sentences come to
speak of all the subjects that are not music.
"""

import random
import re
from collections.abc import Sequence

from filters.long_form.data import Example

_INSTRUMENTS = """
guitar piano violin cello bass drums flute saxophone trumpet harp organ banjo ukulele accordion harmonica clarinet
mandolin sitar synthesizer keyboard tuba oboe trombone viola bagpipes fiddle marimba xylophone lute oud koto erhu
percussion tambourine synth theremin whistle tabla djembe vibraphone harpsichord horn cornet bugle piccolo recorder
bassoon cymbals snare timpani bongos conga cajon maracas kalimba glockenspiel celesta dulcimer zither balalaika bouzouki
charango shamisen pipa guzheng didgeridoo ocarina melodica vuvuzela turntables sampler sequencer 808 moog rhodes hammond
mellotron wurlitzer clavinet strings brass woodwinds choir steelpan dhol sarod tanpura ney duduk bandoneon concertina
kazoo handpan cowbell triangle shaker beatbox
"""
_STYLES = """
jazz rock metal punk folk country blues reggae ska funk soul disco house techno trance dubstep trap drill grime
hip_hop rap pop classical baroque opera gospel bluegrass ambient synthwave chiptune shoegaze grunge swing salsa cumbia
tango flamenco samba bossa_nova bolero merengue bachata afrobeat dancehall breakbeat hardcore lofi celtic polka waltz
ballad gamelan klezmer fado rumba r&b drum_and_bass emo ska-punk post-rock krautrock prog metalcore deathcore doom
thrash screamo industrial noise drone idm electro eurodance hardstyle jungle garage dub ragga soca calypso zouk kizomba
kuduro highlife rebetiko qawwali bhangra ghazal enka j-pop k-pop mandopop schlager chanson mariachi ranchera norteno
reggaeton vallenato forro choro pagode ragtime bebop fusion boogie doo-wop motown rockabilly skiffle surf psychedelic
glam britpop indie dream-pop synthpop new-wave post-punk goth folk-rock americana honky-tonk hymn chant madrigal
symphony sonata concerto nocturne march minuet lullaby shanty vaporwave phonk hyperpop edm chillwave downtempo trip-hop
crunk bounce boom-bap gangsta freestyle musical soundtrack
"""
_MOODS = """
sad happy dark cheerful melancholic calm peaceful angry aggressive dreamy haunting mellow upbeat gloomy romantic tender
spooky playful energetic soft warm intense epic mysterious solemn bittersweet nostalgic hypnotic gentle relaxing tense
groovy funky heavy soothing joyful eerie moody uplifting dramatic soulful lively sombre catchy danceable bouncy frantic
sleepy lazy brooding bleak ominous triumphant majestic wistful yearning sorrowful lonely sensual sultry sexy raw gritty
dirty crisp lush sparse airy ethereal dense chaotic quirky whimsical jazzy bluesy folky poppy trippy spacey cinematic
orchestral acoustic electronic melodic rhythmic harmonic slow fast loud quiet chill laid-back hard creepy scary cold
hopeful inspiring peppy sunny breezy
"""
_VOICES = """
smooth raspy deep high powerful soft husky angelic rough fragile nasal breathy clear gravelly sweet thin shrill velvety
"""
_THINGS = """
dog cat horse parrot hamster shark spider monkey elephant snake chicken cow rabbit fish bird turtle
car truck bike motorcycle train plane helicopter boat bus tractor engine skateboard scooter rocket
football soccer basketball baseball tennis hockey boxing wrestling golf surfing skiing swimming karate chess poker
pizza cake soup bread burger coffee beer wine recipe dinner breakfast
kitchen garden bathroom school office hospital church airport beach mountain river lake forest desert hotel museum
phone camera laptop computer printer microwave fridge television radio website blog app game level boss movie episode
trailer cartoon series doctor teacher lawyer policeman soldier president mayor senator neighbor uncle grandma cousin
roommate plumber pilot shirt hat shoes dress wig hair beard tattoo makeup wedding birthday funeral holiday vacation
election war weather storm earthquake
"""


def _terms(block: str) -> tuple[str, ...]:
    return tuple(term.replace("_", " ") for term in block.split())


_CLASSES = tuple(_terms(block) for block in (_INSTRUMENTS, _STYLES, _MOODS, _VOICES, _THINGS))
_TERM = [
    re.compile(rf"(?<!\w)(?:{'|'.join(sorted(map(re.escape, terms), key=lambda t: -len(t)))})(?!\w)", re.IGNORECASE)
    for terms in _CLASSES
]
_JOINERS = (" ", ". ", ", ", " and ", "... ", " - ", "! ", ", but ")


def augment(
    examples: Sequence[Example], *, count: int, seed: int, join_share: float = 0.4, swap_share: float = 0.6
) -> list[Example]:
    """`count` sentences made from `examples`: drawn, perhaps with swapped terms, perhaps joined with another."""
    rng = random.Random(seed)  # noqa: S311 -- an augmentation, not a secret
    made = []
    for number in range(count):
        one = rng.choice(examples)
        text = swap_terms(one.text, rng) if rng.random() < swap_share else one.text
        is_music = one.is_music
        if rng.random() < join_share:
            other = rng.choice(examples)
            parts = [text, swap_terms(other.text, rng) if rng.random() < swap_share else other.text]
            rng.shuffle(parts)
            text = rng.choice(_JOINERS).join(parts)
            is_music = is_music or other.is_music
        made.append(Example(item_id=f"{one.item_id}+{number}", text=text, is_music=is_music, group=one.group))
    return made


def swap_terms(text: str, rng: random.Random) -> str:
    """Every instrument, style, mood, kind of voice and thing becomes another one of its class."""
    for pattern, terms in zip(_TERM, _CLASSES, strict=True):
        text = pattern.sub(lambda match, terms=terms: rng.choice(terms), text)  # type: ignore[misc]
    return text
