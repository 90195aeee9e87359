"""The encodings of caption files: bytes to text, how sure that is, and text to UTF-8."""

import codecs
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

from charset_normalizer import from_bytes

from captioner.captions.text import is_blank
from captioner.errors import CaptionError

AUTO = "auto"  # the encoding of captions that are not UTF-8 is detected
HOW_TO_BE_CERTAIN = "save it on the page, or set caption_encoding"
REPLACEMENT = "\ufffd"

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
          (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))  # fmt: skip
_MARKED = tuple(mark for mark, _ in _MARKS)
_BY_ESCAPES = ("iso2022_jp_2", "iso2022_kr")  # 7-bit encodings, which would pass for UTF-8

# Legacy encodings, the more common first. For those of two bytes: the first bytes of the characters in everyday use.
_LEVEL_1 = {"gb18030": (0xA1, 0xD7), "cp932": (0x81, 0x97), "cp949": (0xA1, 0xC8), "big5": (0xA1, 0xC6),
            "euc_jp": (0xA1, 0xCF)}  # fmt: skip
_CANDIDATES = ("cp1252", "cp949", "gb18030", "cp932", "big5", "cp1251", "cp1254", "cp1250", "euc_jp", "koi8_r",
               "cp1253", "cp1255", "cp1256", "cp874", "cp850", "utf_16_le", "utf_16_be", "mac_roman")  # fmt: skip
_BROKEN = re.compile("[\udc80-\udcff]+")  # bytes that are not UTF-8, as surrogateescape reads them
_SAMPLE = 2000  # characters that are judged
_ODD = re.compile(
    "[\uff61-\uff9f\u0080-\u009f\ue000-\uf8ff\u2500-\u259f\u3130-\u318f]"  # half-width kana, controls, boxes, lone jamo
    "|(?<=[a-zß-ÿа-я])[A-ZÀ-ÞА-Я]|(?<=[А-Я]{2})[А-Я]"  # capitals inside a word, or only capitals
    "|(?<=[A-Za-z])[\u0370-\u07ff\u0e00-\u0e7f\u3400-\u9fff\uac00-\ud7af]|[\u0370-\u07ff](?=[A-Za-z])"  # two scripts
    "|[\u3400-\u9fff\uac00-\ud7af](?=[a-z])|(?<=[a-zß-ÿ])[\u00a1-\u00bf](?=[a-zß-ÿ])|[þðÞÐ]|[\u00aa-ÿ]{3}"
)
_EAST_ASIAN = re.compile("[\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7af\uff00-\uff60]")
_KANA = re.compile("[\u3041-\u30fe]")
_ODD_KINDS = ("So", "Sc", "Sm", "Sk", "Lm", "No", "Po", "Cn")
_USUAL_SIGNS = "°…·•²³½×€£¿¡"


class Decoded(NamedTuple):
    """The text of a caption file without a byte order mark, otherwise complete.

    It is `certain` if the bytes tell the encoding: valid UTF-8; a byte order mark of UTF-8, UTF-16 or UTF-32 and valid
    text after it; UTF-16 without a mark in which a third of the characters have a NUL as their high byte, none as their
    low byte, and all are printable; ISO 2022 with its escape sequences; or the encoding that the user named, if the
    bytes are valid in it. Anything else is a guess, since bytes of one legacy encoding are mostly valid in others.
    """

    text: str
    encoding: str = "utf-8"  # a codec of Python; "" if no encoding fits
    certain: bool = True

    @property
    def body(self) -> str:
        """The visible text, without the white space around it; "" if it is blank."""
        return "" if is_blank(self.text) else self.text.strip()

    @property
    def doubt(self) -> str:
        """A phrase that follows "the caption is" if the text is a guess, else ""."""
        if self.certain:
            return ""
        if self.encoding.startswith("utf-"):
            return f"damaged {self.encoding[:6].upper()}"
        return f"not UTF-8 but perhaps {self.encoding}" if self.encoding else "in an unknown encoding"


def decode(data: bytes | None, declared: str = AUTO) -> Decoded:
    """Return the text of a caption file. declared: the encoding of files that are not UTF-8 or marked UTF-16."""
    data = data or b""
    if data.startswith(_MARKED):
        return _decode_marked(data)
    if b"\0" in data and (found := _decode_unmarked(data)):
        return found
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return _decode_legacy(data, declared, error)
    return _decode_escapes(data, text) if "\x1b" in text else Decoded(text)


def encode(text: str, before: str = "") -> bytes:
    """Return UTF-8. Raise CaptionError for a lone surrogate, or for U+FFFD if `before` has none."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise CaptionError("the text holds an invalid character (half of a pair); type it again") from None
    if REPLACEMENT in text and REPLACEMENT not in before:
        raise CaptionError(f"the text holds {REPLACEMENT}, which stands for a lost character; type the right one")
    return data


def check_certain(path: Path, decoded: Decoded) -> None:
    """Raise CaptionError if the file has a visible text and that is a guess."""
    if decoded.doubt and decoded.body:
        raise CaptionError(f"the caption {path} is {decoded.doubt}; {HOW_TO_BE_CERTAIN}")


def _decode_marked(data: bytes) -> Decoded:
    fitting = [(data[len(mark) :], encoding) for mark, encoding in _MARKS if data.startswith(mark)]
    for rest, encoding in fitting:
        try:
            return Decoded(rest.decode(encoding), encoding)
        except UnicodeDecodeError as error:
            if encoding == "utf-8":
                return _decode_legacy(rest, AUTO, error)
    rest, encoding = fitting[-1]
    return Decoded(rest.decode(encoding, "backslashreplace"), encoding, certain=False)


def _decode_unmarked(data: bytes) -> Decoded | None:
    """Return the text of UTF-16 without a mark, which the places of its NULs tell; None for other bytes."""
    stripped = data.rstrip(b"\0")  # after a power cut a file may end in NULs, or hold nothing else
    if not stripped:
        return None
    low_nuls, high_nuls, num_units = data[::2].count(0), data[1::2].count(0), len(data) / 2
    for encoding, nuls, others in (("utf-16-le", high_nuls, low_nuls), ("utf-16-be", low_nuls, high_nuls)):
        if nuls * 3 >= num_units and not others:
            text = data.decode(encoding, "backslashreplace")
            is_valid = len(data) % 2 == 0 and _is_plain(text)  # a lone surrogate is not printable
            return Decoded(text, encoding, is_valid)
        if len(data) % 2 == 0 and _is_east_asian(text := data.decode(encoding, "replace")):
            return Decoded(text, encoding, certain=False)
    return (
        Decoded(data.decode("utf-8", "backslashreplace"), "", False) if stripped.count(0) * 4 > len(stripped) else None
    )


def _decode_escapes(data: bytes, text: str) -> Decoded:
    """Return the text of 7-bit bytes with escape characters. `text`: the same as UTF-8."""
    for encoding in _BY_ESCAPES:
        try:
            found = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not found.isascii() and "\x1b" not in found:
            return Decoded(found, encoding)
    return Decoded(text)


def _is_plain(text: str) -> bool:
    """Return whether all characters are printable or white space."""
    return all(character.isprintable() or character.isspace() for character in text)


def _is_east_asian(text: str) -> bool:
    return _is_plain(text) and all(character < "\x7f" or _EAST_ASIAN.match(character) for character in text)


def _decode_legacy(data: bytes, declared: str, error: UnicodeDecodeError) -> Decoded:
    if declared != AUTO:
        try:
            return Decoded(data.decode(declared), declared)
        except UnicodeError:
            pass
    lenient = data.decode("utf-8", "surrogateescape")
    num_broken = len(_BROKEN.findall(lenient))
    num_whole = sum(character > "\x7f" and not _BROKEN.match(character) for character in lenient)
    if num_whole > 2 * num_broken or (num_whole and error.reason == "unexpected end of data"):
        return Decoded(data.decode("utf-8", "backslashreplace"), certain=False)
    encoding = _detect(data)
    return Decoded(data.decode(encoding or "ascii", "backslashreplace"), encoding, certain=False)


def _detect(data: bytes) -> str:
    """Return the likeliest legacy encoding, or "".

    charset-normalizer tells which ones give readable text; several do for a text as short as a caption, and it prefers
    rare ones. So the candidates with the fewest odd characters come first, and of these the most common encoding.
    """
    matches = from_bytes(data, cp_isolation=list(_CANDIDATES), threshold=0.6)
    chaos = {name: match.chaos for match in matches for name in match.could_be_from_charset}
    ranked = []
    for place, encoding in enumerate(_CANDIDATES):
        try:
            text = data.decode(encoding)[:_SAMPLE]
        except UnicodeDecodeError:
            continue
        ranked.append((round(_oddness(text, encoding), 1), round(chaos.get(encoding, 1.0) * 2), place, encoding))
    return min(ranked)[-1] if ranked else ""


def _oddness(text: str, encoding: str) -> float:
    """Return how many of the non-ASCII characters, from 0 to about 1, are unusual in text of this encoding."""
    foreign = [character for character in text if character > "\x7f"]
    num_odd = float(len(_ODD.findall(text)))
    if encoding in _LEVEL_1:
        first, last = _LEVEL_1[encoding]
        codes = (character.encode(encoding) for character in foreign)
        num_odd += sum(len(code) > 2 or not first <= code[0] <= last for code in codes)
        num_kana = len(_KANA.findall(text))
        num_odd += -num_kana / 2 if encoding in ("cp932", "euc_jp") else num_kana
        num_odd += 1 if encoding == "cp949" and len(foreign) < 4 else 0  # a few Hangul may as well be Chinese
    elif encoding.startswith("utf_16"):
        num_odd += 0 if _is_east_asian(text) else len(foreign)
    else:
        num_odd += 0.7 * sum(unicodedata.category(c) in _ODD_KINDS and c not in _USUAL_SIGNS for c in foreign)
    return num_odd / max(1, len(foreign))
