"""A fixed pool of texts that a query or a tag is compared with: words of genre, mood, instrument, voice and place.

What a bare cosine means differs from model to model and from text to text. Beside the same pool it means something.
"""

POOL = (
    # genres
    "rock", "metal", "punk", "pop", "jazz", "blues", "soul", "funk", "disco", "house", "techno", "trance",
    "drum and bass", "dubstep", "ambient", "hip hop", "rap", "reggae", "ska", "country", "bluegrass", "folk",
    "classical", "opera", "baroque", "gospel", "latin", "salsa", "samba", "tango", "flamenco", "afrobeat",
    "indian classical", "celtic", "lo-fi", "soundtrack", "new age", "experimental", "noise", "electronic",
    # instruments and voices
    "piano", "organ", "synthesizer", "acoustic guitar", "electric guitar", "bass guitar", "violin", "cello",
    "string orchestra", "harp", "flute", "clarinet", "saxophone", "trumpet", "brass band", "drums", "percussion",
    "bells", "accordion", "harmonica", "banjo", "sitar", "female vocals", "male vocals", "choir", "instrumental",
    # moods and uses
    "happy", "sad", "calm", "angry", "dreamy", "dark", "romantic", "epic", "mysterious", "energetic", "slow", "fast",
    "quiet", "loud", "danceable", "for studying", "for sleeping", "party", "live recording",
)  # fmt: skip
