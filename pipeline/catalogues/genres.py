"""The genres of ID3v1 by their numbers, as ID3v2.3 lists them: the 80 of the standard."""

GENRES = (
    *("Blues", "Classic Rock", "Country", "Dance", "Disco", "Funk", "Grunge", "Hip-Hop"),
    *("Jazz", "Metal", "New Age", "Oldies", "Other", "Pop", "R&B", "Rap"),
    *("Reggae", "Rock", "Techno", "Industrial", "Alternative", "Ska", "Death Metal", "Pranks"),
    *("Soundtrack", "Euro-Techno", "Ambient", "Trip-Hop", "Vocal", "Jazz+Funk", "Fusion", "Trance"),
    *("Classical", "Instrumental", "Acid", "House", "Game", "Sound Clip", "Gospel", "Noise"),
    *("Alternative Rock", "Bass", "Soul", "Punk", "Space", "Meditative", "Instrumental Pop", "Instrumental Rock"),
    *("Ethnic", "Gothic", "Darkwave", "Techno-Industrial", "Electronic", "Pop-Folk", "Eurodance", "Dream"),
    *("Southern Rock", "Comedy", "Cult", "Gangsta", "Top 40", "Christian Rap", "Pop/Funk", "Jungle"),
    *("Native American", "Cabaret", "New Wave", "Psychedelic", "Rave", "Showtunes", "Trailer", "Lo-Fi"),
    *("Tribal", "Acid Punk", "Acid Jazz", "Polka", "Retro", "Musical", "Rock & Roll", "Hard Rock"),
)
