"""Why a thing was left out: the one list that rejects, reports and docs use.

A *dropped* recording or annotation is done: the project decided against it. A *failed* one could not be judged:
`failed_transient` is tried again when the same command runs again, `failed_permanent` is not.
"""

from enum import StrEnum


class Outcome(StrEnum):
    """What became of a recording or an annotation. Read = kept + dropped + failed, always."""

    KEPT = "kept"
    DROPPED = "dropped"
    FAILED_TRANSIENT = "failed_transient"
    FAILED_PERMANENT = "failed_permanent"


class Reason(StrEnum):
    """Each reason has an outcome and a sentence for the person who reads the report."""

    outcome: Outcome
    explanation: str

    def __new__(cls, value: str, outcome: Outcome, explanation: str) -> "Reason":
        member = str.__new__(cls, value)
        member._value_ = value
        member.outcome = outcome
        member.explanation = explanation
        return member

    @classmethod
    def named(cls, value: str) -> "Reason":
        """The reason of that value. Raises ValueError where there is none."""
        try:
            return cls[value.upper()]
        except KeyError as error:
            raise ValueError(f"there is no reason {value!r}") from error

    # The catalogue and its side tables.
    NOT_JSON = "not_json", Outcome.FAILED_PERMANENT, "the line is not a JSON object"
    NOT_UTF8 = "not_utf8", Outcome.FAILED_PERMANENT, "the line is not UTF-8"
    LINE_TOO_LONG = "line_too_long", Outcome.FAILED_PERMANENT, "the line is longer than a row may be"
    UNREADABLE_FILE = "unreadable_file", Outcome.FAILED_PERMANENT, "the rest of the file cannot be read"
    MISSING_FIELD = "missing_field", Outcome.FAILED_PERMANENT, "a required field is missing or empty"
    WRONG_TYPE = "wrong_type", Outcome.FAILED_PERMANENT, "a field has a value of the wrong type"
    BAD_VALUE = "bad_value", Outcome.FAILED_PERMANENT, "a field has a value that is not allowed"
    REPEATED_ID = "repeated_id", Outcome.DROPPED, "another row of the same id has a smaller digest"
    EXCLUDED = "excluded", Outcome.DROPPED, "an evaluation set has it (--exclude)"
    REMOVED = "removed", Outcome.DROPPED, "it was removed from the run for good (`mulan remove`)"
    OVER_LIMIT = "over_limit", Outcome.DROPPED, "not among the recordings that --limit takes"
    UNKNOWN_RECORDING = "unknown_recording", Outcome.DROPPED, "the text names a recording that the catalogue lacks"
    DOUBTFUL_MATCH = (
        "doubtful_match",
        Outcome.DROPPED,
        "a playlist's entry may mean several recordings, or one of another version or length",
    )
    NO_LOCAL_COPY = "no_local_copy", Outcome.FAILED_PERMANENT, "no folder that was named has its audio"
    UNKNOWN_CLASS = "unknown_class", Outcome.FAILED_PERMANENT, "the ontology has none of the segment's labels"

    # Fetching.
    UNSUPPORTED_URI = "unsupported_uri", Outcome.FAILED_PERMANENT, "this kind of audio_uri is not supported"
    OUTSIDE_ROOT = (
        "outside_root",
        Outcome.FAILED_PERMANENT,
        "the path is under neither the catalogue's folder nor an --allow_root",
    )
    NOT_FOUND = "not_found", Outcome.FAILED_PERMANENT, "there is nothing at the audio_uri"
    NOT_A_FILE = "not_a_file", Outcome.FAILED_PERMANENT, "the path is a folder, a pipe or a device"
    PERMISSION_DENIED = "permission_denied", Outcome.FAILED_PERMANENT, "the file may not be read"
    MEDIA_EMPTY = "media_empty", Outcome.FAILED_PERMANENT, "the file has no bytes"
    MEDIA_TOO_LARGE = "media_too_large", Outcome.FAILED_PERMANENT, "the file is larger than the limit"
    READ_FAILED = "read_failed", Outcome.FAILED_TRANSIENT, "reading broke off"
    CREDENTIALS_IN_URI = "credentials_in_uri", Outcome.FAILED_PERMANENT, "the audio_uri holds a user name or password"
    PRIVATE_ADDRESS = (
        "private_address",
        Outcome.FAILED_PERMANENT,
        "the host is at a private, loopback or link-local address and not among --allow_private_hosts",
    )
    NAME_NOT_RESOLVED = "name_not_resolved", Outcome.FAILED_TRANSIENT, "the host's name has no address for now"
    CONNECTION_FAILED = "connection_failed", Outcome.FAILED_TRANSIENT, "the connection was refused, reset or not safe"
    FETCH_TIMEOUT = "fetch_timeout", Outcome.FAILED_TRANSIENT, "the media did not arrive within the deadline"
    TOO_SLOW = "too_slow", Outcome.FAILED_TRANSIENT, "the media came slower than the minimum speed"
    TRUNCATED_BODY = "truncated_body", Outcome.FAILED_TRANSIENT, "fewer bytes came than the server announced"
    RATE_LIMITED = "rate_limited", Outcome.FAILED_TRANSIENT, "the server asks to come back later"
    SERVER_ERROR = "server_error", Outcome.FAILED_TRANSIENT, "the server failed (status 5xx, 408 or 425)"
    ACCESS_DENIED = "access_denied", Outcome.FAILED_PERMANENT, "the server refuses access (status 401, 402, 403, 451)"
    BAD_RESPONSE = "bad_response", Outcome.FAILED_PERMANENT, "the server's answer is not one that has media"
    TOO_MANY_REDIRECTS = "too_many_redirects", Outcome.FAILED_PERMANENT, "redirects go on beyond the limit"
    VIDEO_UNAVAILABLE = "video_unavailable", Outcome.FAILED_PERMANENT, "the video is private, removed or never was"
    GEO_BLOCKED = "geo_blocked", Outcome.FAILED_PERMANENT, "the video may not be seen from this country"
    LOGIN_REQUIRED = "login_required", Outcome.FAILED_PERMANENT, "the video asks for an account, an age or a membership"
    NOT_YET_AIRED = "not_yet_aired", Outcome.FAILED_TRANSIENT, "the video is live or has not begun"
    EXTRACTION_FAILED = "extraction_failed", Outcome.FAILED_TRANSIENT, "the page was not understood (update yt-dlp)"
    CLIENT_MISSING = (
        "client_missing",
        Outcome.FAILED_TRANSIENT,
        "the package that fetches it is not installed, or not whole (yt-dlp, boto3 …; the detail says how to mend it)",
    )

    # Decoding and cutting.
    UNKNOWN_CONTAINER = "unknown_container", Outcome.FAILED_PERMANENT, "not one of the containers that are decoded"
    UNKNOWN_CODEC = "unknown_codec", Outcome.FAILED_PERMANENT, "not one of the audio codecs that are decoded"
    NO_AUDIO = "no_audio", Outcome.FAILED_PERMANENT, "the file has no audio stream"
    CORRUPT_MEDIA = "corrupt_media", Outcome.FAILED_PERMANENT, "the decoder gave up on the file"
    BAD_AUDIO_FORMAT = "bad_audio_format", Outcome.FAILED_PERMANENT, "sample rate, channels or streams are absurd"
    NOT_FINITE = "not_finite", Outcome.FAILED_PERMANENT, "the clip has samples that are not finite numbers"
    DECODE_TIMEOUT = "decode_timeout", Outcome.FAILED_PERMANENT, "decoding took longer than the deadline"
    DECODER_CRASHED = "decoder_crashed", Outcome.FAILED_PERMANENT, "the decoder's process died on the file"
    DECODER_MEMORY = "decoder_memory", Outcome.FAILED_PERMANENT, "decoding needs more memory than the limit"
    TOO_SHORT = "too_short", Outcome.DROPPED, "the recording ends before the clip does"

    # Judging the clip.
    SILENT = "silent", Outcome.DROPPED, "every sample of the clip is zero"
    NOT_MUSIC = "not_music", Outcome.DROPPED, "less than the asked share of the clip is music"
    UNEXPECTED_ERROR = (
        "unexpected_error",
        Outcome.FAILED_TRANSIENT,
        "working on the recording ended in an error that nobody foresaw; please report the detail",
    )

    # Annotations: short-form rules, long-form gates, caps.
    EMPTY_TEXT = "empty_text", Outcome.DROPPED, "nothing is left of the text"
    PROVENANCE = "provenance", Outcome.DROPPED, "says where the upload comes from, not what is heard"
    PROMOTION = "promotion", Outcome.DROPPED, "asks for views, likes or follows"
    LINK = "link", Outcome.DROPPED, "is a link or a handle"
    NO_LETTERS = "no_letters", Outcome.DROPPED, "has no letters"
    GENERIC = "generic", Outcome.DROPPED, "says nothing about one recording (music, video, new …)"
    SENTENCE_TOO_SHORT = "sentence_too_short", Outcome.DROPPED, "the sentence is too short to describe anything"
    SENTENCE_TOO_LONG = "sentence_too_long", Outcome.DROPPED, "the sentence is longer than the text tower reads"
    TOO_FEW_LETTERS = "too_few_letters", Outcome.DROPPED, "most of the sentence is not letters"
    OTHER_LANGUAGE = "other_language", Outcome.DROPPED, "the sentence is surely in another language than was asked for"
    DUPLICATE_TEXT = "duplicate_text", Outcome.DROPPED, "the recording has the same text already"
    OVER_CAP = "over_cap", Outcome.DROPPED, "over the cap of texts that one recording keeps"


LONGEST_DETAIL = 300


def legible(detail: str) -> str:
    """What went wrong, as it can be written down: it may quote a name that is no Unicode, or an endless one."""
    return "".join(c if c.isprintable() else "?" for c in detail[:LONGEST_DETAIL])


class LeftOutError(Exception):
    """Something is left out: `reason` for the accounts, `detail` for a person."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
