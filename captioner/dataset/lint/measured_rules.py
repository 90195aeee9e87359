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
_ADJECTIVE = "(?:sweeping|smooth|steady|fluid|continuous|slow|quick|fast|rapid|long|gradual|dramatic|gentle)"
_SIDEWAYS = (
    "(?:turns?|turning|swings?|swinging|rotates?|slides?|sliding|shifts?|shifting|trucks?|trucking|tracks?|tracking"
    "|moves?|moving|glides?)"
)
# Words of the same clause.
_FEW = r"(?:(?!\b(?:who|which|shows?|depicts?|as|while|where)\b)[^.,;:!?\n\x00]){0,40}?"
_NEARLY = r"(?!largely|mostly|mainly|nearly|almost|relatively|fairly|rather|quite|generally|somewhat)"
_NOT = re.compile(r"\b(?:not|no|never|without|stops?|stopped|before|instead|rather)\b|n['’]t\b", _I)
_LITTLE = re.compile(
    r"\b(?:slow|slight|subt|gent|gradual|barely|almost|imperceptibl)"
    r"|\b(?:faint|minimal|tiny|small) (?:\w+ ){0,2}"
    r"(?:mov|motion|pan|tilt|zoom|push|pull|shift|drift|sway|adjust|amount)",
    _I,
)
_STATIC = re.compile(
    r"\b(?:static|stationary|fixed|locked[- ](?:off|down)|motionless|unmoving)(?:,? \w+)? "
    r"(?:camera(?! angle)|shot|frame|framing|view)\b"
    rf"|\bcamera\b (?:\w+ )?(?:is|remains?|stays?|holds?|keeps?|sits?)(?: {_NEARLY}\w+)? "
    r"(?:static|stationary|fixed|still|motionless|locked|in place|steady and still)\b"
    r"|\b(?:static|stationary|fixed|locked[- ](?:off|down)),?(?: (?:wide|medium|close|close-up|full|long|single"
    r"|continuous|aerial|overhead|tripod|eye-level|low-angle|high-angle|front-facing|wide-angle),?){1,3}"
    r" (?:camera|shot|frame|view)\b"
    r"|\b(?:shot|frame|framing|footage|camera ?work|camera (?:angle|position)) (?:is|remains?|stays?)"
    rf"(?: {_NEARLY}\w+)? (?:static|stationary|fixed|locked[- ]off|unchanged)\b"
    r"|\bcamera [\w ]{0,20}(?:static|fixed|stationary) (?:position|perspective|viewpoint|vantage point|frame)\b"
    rf"|\bcamera\b{_FEW}\b(?:does not|doesn['’]t|never) move|\bcamera is (?:\w+ ){{0,3}}on a tripod\b"
    r"|\bno camera (?:movement|motion)\b(?! (?:until|except|other|apart))"
    r"|\bwithout (?:any )?camera (?:movement|motion)\b"
    r"|\b(?:filmed|shot|recorded|captured) (?:from|on|with) a (?:fixed |stationary )?tripod\b"
    r"|固定镜头|固定机位|静止镜头|镜头(?:保持)?(?:静止|固定)"
    r"|statische (?:Kamera|Einstellung)|Kamera (?:ist|bleibt) (?:statisch|unbewegt|fest)",
    _I,
)
# Words that a camera in a hand contradicts, too.
_STEADY = re.compile(
    r"\b(?:completely|perfectly|entirely|totally|absolutely|fully|does not|doesn['’]t|never|no|without|tripod|locked"
    r"|in place)\b"
    r"|n['’]t\b",
    _I,
)
# Motion without a direction that is measured; a camera that stands contradicts it.
_MOTION = re.compile(
    r"\b(?:the|a handheld|handheld) camera\b(?: then| also| \w+ly)? (?:is )?"
    r"(?:orbit|circl|arc|truck|doll(?:y|ie)|crane|glid|travel|shak|wobbl|bounc|jitter|fl(?:y|ie))(?:s|es|ing|e)?\b"
    r"|\b(?:shaky|shaking|bouncing),? (?:handheld )?(?:camera|footage|shot)"
    r"|\b(?:footage|camera(?: ?work)?|shot) is (?!not|never)(?:\w+ )?(?:shaky|jerky|shaking|bouncing)\b",
    _I,
)
# The direction or way is the last group that matched.
_MOVES = {
    "pan": re.compile(
        rf"\b{_CAMERA}\b{_FEW}\b(?:pans?|panning|sweeps?|sweeping|swivels?)\b{_FEW}{_FROM}\b(left|right)(?:wards?)?\b"
        rf"|\bthe (?:camera|view|perspective)\b (?:then |also |\w+ly )?(?:is )?{_SIDEWAYS}\b (?:\w+ly )?"
        rf"(?:(?:along|across) [\w ]{{1,25}} )?(?:(?:to|towards?) (?:the )?)?{_FROM}(left|right)(?:wards?)?\b"
        r"(?! (?:up|into|through|in|behind|next|beside|at|on|to|past)\b)"
        rf"|\bpanning (?:shot )?(?:to (?:the )?)?{_FROM}(left|right)\b"
        rf"|\b(?:camera|{_ADJECTIVE}) pan (?:to (?:the )?)?(left|right)\b"
        r"|\b(left|right)(?:ward)? (?:camera )?pan\b(?! (?:of|on|with|full) )"
        r"|镜头向(左|右)(?:平移|摇|移动)|Kamera schwenkt nach (links|rechts)",
        _I,
    ),
    "tilt": re.compile(
        rf"\b{_CAMERA}\b{_FEW}\b(?:tilts?|tilting)\b{_FEW}\b(up|down)(?:ward|wards)?\b"
        rf"|\b(?:camera|{_ADJECTIVE}) tilt (up|down)(?:ward|wards)?\b|\b(up|down)ward (?:camera )?tilt\b"
        r"|\bthe camera (?:then |\w+ly )?(?:moves|moving|cranes|travels|glides) (up|down)wards?\b"
        r"|镜头向(上|下)(?:摇|移动)|Kamera (?:schwenkt|neigt sich) nach (oben|unten)",
        _I,
    ),
    "zoom": re.compile(
        rf"\b{_CAMERA}\b{_FEW}\b(?:zooms?|zooming|pushes|pushing|pulls|pulling|dollies|dollying)\b (?:\w+ )?"
        r"(in|out|back|backwards?|forwards?)\b"
        r"|\bcamera (?:then |\w+ly )?(?:is )?(?:moves|moving|travels|traveling|tracks|draws|inches|creeps|glides) "
        r"(?:\w+ly )?(closer|in|forwards?|backwards?|back|away)\b"
        r"|\b(?:camera )?zoom(?:ing)? (in|out) (?:on|from|to|shot)\b"
        rf"|\b(?:camera|{_ADJECTIVE}) zoom[- ](in|out)\b|镜头(推近|拉远)|Kamera zoomt (heran|heraus)",
        _I,
    ),
}
_WAYS = {"左": "left", "右": "right", "links": "left", "rechts": "right", "上": "up", "下": "down", "oben": "up"}
_WAYS |= dict.fromkeys(("closer", "forward", "forwards"), "in")
_WAYS |= dict.fromkeys(("back", "backward", "backwards", "away"), "out")
_WAYS |= {"unten": "down", "推近": "in", "拉远": "out", "heran": "in", "heraus": "out"}
_OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up", "in": "out", "out": "in"}
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
    r"|\bscene (?:then |abruptly |suddenly )?(?:cuts|switches|jumps) (?:from [^.;\n]{1,60}? )?to\b"
    r"|\bwe (?:then |now |next |suddenly )?cut to\b|\b(?:jump|smash|hard) cuts?\b(?! (?:of|on))|\bintercut"
    r"|\b(?:another|a new|a different) (?:shot|scene|clip) "
    r"(?:shows?|depicts|features|reveals|presents|captures|follows)\b"
    r"|(?<!\[)\b(?:shot|scene) (?:[2-9]|two|three)\b"
    r"|\bit (?:then|abruptly|suddenly|next|later|finally) (?:cuts|switches|jumps) to\b"
    r"|\bthe (?:second|third|next|following) (?:shot|clip|scene)"
    r"(?:,| (?:shows?|is|depicts|features|reveals|presents|captures|focuses)\b)"
    rf"|\b{_VIDEO} {_FEW}"
    r"(?:consist|compos|made up|compris|compilation|contain|feature|divided|split|montage|series|sequence)"
    rf"{_FEW}\b{_MANY} (?:[\w-]+ )?(?:shots|clips|scenes|segments)\b(?! (?:of|with) {_DRINK})"
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
    moves = [name for name in measured.camera if name.split()[0] in _MOVES]
    claims = [claim for claim in _claimed(draft.plain) if not _NOT.search(claim[2][0])]
    if not measured.cuts_s and not any(
        f"{kind} {way}" in moves for kind, way, _ in claims
    ):  # else another shot may stand
        is_handheld = measured.camera == ("handheld",)
        for match in _STATIC.finditer(draft.plain):
            if moves or (is_handheld and _STEADY.search(match[0]) and not _is_little(draft.plain, match)):
                yield Hit("camera", *match.span(), why)
    stands = measured.camera == ("static",)
    for match in _MOTION.finditer(draft.plain) if stands else ():
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


def _is_little(text: str, match: re.Match[str]) -> bool:
    """Return whether the clause of a match speaks of a motion that may be too little to be measured."""
    return bool(_LITTLE.search(_clause(text, match)))


def _clause(text: str, match: re.Match[str]) -> str:
    """Return the words around a match up to the next mark."""
    start = max(text.rfind(mark, 0, match.start()) for mark in ".,;!?\n")
    ends = [end for mark in ".,;!?\n" if (end := text.find(mark, match.end())) >= 0]
    return text[start + 1 : min(ends, default=len(text))]
