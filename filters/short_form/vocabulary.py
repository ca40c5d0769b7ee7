"""The words that the short-form rules know, by what they say about a recording.

Each list is one kind of statement in many languages. A *strong* provenance term says where an upload comes from
whatever stands beside it; a *weak* one (video, audio, full, new) does so only in the company of a strong one, because
songs are called "Video" and "Music" too. Performance terms say how the music sounds and are never taken out.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

# In each list a semicolon ends a term, a space stands for any white space or hyphens, and a term is a regular
# expression in lower case, without anchors.
STRONG = """
official; officially; offical; oficial; oficiales; officiel; officielle; offiziell; offizielle[rs]?; ufficiale;
oficjaln[ya]; oficjalne; oficjální; oficiální; officieel; officiell; officiellt; offisiell; virallinen; hivatalos;
resmi; resmî; επίσημο; οф[іi]ц[іi]йн[^\\W\\d_]+; офіційн[^\\W\\d_]+; официальн[^\\W\\d_]+; आधिकारिक; ऑफिशियल; ऑफिसियल;
رسمي; رسمی; الرسمي; الرسمية; hd; hdtv; uhd; fhd; hq; ultra hd; full hd; \\d{3,4}p; \\d{3,4}p\\d\\d; [2458]k;
\\d\\dfps; \\d\\d fps; high quality; high definition; hi res; m/v; mv; m\\.v\\.; p\\.v\\.; music videos?; music clip;
musikvideo; musikkvideo; musiikkivideo; muziekvideo; müzik videosu; teledysk; v[ií]deo musical; v[ií]deo m[uú]sica;
videoclips?; video clips?; video clipe; videoclipe; videoclipuri; vid[eé]o clip; vid[eé]oclip; klip video; video klip;
videoklip; видеоклип[^\\W\\d_]{0,3}; клип; клипа; в[іi]деокл[іi]п; музыкальное видео;
(?:with |w/ ?)?(?:lyrics?|lyriks?|lirycs?); (?:con |mit |avec |com )?(?:letras?|paroles|testo|songtexte?); tekst;
sözleri; versuri; στίχοι; lirik; lyric videos?; lyrics? on screen; traducci[oó]n; tradução; traduzione; legendado;
legendas; subtitulad[oa]s?; sub español; sub espanol; sub indo; eng subs?; english subs?; english subtitles?;
subtitles; subtitled; vostfr; napisy pl; текст песни; слова песни; с текстом; premiere; première; estreno; estreia;
lançamento; anteprima; premiera; премьера; премьеры; прем'єра; премьера клипа; премьера песни; visuali[sz]ers?;
teaser; trailer; vevo; youtube; you tube; dailymotion; audio only; static video; fan video; fanvideo; fan made;
original video; full video; full song; full album; full version; complete version; album completo; disco completo;
álbum completo; full ep; high quality audio; hd audio; audio hd; digitally remastered;
remaster(?:ed|is[eé]e?|isiert|izado|izada|izzato)?(?: \\d{4})?; digital remaster; \\d{4} remaster(?:ed)?;
remastered version; (?:super )?deluxe(?: edition| version| album)?; expanded edition; special edition;
limited edition; collector'?s edition; anniversary edition; bonus tracks?(?: version)?; explicit(?: version| lyrics)?;
uncensored; censored; clean version
"""
STRONG_UNSPACED = """
公式; オフィシャル; ミュージック・?ビデオ; リリック・?ビデオ; ミュージック・?クリップ; プロモーション・?ビデオ;
フルバージョン; 歌詞付き; 歌詞つき; 歌詞; 字幕付き; 高音質; 高画質; 予告編; 初公開; プレミア公開; 官方; 完整版; 高清;
超清; 歌词版?; 动态歌词; 動態歌詞; 首播; 首映; 音樂錄影帶; 音乐视频; 預告; 预告; 뮤직 ?비디오; 뮤비; 공식; 오피셜;
가사; 고화질; 고음질; 티저; 예고편; มิวสิควิดีโอ; เนื้อเพลง
"""
WEAK = """
videos?; vídeos?; vidéos?; filmclip; film; movie; clips?; clipe; klipp?; audio; áudio; son; music; musik; música;
musique; musica; muzyka; müzik; songs?; tracks?; edition; version; versión; versão; versione; full; complete;
completo; new; newest; latest; nuev[oa]; nov[oa]; nouveau; nouvelle; neue?; original; uploaded; upload; channel;
canal; kanal; exclusive; exclusivo; exclusif; exclusivité; world; worldwide; release; released; single; album; álbum;
ep; quality; picture; only; lyric; screen; sound; stereo; dolby; atmos; видео; песня; песни; аудио; новый; новая;
новинка; музыка; वीडियो; गाना; गीत; فيديو; كليب; اغنية; أغنية; mp3; mp4; wav; flac
"""
WEAK_UNSPACED = "신곡; 음악; 영상; 노래; 音楽; 動画; 映像; ビデオ; チャンネル; 音乐; 视频; 音樂; 影片; 版; 付き"
# Of the strong terms, those that mean provenance even at the end of a running title, without brackets.
TAIL = """
hd; uhd; fhd; hq; full hd; ultra hd; \\d{3,4}p; [48]k; m/v; mv; vevo;
(?:with |con |mit |avec |com )?(?:lyrics|letra|paroles|songtext); lyric videos?; music videos?; videoclips?;
musikvideo; legendado; subtitulad[oa]; teledysk; v[ií]deo musical; visuali[sz]er; видеоклип; english subtitles;
eng sub; текст песни; full album; full song
"""
CONNECTIVES = """
the; of; with; and; in; by; for; on; from; to; an?; con; del?; d[aeo]; des; la; le; el; los; las; en; y; e; und; et;
mit; der; die; das; von; dem; com; em; no; na; og; och; i; w; z; с; и; на; от
"""
PERFORMANCE = """
lives?; acoustic; akustik; akustisch; acústic[oa]; acoustique; acustic[oa]; unplugged; remix; remixe[sd]; rmx; remake;
instrumentals?; inst; karaoke; orchestral; orchestra; symphonic; choir; choral; lo fi; lofi; covers?; covered; demos?;
sessions?; mix; mixtape; edit; radio edit; extended; slowed; reverb; sped up; nightcore; daycore; 8d; mashup; bootleg;
dub; vip; a cappella; acappella; acapella; solo; duet; duo; medley; performance; performed; concert; concerto;
en vivo; en directo; ao vivo; en direct; en concert; dal vivo; in concerto; konzert; koncert; kontsert; canlı;
na żywo; piano; guitar; violin; cello; drums?; bass; flute; sax; saxophone; harp; ukulele; organ; strings?; quartet;
trio; band; club; dance; house; techno; trance; jazz; rock; metal; punk; swing; rehearsal; improvisation; improv; jam;
freestyle; studio; stripped; bossa nova; soundtrack; ost; score; theme; intro; outro; interlude; reprise; minus one;
backing track; type beat; живой; концерт; акустика; акустическ[^\\W\\d_]+; кавер; ремикс; минус; инструментал; लाइव
"""
PERFORMANCE_UNSPACED = """
ライブ; アコースティック; カバー; リミックス; 演奏; 弾き語り; 弾いてみた; 歌ってみた; ピアノ; オーケストラ;
インストゥルメンタル; 라이브; 어쿠스틱; 커버; 리믹스; 무대; 연주; 现场; 現場; 演唱会; 演唱會; 翻唱; 纯音乐; 純音樂;
生演奏
"""
PROMOTION = """
(?:please )?(?:like|share|rate|follow)(?:,|,? and| &| n| \\+)? ?(?:comment|share|rate|subscribe|follow)(?: for more)?;
(?:please |pls |don'?t forget to )?subscribe(?: (?:now|here|please|for more|to (?:my|our|the) channel|my channel))?;
(?:suscr[ií]bete|inscreva se|abonnez vous|abonniert|iscrivetevi)(?: (?:al canal|no canal|à la chaîne))?;
(?:подпишись|подписывайтесь)(?: на канал)?;
(?:out|available|stream|listen|download|buy|buy it|get it) (?:now )?on (?:spotify|itunes|apple music|beatport);
(?:out|available|stream|listen|download|buy|buy it|get it) (?:now )?on bandcamp;
(?:out|available|stream|listen|download|buy|buy it|get it) (?:now )?on (?:amazon|soundcloud|deezer|tidal);
(?:out|available|stream|listen|download|buy|buy it|get it) (?:now )?on all (?:streaming )?platforms;
links? (?:is )?(?:in|below)(?: in)?(?: the| my)? (?:bio|description|comments?);
(?:see|check|read)(?: the)? description; free (?:mp3 )?(?:dl|d/l|downloads?);
download (?:link|free|now|mp3)(?: in description)?; mp3 download; descarga gratis; download grátis; baixar grátis;
téléchargement gratuit; скачать(?: бесплатно| mp3)?; click here; click (?:on )?the link; must (?:watch|see|listen);
watch (?:till|until|to) (?:the )?end; wait (?:for it|till the end); don'?t miss(?: it| this)?;
you won'?t believe(?: this)?; not clickbait; gone (?:wrong|viral);
(?:over )?\\d[\\d.,]{0,14} ?(?:k|m|mil|millions?|billion|lakh|crore)?\\+? (?:views?|plays|streams)(?: special)?;
(?:over )?\\d[\\d.,]{0,14} ?(?:k|m|mil|millions?)?\\+? (?:subs|subscribers?|likes)(?: special)?;
\\d[\\d.,]{0,14} ?(?:mil|millones|milhões|mio|млн|тыс)? (?:de )?(?:visitas|visualizações|vues|aufrufe|просмотров);
viral (?:video|song|hit); going viral; (?:\\#?\\d+ )?(?:on )?trending(?: now| song| \\#?\\d+);
whatsapp status(?: video)?; status video; ringtone download; sub ?4 ?sub; sub for sub; f4f; l4l;
follow (?:me|us)(?: on (?:instagram|twitter|facebook|tiktok|spotify))?; out now; now available; available now;
coming soon; pre ?order(?: now)?; pre ?save(?: now)?; disponible ya; ya disponible; já disponível;
disponible maintenant; jetzt erhältlich; jetzt verfügbar; уже в продаже; free for (?:non ?)?profit(?: use)?;
no copyright(?: music)?; copyright free(?: music)?; royalty ?free(?: music)?; non copyrighted(?: music)?; free to use;
ncs release
"""
PROMOTION_UNSPACED = """
チャンネル登録(?:お願いします|よろしく)?; 高評価; 구독; 좋아요; 订阅; 訂閱; 再生回数; \\d+万回再生; 配信中;
好評発売中; 발매
"""
# The whole content of a bracket that advertises.
ASIDES = """
free; new; hot; viral; trending; fire; lit; wow; omg; must watch; 18\\+; nsfw; not clickbait; buy 1 get \\d( free)?;
sold; for sale; untagged; tagged; purchase link; buy link; link; read desc(ription)?; desc(ription)?; new!+;
exclusive; fixed; reupload; re upload; reuploaded; repost; \\d{1,3} ?(?:hours?|hrs?|mins?|minutes?)( loop(ed)?)?
"""
# A text that is nothing but this says nothing about one recording.
GENERIC = """
musics?; musica; música; musique; musik; muzyka; müzik; muziek; zene; hudba; μουσική; музыка; музика; 音楽; 音乐;
音樂; 음악; संगीत; موسيقى; موسیقی; เพลง; nhạc; videos?; vídeos?; vidéos?; видео; відео; 動画; 视频; 影片; 영상;
동영상; वीडियो; فيديو; clips?; clipe; klip; audio; áudio; sounds?; mp3; songs?; canci[oó]n(?:es)?; canç[aã]o; canções;
chansons?; lied; lieder; piosenka; şarkı; песня; песни; пісня; 歌; 曲; 歌曲; 노래; गाना; गीत; أغنية; اغنية; lagu; new;
newest; latest; hot; best; top; favou?rites?; cool; awesome; amazing; great; good; nice; funny; fun; lol; wow; random;
stuff; misc; miscellaneous; others?; test; testing; untitled(?: \\d+)?; no title; title; none; null; nil; n/a; na;
unknown(?: artist| album| title)?; unbekannt(?:er künstler)?; inconnue?; artiste inconnu; (?:artista )?desconocido;
(?:artista )?desconhecido; неизвестен; неизвестный исполнитель; 不明; 未知; 無題; 无题; various(?: artists?)?;
varios artistas; vários artistas; artistes divers; artistes variés; verschiedene(?: interpreten| künstler)?; va;
v\\.a\\.; v/a; artisti vari; сборник; entertainment; people; people (?:& |and )?blogs; blogs?; vlog; how ?to; media;
web; internet; online; free; downloads?; uploads?; channel; my (?:first )?(?:video|song|music); first video;
new (?:video|song|music); (?:audio ?)?tracks? ?\\d*; piste \\d+; pista \\d+; spur \\d+; titel \\d+; дорожка \\d+;
artist; album; disc \\d+; cd ?\\d+; singer; musician; youtuber; fyp; foryou; for you; viral; trending; trends?;
shorts?; reels?; tiktok; instagram; facebook; twitter; explore
"""
HASHTAG_PROMOTION = """
shorts?; youtubeshorts?; ytshorts?; reels?; reelsinstagram; fyp; fy; foryou; foryoupage; viral; viralvideos?;
viralshorts?; viralsong; trending; trends?; trendingshorts; explore; explorepage; subscribe; sub4sub; like4like;
likeforlike; follow4follow; tiktok; instagram; insta; instagood; youtube; youtuber; youtubemusic; facebook; twitter;
whatsappstatus; status; newvideo; newmusic; newsong; newrelease; music; songs?; video; musicvideo; officialvideo;
officialmusicvideo; lyrics; lyricvideo; outnow; ad; premiere; mv
"""


def terms(block: str) -> tuple[str, ...]:
    """The terms of a list, longest first, so that the longer of two that begin alike is tried first."""
    found = {term.strip() for term in block.split(";")} - {""}
    return tuple(sorted(found, key=lambda term: (-len(term), term)))


def _alternatives(block: str) -> str:
    """One regular expression for a list, grouped by first letter: `re` then skips most of it at each position."""
    groups: dict[str, list[str]] = {}
    for term in terms(block):
        source = term.replace(" ?", r"[\s\-]{0,3}").replace(" ", r"[\s\-]{1,3}")
        follows = source[1:2]
        literal = source[0].isalpha() and follows not in ("?", "*", "+", "{")
        groups.setdefault(source[0] if literal else "", []).append(source[1:] if literal else source)
    return "|".join(f"{first}(?:{'|'.join(rest)})" for first, rest in groups.items())


@dataclass(frozen=True, kw_only=True)
class Terms:
    """A list as a regular expression: whole words where a script has spaces, anywhere where it has none.

    It is matched against `fold(text)`, which has the length of the text.
    """

    spaced: str
    unspaced: str = ""
    pattern: re.Pattern[str] = field(init=False)
    whole: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        source = rf"(?<![^\W_])(?:{_alternatives(self.spaced)})(?![^\W_])"
        if self.unspaced:
            source = f"{source}|{_alternatives(self.unspaced)}"
        object.__setattr__(self, "pattern", re.compile(source))
        object.__setattr__(self, "whole", re.compile(rf"[\W_]*(?:{source})[\W_]*"))


def fold(text: str) -> str:
    """Lower case, of the same length as the text."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


class Kind(StrEnum):
    """What a word of a title is."""

    STRONG = "strong"
    WEAK = "weak"
    PERFORMANCE = "performance"
    CONNECTIVE = "connective"
    YEAR = "year"
    OTHER = "other"


_PAINT: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (Kind.YEAR, re.compile(r"(?<!\w)(?:19|20)\d\d(?!\w)")),
    (Kind.CONNECTIVE, Terms(spaced=CONNECTIVES).pattern),
    (Kind.WEAK, Terms(spaced=WEAK, unspaced=WEAK_UNSPACED).pattern),
    (Kind.PERFORMANCE, Terms(spaced=PERFORMANCE, unspaced=PERFORMANCE_UNSPACED).pattern),
)
STRONG_TERMS = Terms(spaced=STRONG, unspaced=STRONG_UNSPACED)
TAIL_TERMS = Terms(spaced=TAIL, unspaced=STRONG_UNSPACED)
PERFORMANCE_TERMS = Terms(spaced=PERFORMANCE, unspaced=PERFORMANCE_UNSPACED)
PROMOTION_TERMS = Terms(spaced=PROMOTION, unspaced=PROMOTION_UNSPACED)
ASIDE_TERMS = Terms(spaced=ASIDES)
GENERIC_TERMS = Terms(spaced=GENERIC)
HASHTAG_PROMOTION_TERMS = Terms(spaced=HASHTAG_PROMOTION)

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Word:
    start: int
    end: int
    kind: Kind


@lru_cache(maxsize=64)  # several rules ask for those of one text
def words(text: str) -> tuple[Word, ...]:
    """The runs of characters of one kind, in order; white space and punctuation stand between them.

    A text without a strong term is not looked at further and gives no words.
    """
    folded = fold(text)
    strong = [match.span() for match in STRONG_TERMS.pattern.finditer(folded)]
    if not strong:
        return ()
    kinds: list[Kind | None] = [None] * len(text)
    for match in _WORD.finditer(folded):
        for position in range(match.start(), match.end()):
            kinds[position] = Kind.OTHER
    for kind, pattern in _PAINT:
        for match in pattern.finditer(folded):
            for position in range(match.start(), match.end()):
                kinds[position] = kind
    for start, end in strong:
        for position in range(start, end):
            kinds[position] = Kind.STRONG
    found: list[Word] = []
    start = 0
    for position in range(1, len(text) + 1):
        if position == len(text) or kinds[position] is not kinds[start]:
            kind_here = kinds[start]
            if kind_here is not None:
                found.append(Word(start, position, kind_here))
            start = position
    return tuple(found)
