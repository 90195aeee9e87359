"""The encodings of caption files: which are certain, which are guesses, and that guesses are left alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from captioner.captions.encoding import decode, encode
from captioner.captions.store import CaptionStore
from captioner.errors import CaptionError
from captioner.values import MediaItem
from tests.support.captions import CAPTION

FRENCH, CHINESE, JAPANESE = "a café, naïve “quote” – dash", "一个女孩在跑步", "女の子が走る"
CERTAIN = {
    "utf-8": FRENCH.encode(),
    "utf-8 with a mark": FRENCH.encode("utf-8-sig"),
    "utf-16": FRENCH.encode("utf-16"),
    "utf-16-be with a mark": b"\xfe\xff" + FRENCH.encode("utf-16-be"),
    "utf-32": FRENCH.encode("utf-32"),
    "utf-32-be with a mark": b"\x00\x00\xfe\xff" + FRENCH.encode("utf-32-be"),
    "utf-16-le": FRENCH.encode("utf-16-le"),
    "utf-16-be": FRENCH.encode("utf-16-be"),
}
GUESSED = {  # encoding: texts, some as short as a word
    "cp1252": (
        FRENCH,
        "Ein Mädchen läuft über die Straße",
        "a woman’s dress",
        "20°C outside",
        "naïve",
        "perché è così",
        "1.5-2ºC?",
        "¡Hola!",
    ),
    "gb18030": (CHINESE, "你好", "1girl, 跑步, 红色连衣裙", "一只猫坐在红色的沙发上，阳光透过窗户"),
    "cp932": (JAPANESE, "1girl, 赤いドレス", "赤いドレスを着た女性が公園を歩いている。"),
    "big5": ("一個女孩在跑步", "一隻貓坐在紅色的沙發上"),
    "cp949": ("소녀가 달린다", "빨간 드레스를 입은 여자"),
    "euc_jp": (JAPANESE, "赤いドレスを着た女性"),
    "cp1251": ("девушка бежит по улице", "1girl, красное платье", "женщина"),
    "koi8_r": ("девушка бежит по улице", "Красивая девушка в красном платье"),
    "cp1250": ("dívka běží po ulici, žluťoučký kůň", "dziewczyna w żółtej sukience"),
    "cp1253": ("ένα κορίτσι τρέχει",),
    "cp1254": ("kız sokakta koşuyor",),
    "cp1256": ("فتاة تجري في الشارع",),
    "cp874": ("เด็กผู้หญิงวิ่ง",),
    "mac_roman": (FRENCH,),
    "cp850": ("Ein Mädchen läuft über die Straße",),
}
NOT_DECODABLE = {
    "utf-8 cut off inside a character": "Café à la plage –".encode()[:-1],
    "utf-8 with a line of cp1252": "Café à la plage – été".encode() + b"\ncaf\xe9 noir",
    "utf-16 cut off inside a character": FRENCH.encode("utf-16")[:-1],
    "utf-16 without a mark cut off": FRENCH.encode("utf-16-le") + b"\n",
    "utf-16 after which a program added utf-8": FRENCH.encode("utf-16-le") + b", red and green and blue",
    "utf-16 without a mark, East Asian": CHINESE.encode("utf-16-le"),
    "bytes of no encoding": b"\x81\x8d\x8f\x90\x9d\xff\xff\x80",
}
UNCERTAIN = {encoding: texts[0].encode(encoding) for encoding, texts in GUESSED.items()} | NOT_DECODABLE


@pytest.mark.parametrize("data", CERTAIN.values(), ids=CERTAIN)
def test_bytes_that_tell_their_encoding_are_certain(data):
    assert (decode(data).text, decode(data).doubt) == (FRENCH, "")


@pytest.mark.parametrize(("encoding", "text"), [(encoding, text) for encoding in GUESSED for text in GUESSED[encoding]])
def test_legacy_encoding_is_guessed_right_even_from_a_short_text(encoding, text):
    found = decode(text.encode(encoding))
    assert (found.text, found.certain) == (text, False)
    assert found.doubt == f"not UTF-8 but perhaps {found.encoding}"
    assert decode(text.encode(encoding), encoding) == (text, encoding, True)


@pytest.mark.parametrize("data", NOT_DECODABLE.values(), ids=NOT_DECODABLE)
def test_bytes_that_no_encoding_fits_are_shown_without_losing_any(data):
    found = decode(data)
    assert found.doubt
    assert found.body
    assert "\ufffd" not in found.text


@pytest.mark.parametrize("encoding", ["iso2022_jp", "iso2022_jp_2"])
def test_seven_bit_japanese_is_told_by_its_escape_sequences(encoding):
    assert decode(JAPANESE.encode(encoding))[::2] == (JAPANESE, True)


@pytest.mark.parametrize("data", [b"A cat.\0\0\0\0\0\0\0\0\0", b"a red\0 cat", b"a \x1b[31mred\x1b[0m cat", b"\0\0\0"])
def test_nuls_and_escapes_in_utf8_stay_characters(data):
    assert decode(data) == (data.decode(), "utf-8", True)


@pytest.mark.parametrize("text", [chr(0xD83D), chr(0xFFFD)])
def test_half_and_lost_characters_are_not_encoded(text):
    with pytest.raises(CaptionError, match=r"^the text holds"):
        encode(text)
    assert encode("a \ufffd cat", "\ufffd").decode() == "a \ufffd cat"


@pytest.mark.parametrize("policy", ["prefix", "append"])
@pytest.mark.parametrize("data", UNCERTAIN.values(), ids=UNCERTAIN)
def test_nothing_is_added_to_a_guess(store: CaptionStore, item: MediaItem, job: int, data: bytes, policy) -> None:
    path = item.caption_path
    path.write_bytes(data)
    for act in (
        lambda: store.skip_reason(item, policy),
        lambda: store.write(item, CAPTION, policy),
        lambda: store.save(path, "new"),
        lambda: store.read_certain(path),
    ):
        with pytest.raises(CaptionError, match=r"^the caption .* is (not UTF-8 but perhaps|damaged|in an unknown)"):
            act()
    [result] = store.rewrite([path], lambda text: f"sks, {text}", job).values()
    assert result.endswith("; save it on the page, or set caption_encoding")
    assert path.read_bytes() == data
    assert store.skip_reason(item, "skip") == "has a caption"


@pytest.mark.parametrize("data", UNCERTAIN.values(), ids=UNCERTAIN)
def test_guess_is_replaced_on_request_and_its_bytes_come_back(
    store: CaptionStore, item: MediaItem, data: bytes
) -> None:
    path = item.caption_path
    path.write_bytes(data)
    store.write(item, CAPTION, "overwrite")
    store.restore(path, store.last_change(path))
    assert path.read_bytes() == data
    assert store.save(path, "a café", consent=True) == "a café"
    assert path.read_bytes().decode().strip() == "a café"
    assert [entry.data for entry in store.history(path)][::2] == [data, data]


@pytest.mark.parametrize("data", CERTAIN.values(), ids=CERTAIN)
def test_certain_text_becomes_utf8_when_it_is_changed(
    store: CaptionStore, item: MediaItem, job: int, data: bytes
) -> None:
    path = item.caption_path
    path.write_bytes(data)
    store.write(item, CAPTION, "append")
    assert path.read_bytes() == f"{FRENCH} {CAPTION.text}".encode()
    store.restore(path, store.last_change(path))
    assert path.read_bytes() == data
    assert store.rewrite([path], lambda text: text.replace("é", "e"), job) == {path: "changed"}
    assert path.read_bytes() == FRENCH.replace("é", "e").encode()


def test_named_encoding_makes_a_text_certain(store: CaptionStore, item: MediaItem) -> None:
    item.caption_path.write_bytes(CHINESE.encode("gb18030"))
    store.encoding = "gb18030"
    store.write(item, CAPTION, "append")
    assert item.caption_path.read_bytes() == f"{CHINESE} {CAPTION.text}".encode()
    item.caption_path.write_bytes(b"\xff\xfc\xff")
    with pytest.raises(CaptionError, match="perhaps"):  # it is not valid in that encoding
        store.write(item, CAPTION, "append", consent=True)


def test_output_of_a_model_that_ends_inside_a_character_loses_only_that(store: CaptionStore, item: MediaItem) -> None:
    store.write(item, replace(CAPTION, text="A cat \ufffd\ufffd"), "skip")
    assert item.caption_path.read_bytes() == b"A cat"


def test_listing_fifty_thousand_plain_captions_needs_no_detection(monkeypatch) -> None:
    monkeypatch.setattr("captioner.captions.encoding.from_bytes", None)
    assert decode(("a" * 500 + "é").encode()).certain
    assert decode(Path(__file__).read_bytes()).certain
