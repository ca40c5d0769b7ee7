"""Personal data in descriptions and comments becomes a placeholder: e-mail, phone, handle, address of the web.

Precision matters as much as recall: years, tempi, time stamps, view counts and catalogue numbers are what a
description of music is made of, and must not be taken for phone numbers. A phone number is therefore only what is
written like one (with a `+`, in the groups of a national format) or what follows a word such as *call* or *WhatsApp*.
"""

import re

VERSION = 2  # raised when what comes out changes (tests/test_versions.py)

EMAIL = "[email]"
PHONE = "[phone]"
HANDLE = "[handle]"
URL = "[url]"
PLACEHOLDER = re.compile(r"\[(?:email|phone|handle|url)\]")

_TLD = (
    "com|net|org|info|biz|edu|gov|io|fm|me|tv|gg|ly|gl|be|cc|ws|to|co|uk|de|fr|es|it|ru|su|ua|pl|nl|br|ar|mx|cl|jp|kr|cn|tw|in|id|tr|"
    "eu|us|ca|au|ch|at|se|no|fi|dk|cz|sk|hu|ro|gr|pt|ie|nz|za|xyz|site|online|shop|club|app|dev|music|band|link|page|blog|ai|am|la|ms|tk"
)
_EMAIL = re.compile(r"(?<![\w.+\-])[\w.+%\-]{1,64}@[\w\-]{1,63}(?:\.[\w\-]{1,63}){1,4}")
_SPELT_EMAIL = re.compile(
    r"(?<![\w.+\-])[\w.+\-]{2,64}\s{0,2}[(\[{]\s{0,2}(?:at|arroba|@)\s{0,2}[)\]}]\s{0,2}[\w\-]{2,63}\s{0,2}"
    r"(?:[(\[{]\s{0,2}(?:dot|punto|ponto|point|punkt|\.)\s{0,2}[)\]}]|\.)\s{0,2}[A-Za-z]{2,10}(?!\w)|"
    r"(?<![\w.+\-])[\w.+\-]{2,64}\s(?:at|arroba)\s(?:gmail|hotmail|yahoo|outlook|live|icloud|aol|proton|protonmail|web|gmx|mail)\s?"
    r"(?:dot|punto|ponto|\.)\s?[A-Za-z]{2,6}(?!\w)",
    re.IGNORECASE,
)
_URL = re.compile(
    r"(?:https?|ftp|hxxps?)\s{0,2}:\s{0,2}/\s?/\s?[^\s<>\"]{1,2000}|"
    r"(?<![\w@.])www\s?\.\s?[^\s<>\"]{2,2000}|"
    rf"(?<![\w@.\-])(?:[a-z0-9\-]{{1,63}}\.){{1,4}}(?:{_TLD})(?:/[^\s<>\"]{{0,2000}}|(?![\w@\-]|\.\w))",
    re.IGNORECASE,
)
# A bare name with a short country code needs a path: "the end.no more" is a missing space, not an address.
_AMBIGUOUS = re.compile(
    r"[a-z\-]{1,63}\.(?:me|to|in|it|is|no|so|am|be|at|us|do|la|id|co|de|es|music|band|club|page|link|blog|live|app|online|site|se|ms|ai|tv|au|ca|ch|ie)",
    re.IGNORECASE,
)
_URL_TAIL = re.compile(r"[.,;:!?)\]}'\"»”’]+$")
# What each of them has, found far sooner than where one begins.
_PART_OF_URL = re.compile(r"\.[a-z0-9\-]|/|www", re.IGNORECASE)
_PART_OF_SPELT_EMAIL = re.compile(r"[(\[{]\s{0,2}(?:at|arroba|@)|\s(?:at|arroba)\s", re.IGNORECASE)
_HANDLE = re.compile(r"(?<![\w@/.])@(?!\d{1,2}[:.]\d)(?=[\w.\-]{0,39}[^\W\d_])\w[\w.\-@]{1,79}")

_PHONE = re.compile(
    # International: a plus sign and 8 to 15 digits in groups.
    r"(?<![\w+])\+\s?\d{1,3}(?:[\s.\-/]{0,2}\(?\d{1,5}\)?){2,6}(?![\w:%])|"
    # North American: 555-123-4567, (555) 123-4567, 555.123.4567.
    r"(?<![\w\-.,:#$€£+])(?:1[\s.\-])?(?:\(\d{3}\)\s?|\d{3}[\-.])\d{3}[\-.\s]\d{4}(?![\w\-:%]|[.,]\d)|"
    # French: 06 12 34 56 78.
    r"(?<![\w\-.,:#])0[1-9](?:[\s.\-]\d\d){4}(?![\w\-:%]|[.,]\d)|"
    # A leading zero and nine or more digits in two to four groups: 090-1234-5678, 020 7946 0958, 07911 123456.
    r"(?<![\w\-.,:#])\(?0\d{1,4}\)?[\s\-/]\d{3,4}[\s\-]?\d{3,4}(?:[\s\-]\d{2,4})?(?![\w\-:%]|[.,]\d)"
)
_CUED_PHONE = re.compile(
    r"(?<!\w)(?P<cue>(?:call|text|txt|sms|phone|tel|telephone|telefon|telefono|teléfono|tél|fone|mobile|móvil|movil|cell|celular|celulare|cel|handy|fax|"
    r"whats\s?app|viber|telegram|wa|zap|contact|contacto|contato|contactos|booking|bookings|contrataciones|contratações|contrataciones|kontakt|hotline|line|"
    r"ph|тел|телефон|звоните|电话|電話|전화)\s?"
    r"(?:me|us|no|number|nr|n°|num|número|now|at|on|is|al|au|a)?\s?[.:#=\-]{0,2}\s{0,3})"
    r"(?P<number>\+?\(?\d(?:[\s.\-/()]{0,2}\d){6,14})(?![\w:%])",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?:\d{1,2}[\s.\-/]\d{1,2}[\s.\-/]\d{4}|\d{4}[\s.\-/]\d{1,2}[\s.\-/]\d{1,2})(?:\D.*)?")
_MAX_PASSES = 64
_MIN_PHONE_DIGITS = 8
_MAX_PHONE_DIGITS = 15


def redact(text: str) -> str:
    """The text with personal data replaced by `[email]`, `[url]`, `[handle]` and `[phone]`."""
    for _ in range(_MAX_PASSES):
        redacted = _redact_once(text)
        if redacted == text:
            break
        text = redacted  # a replacement may have freed what stood glued to it
    return text


def _redact_once(text: str) -> str:
    if "@" in text:
        text = _EMAIL.sub(EMAIL, text)
    if _PART_OF_URL.search(text):
        text = _URL.sub(_replace_url, text)
    if _PART_OF_SPELT_EMAIL.search(text):
        text = _SPELT_EMAIL.sub(EMAIL, text)
    if "@" in text:
        text = _HANDLE.sub(HANDLE, text)
    if any(map(str.isdigit, text)):
        text = _CUED_PHONE.sub(_replace_cued_phone, text)
        text = _PHONE.sub(_replace_phone, text)
    return text


def _replace_url(match: re.Match[str]) -> str:
    address = match.group()
    if _AMBIGUOUS.fullmatch(address):
        return address
    tail = _URL_TAIL.search(address)
    return f"{URL}{tail.group()}" if tail else URL


def _replace_phone(match: re.Match[str]) -> str:
    number = match.group()
    digits = sum(character.isdigit() for character in number)
    if _DATE.fullmatch(number) or not _MIN_PHONE_DIGITS < digits + number.startswith("+") <= _MAX_PHONE_DIGITS:
        return number
    return PHONE


def _replace_cued_phone(match: re.Match[str]) -> str:
    number = match.group("number")
    if _DATE.fullmatch(number):
        return match.group()
    return f"{match.group('cue')}{PHONE}"
