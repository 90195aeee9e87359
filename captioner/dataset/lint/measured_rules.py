"""Rules that compare a caption with what was measured in its clip: the camera, and the cuts.

They are silent where nothing was measured, where frames are too far apart, and where a caption speaks of a slow or
slight motion, which may be too little to be measured.
"""

import re
from collections.abc import Iterator

from captioner.dataset.lint.draft import Draft
from captioner.dataset.lint.finding import Hit, LintOptions
from captioner.media.measure import MAX_STEP_S
from captioner.values import Measured

_I = re.IGNORECASE
_CAMERA = r"(?:camera(?! crew|[ -]?m[ae]n|[ -]?wom[ae]n| operator)|lens|view|shot|frame|perspective)"
_FROM = r"(?:from (?:the )?(?:left|right|top|bottom)(?: side)? (?:to|toward|towards) (?:the )?)?"
# Words of the same clause.
_FEW = r"(?:(?!\b(?:who|which|shows?|depicts?|as|while|where)\b)[^.,;:!?\n\x00]){0,40}?"
_NEARLY = r"(?!largely|mostly|mainly|nearly|almost|relatively|fairly|rather|quite|generally|somewhat)"
_NOT = re.compile(r"\b(?:not|no|never|without|stops?|stopped|before|instead|rather)\b|n['’]t\b", _I)
_LITTLE = re.compile(r"\b(?:slow|slight|subt|gent|gradual|barely|almost|faint|minimal|tiny|small)", _I)
_STATIC = re.compile(
    r"\b(?:static|stationary|fixed|locked[- ](?:off|down)|motionless|unmoving)(?:,? \w+)? "
    r"(?:camera(?! angle)|shot|frame|framing|view)\b"
    rf"|\bcamera\b (?:\w+ )?(?:is|remains?|stays?|holds?|keeps?|sits?)(?: {_NEARLY}\w+)? "
    r"(?:static|stationary|fixed|still|motionless|locked|in place|steady and still)\b"
    r"|\bcamera (?:does not|doesn['’]t|never) move|固定镜头|固定机位|静止镜头|镜头(?:保持)?(?:静止|固定)"
    r"|statische (?:Kamera|Einstellung)|Kamera (?:ist|bleibt) (?:statisch|unbewegt|fest)",
    _I,
)
# The direction or way is the last group that matched.
_MOVES = {
    "pan": re.compile(
        rf"\b{_CAMERA}\b{_FEW}\b(?:pans?|panning|sweeps?|sweeping|swivels?)\b{_FEW}{_FROM}\b(left|right)\b"
        rf"|\bpanning (?:shot )?(?:to (?:the )?)?{_FROM}(left|right)\b"
        r"|\bcamera pan (?:to (?:the )?)?(left|right)\b"
        r"|镜头向(左|右)(?:平移|摇|移动)|Kamera schwenkt nach (links|rechts)",
        _I,
    ),
    "tilt": re.compile(
        rf"\b{_CAMERA}\b{_FEW}\b(?:tilts?|tilting)\b{_FEW}\b(up|down)(?:ward|wards)?\b|\bcamera tilt (up|down)\b"
        r"|镜头向(上|下)(?:摇|移动)|Kamera (?:schwenkt|neigt sich) nach (oben|unten)",
        _I,
    ),
    "zoom": re.compile(
        rf"\b{_CAMERA}\b{_FEW}\b(?:zooms?|zooming|pushes|pushing|pulls|pulling|dollies)\b (?:\w+ )?(in|out|back)\b"
        r"|\b(?:camera )?zoom(?:ing)? (in|out) (?:on|from|to|shot)\b|镜头(推近|拉远)|Kamera zoomt (heran|heraus)",
        _I,
    ),
}
_WAYS = {"左": "left", "右": "right", "links": "left", "rechts": "right", "上": "up", "下": "down", "oben": "up"}
_WAYS |= {"unten": "down", "back": "out", "推近": "in", "拉远": "out", "heran": "in", "heraus": "out"}
_OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up", "in": "out", "out": "in"}
_WHOLE = "(?:single|one|continuous|unbroken|uninterrupted|uncut)"
_ONE_SHOT = re.compile(
    rf"\b{_WHOLE}(?:,? (?:{_WHOLE}|long|static))+ (?:shot|take)\b"
    r"|\b(?:single|continuous|unbroken|uninterrupted|uncut|in one) (?:shot|take)\b(?! (?:glass|of|at)\b)"
    r"|\bwithout (?:any |a )?cuts?\b(?! (?:on|in|to|of))|\bthere are no cuts\b"
    r"|一镜到底|单一镜头|连续镜头|in einer einzigen (?:Einstellung|Aufnahme)|ohne Schnitte?\b",
    _I,
)
_CUT = re.compile(
    r"\b(?:camera|video|clip|footage|film|shot|sequence)s?\b (?:\w+ )?"
    r"(?:cuts|switches|jumps|transitions|dissolves|fades|cross-?fades)\b (?:\w+ )?"
    r"(?:to|into|between|back to)\b(?! (?:black|white))"
    r"|\bscene (?:then |abruptly |suddenly )?(?:cuts|switches|jumps) to\b"
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
    moves = [name for name in measured.camera if name.split()[0] in _MOVES]
    claims = [claim for claim in _claimed(draft.plain) if not _NOT.search(claim[2][0])]
    names_the_move = any(f"{kind} {way}" in moves for kind, way, _ in claims)
    if moves and not names_the_move and not measured.cuts_s:  # else another shot may stand
        yield from (Hit("camera", *match.span(), why) for match in _STATIC.finditer(draft.plain))
    for kind, way, match in claims:
        stands = measured.camera == ("static",) and not _LITTLE.search(_clause(draft.plain, match))
        if stands or (f"{kind} {_OPPOSITE[way]}" in moves and f"{kind} {way}" not in moves):
            yield Hit("camera", *match.span(), why)


def find_cuts(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find a single shot where cuts were measured, and cuts where there are none."""
    measured = _certain(draft)
    if not measured:
        return
    num_cuts = len(measured.cuts_s)
    for match in (_ONE_SHOT if num_cuts else _CUT).finditer(draft.plain):
        if num_cuts or not _NOT.search(match[0]):
            counted = f"{num_cuts} cut{'s' if num_cuts > 1 else ''}" if num_cuts else "no cut"
            yield Hit("cuts", *match.span(), f"{counted} was measured" if num_cuts < 2 else f"{counted} were measured")


def _claimed(text: str) -> Iterator[tuple[str, str, re.Match[str]]]:
    """Yield the moves that a caption names: kind, way, and where."""
    for kind, pattern in _MOVES.items():
        for match in pattern.finditer(text):
            word = next(filter(None, match.groups())).lower()
            yield kind, _WAYS.get(word, word), match


def _certain(draft: Draft) -> Measured | None:
    measured = draft.facts.measured
    return measured if measured and 0 < measured.step_s <= MAX_STEP_S else None


def _clause(text: str, match: re.Match[str]) -> str:
    """Return the words around a match up to the next mark."""
    start = max(text.rfind(mark, 0, match.start()) for mark in ".,;!?\n")
    ends = [end for mark in ".,;!?\n" if (end := text.find(mark, match.end())) >= 0]
    return text[start + 1 : min(ends, default=len(text))]
