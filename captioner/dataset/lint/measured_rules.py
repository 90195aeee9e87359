"""Rules that compare a caption with what was measured in its clip: the camera, and the cuts.

They are silent where nothing was measured, where frames are too far apart, and where a caption speaks of a slow or
slight motion, which may be too little to be measured.
"""

import re
from collections.abc import Iterator

from captioner.dataset.camera_words import FEW_WORDS, MOVES, MOVING, STATIC
from captioner.dataset.lint.draft import Draft
from captioner.dataset.lint.finding import Hit, LintOptions
from captioner.media.measure import MAX_STEP_S
from captioner.values import Measured

_I = re.IGNORECASE
_NOT = re.compile(r"\b(?:not|no|never|without|stops?|stopped|before|instead|rather)\b|n['’]t\b", _I)
_LITTLE = re.compile(
    r"\b(?:slow|slight|subt|gent|gradual|barely|almost|imperceptibl)"
    r"|\b(?:faint|minimal|tiny|small) (?:\w+ ){0,2}"
    r"(?:mov|motion|pan|tilt|zoom|push|pull|shift|drift|sway|adjust|amount)",
    _I,
)
_STATIC, _MOTION = re.compile(STATIC, _I), re.compile(MOVING, _I)
_MOVES = {move: re.compile(pattern, _I) for move, pattern in MOVES.items()}
# Words that a camera in a hand contradicts, too.
_STEADY = re.compile(
    r"\b(?:completely|perfectly|entirely|totally|absolutely|fully|does not|doesn['’]t|never|no|without"
    r"|tripod|mount|locked|rock|in place)\b"
    r"|n['’]t\b",
    _I,
)
_KINDS = {kind for kind, _ in MOVES}
_OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up", "in": "out", "out": "in"}
# Sentences without any of these words say nothing of the camera, or of cuts.
_OF_CAMERA = (
    "camera", "lens", "view", "shot", "frame", "framing", "perspective", "vantage", "footage", "tripod", "pan", "tilt",
    "zoom", "镜", "机位", "画面", "kamera", "einstell",
)  # fmt: skip
_OF_CUTS = (
    "cut", "edit", "shot", "take", "clip", "scene", "montage", "compilation", "footage", "sequence", "video", "film",
    "camera", "transition", "switch", "jump", "镜", "画面", "切", "schnitt", "einstell", "aufnahm",
)  # fmt: skip
_SENTENCE_END = re.compile("[.!?\n。！？]")
_WHOLE = "(?:single|one|continuous|unbroken|uninterrupted|uncut)"
_MANY = "(?:two|three|four|five|six|several|multiple|many|various|different)"
_VIDEO = "(?:video|clip|footage|film|sequence|montage)"
_DRINK = "(?:tequila|whisk|vodka|rum|espresso|liquor)"
_ONE_SHOT = re.compile(
    rf"\b{_WHOLE}(?:,? (?:{_WHOLE}|long|static))+ (?:shot|take)\b"
    r"|\b(?:single|continuous|unbroken|uninterrupted|uncut|in one) (?:shot|take)\b(?! (?:glass|of|at)\b)"
    r"|\bwithout (?:any |a )?(?:visible )?(?:cuts?|edits?|scene changes?|transitions?)\b(?! (?:on|in|to|of))"
    r"|\b(?:there are|with|has|contains) no (?:visible |apparent )?(?:cuts|edits|scene changes)\b(?! (?:on|to|of))"
    r"|\bone-shot (?:video|clip|film|take|sequence)\b"
    r"|一镜到底|单一镜头|连续镜头|in einer einzigen (?:Einstellung|Aufnahme)|ohne Schnitte?\b",
    _I,
)
_CUT = re.compile(
    r"\b(?:camera|video|clip|footage|film|shot|sequence)s?\b (?:\w+ )?"
    r"(?:cuts|switches|jumps|transitions|dissolves|fades|cross-?fades)\b (?:\w+ )?"
    r"(?:to|into|between|back to)\b(?! (?:black|white))"
    r"|\b(?:the|its|fast|quick|rapid) edit(?:ing)? (?:cuts|switches|jumps|alternates|goes back and forth)\b"
    r"|(?:^|[.!?\n] ?)(?:an?|the|this) (?:[\w-]+ )?(?:montage|compilation) of "
    r"(?:[\w-]+ ){0,2}(?:shots|clips|scenes|footage|sequences|videos|moments)\b"
    r"|\bscene (?:then |abruptly |suddenly )?(?:cuts|switches|jumps) (?:from [^.;\n]{1,60}? )?to\b"
    r"|\bwe (?:then |now |next |suddenly )?cut to\b|\b(?:jump|smash|hard) cuts?\b(?! (?:of|on))|\bintercut"
    r"|\b(?:another|a new|a different) (?:shot|scene|clip) "
    r"(?:shows?|depicts|features|reveals|presents|captures|follows)\b"
    r"|(?<!\[)\b(?:shot|scene) (?:[2-9]|two|three)\b"
    r"|\bit (?:then|abruptly|suddenly|next|later|finally) (?:cuts|switches|jumps) to\b"
    r"|\bthe (?:second|third|next|following) (?:shot|clip|scene)"
    r"(?:,| (?:shows?|is|depicts|features|reveals|presents|captures|focuses)\b)"
    rf"|\b{_VIDEO} {FEW_WORDS}"
    r"(?:consist|compos|made up|compris|compilation|contain|feature|divided|split|montage|series|sequence)"
    rf"{FEW_WORDS}\b{_MANY} (?:[\w-]+ )?(?:shots|clips|scenes|segments)\b(?! (?:of|with) {_DRINK})"
    rf"|\b{_VIDEO} (?:is|shows|presents|features|offers) an? (?:[\w-]+ )?montage\b"
    rf"|\b{_VIDEO} (?:\w+ )?(?:cuts|switches|alternates) (?:back and forth )?between\b"
    r"|(?:^|[.!?] )(?:cut|jump cut|smash cut) to\b|\bthe (?:scene|shot) (?:then )?changes\b"
    r"|\bafter (?:a|the) (?:hard )?cut\b|镜头切换|画面切换|切换到|Schnitt auf\b",
    _I,
)


def find_camera(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find a camera that moves or stands otherwise than was measured."""
    measured = _certain(draft)
    if not measured or not measured.camera:
        return
    why = f"the camera does something else: {', then '.join(measured.camera)}"
    moves = [name for name in measured.camera if name.split()[0] in _KINDS]
    parts = _sentences(draft.plain, _OF_CAMERA)
    claims = [claim for claim in _claimed(draft.plain, parts) if not _NOT.search(claim[2][0])]
    if not measured.cuts_s and not any(
        f"{kind} {way}" in moves for kind, way, _ in claims
    ):  # else another shot may stand
        is_handheld = measured.camera == ("handheld",)
        for match in _matches(_STATIC, draft.plain, parts):
            if moves or (is_handheld and _STEADY.search(match[0]) and not _is_little(draft.plain, match)):
                yield Hit("camera", *match.span(), why)
    stands = measured.camera == ("static",)
    for match in _matches(_MOTION, draft.plain, parts) if stands else ():
        if not _NOT.search(_clause(draft.plain, match)) and not _is_little(draft.plain, match):
            yield Hit("camera", *match.span(), why)
    for kind, way, match in claims:
        if (stands and not _is_little(draft.plain, match)) or (
            f"{kind} {_OPPOSITE[way]}" in moves and f"{kind} {way}" not in moves
        ):
            yield Hit("camera", *match.span(), why)


def find_cuts(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find a single shot where cuts were measured, and cuts where there are none."""
    measured = _certain(draft)
    if not measured:
        return
    num_cuts = len(measured.cuts_s)
    parts = _sentences(draft.plain, _OF_CUTS)
    for match in _matches(_ONE_SHOT if num_cuts else _CUT, draft.plain, parts):
        if num_cuts or not _NOT.search(match[0]):
            counted = f"{num_cuts} cut{'s' if num_cuts > 1 else ''}" if num_cuts else "no cut"
            yield Hit("cuts", *match.span(), f"{counted} was measured" if num_cuts < 2 else f"{counted} were measured")


def _claimed(text: str, parts: list[tuple[int, int]]) -> Iterator[tuple[str, str, re.Match[str]]]:
    """Yield the moves that a caption names: kind, way, and where."""
    for (kind, way), pattern in _MOVES.items():
        for match in _matches(pattern, text, parts):
            yield kind, way, match


def _sentences(text: str, words: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return where the sentences with one of the words are, each with the mark before it."""
    found, start = [], 0
    for end in (*(mark.start() for mark in _SENTENCE_END.finditer(text)), len(text)):
        part = text[start:end].lower()
        if any(word in part for word in words):
            found.append((start, end))
        start = end
    return found


def _matches(pattern: re.Pattern[str], text: str, parts: list[tuple[int, int]]) -> Iterator[re.Match[str]]:
    for start, end in parts:
        yield from pattern.finditer(text, start, end)


def _certain(draft: Draft) -> Measured | None:
    measured = draft.facts.measured
    return measured if measured and 0 < measured.step_s <= MAX_STEP_S else None


def _is_little(text: str, match: re.Match[str]) -> bool:
    """Return whether the clause of a match speaks of a motion that may be too little to be measured."""
    return bool(_LITTLE.search(_clause(text, match)))


def _clause(text: str, match: re.Match[str]) -> str:
    """Return the words around a match up to the next mark."""
    start = max(text.rfind(mark, 0, match.start()) for mark in ".,;!?\n")
    ends = [end for mark in ".,;!?\n" if (end := text.find(mark, match.end())) >= 0]
    return text[start + 1 : min(ends, default=len(text))]
