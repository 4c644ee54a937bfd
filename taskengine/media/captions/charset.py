"""Text of any character set: marks of Unicode first, then the code pages that a language is written in, then a guess."""

from __future__ import annotations

import codecs
from collections.abc import Mapping

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_PAGES = {
    "cp1250": "bs cs hr hu pl ro sk sl sq",
    "cp1251": "be bg kk mk mn ru sr tg uk",
    "cp1252": "af ca da de en es eu fi fr ga gl id is it ms nb nl nn no pt sv sw",
    "cp1253": "el",
    "cp1254": "az tr",
    "cp1255": "he yi",
    "cp1256": "ar fa ur",
    "cp1257": "et lt lv",
    "cp1258": "vi",
    "cp874": "th",
    "cp932": "ja",
    "cp949": "ko",
    "gb18030": "cmn zh",
}
PAGE_OF: Mapping[str, str] = {language: page for page, languages in _PAGES.items() for language in languages.split()}
_LETTERS_OF_WIDE = 0.3  # zero bytes in a UTF-16 text that is mostly ASCII


def decode(data: bytes, language: str | None = None) -> tuple[str, str | None]:
    """(text, the character set where it is not UTF-8). `language`, where it is known, tells the likely code page."""
    for mark, name in _MARKS:
        if data.startswith(mark) and (text := _strict(data, name)) is not None:
            return text, None if name == "utf-8-sig" else name
    if (wide := _wide(data)) and (text := _strict(data, wide)) is not None:
        return text, wide
    if (text := _strict(data, "utf-8")) is not None:
        return text, None
    page = _page(language)
    if page and (text := _strict(data, page)) is not None and _plausible(text):
        return text, page
    return _guessed(data)


def _strict(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except (UnicodeDecodeError, LookupError):
        return None


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of its digits and line ends is zero."""
    if len(data) % 2 or data.count(0) < len(data) * _LETTERS_OF_WIDE:
        return None
    return "utf-16-le" if data[1::2].count(0) > data[::2].count(0) else "utf-16-be"


def _page(language: str | None) -> str | None:
    if not language:
        return None
    primary, _, rest = language.partition("-")
    if primary == "zh" and rest.split("-")[0] in {"TW", "HK", "MO", "Hant"}:
        return "cp950"
    return PAGE_OF.get(primary)


def _plausible(text: str) -> bool:
    """No control characters but line ends and tabs."""
    return not any(ord(character) < 32 and character not in "\r\n\t\f" for character in text)


def _guessed(data: bytes) -> tuple[str, str]:
    import charset_normalizer  # its tables are not needed before

    best = charset_normalizer.from_bytes(data).best()
    name = best.encoding if best else "cp1252"
    return data.decode(name, errors="replace"), name
