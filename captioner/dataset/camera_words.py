"""How captions say what the camera does, as patterns without groups: it stands, it moves, it pans left and so on.

They are put together from subjects, verbs and directions, so that a verb or a subject is added for all of them at once.
The linter compares them with what was measured, and the statistics look for two of them in one caption.
"""

from collections.abc import Iterable


def _any(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(words)})"


def _verb(stems: str) -> str:
    """Return a pattern for all forms of verbs: "pan" for pan, pans, panned and panning, "mov" for move, moves ..."""
    return rf"(?:{stems})(?:e|es|s|ed|ing|[npt]ed|[npt]ing|y|ies|ying|ied)?"


CAMERA = (
    r"camera(?! crew|[ -]?m[ae]n|[ -]?wom[ae]n| operator|['’]s operator| bag| cart| strap| body| shop| store| drone)"
)
_FRAME = r"frame(?! of (?:a|an|the|his|her)\b)"
_PICTURE = (
    rf"(?<!\bhis )(?<!\bher )(?<!\btheir )"
    rf"(?:{CAMERA}|lens|view|viewpoint|shot|{_FRAME}|framing|perspective)"
)
# It does something by itself: "the camera", "our view"; "the frame" and "a video camera" may be things.
_ACTOR = (
    rf"\b(?:(?:the|our|this) {CAMERA}|(?:a |the )?(?:hand-?held|shaky|moving|tracking|drone) {CAMERA}"
    r"|(?:the|our) (?:[\w-]+ )?(?:view|viewpoint|perspective))"
)
_ADVERB = r"(?: (?:\w+ly|then|also|now|next|again|ever|further|once more))"
_STARTS = (
    r"(?: (?:that|which))?(?: (?:is|has|will|can be seen|begins?(?: to| by)?|starts?(?: to| by)?|continues?(?: to)?))?"
)
DOES = rf"{_ACTOR}{_STARTS}{_ADVERB}{{0,2}} "  # ... and a verb
# Words of the same clause.
FEW_WORDS = r"(?:(?!\b(?:who|which|shows?|depicts?|as|while|where)\b)[^.,;:!?\n\x00]){0,40}?"
_NEARLY = r"(?!largely|mostly|mainly|nearly|almost|relatively|fairly|rather|quite|generally|somewhat)"
_ADJECTIVE = "(?:sweeping|smooth|steady|fluid|continuous|slow|quick|fast|rapid|long|gradual|dramatic|gentle)"

_TURNS = "pan|sweep|swivel|pivot|whip"
_GOES = "turn|swing|rotat|slid|shift|truck|track|mov|glid|drift|travel|float|fl"
_ALONG = r"(?:(?:along|across) [\w ]{1,25} )?"

_STILL = _any((
    "static", "stationary", "fixed", r"locked(?:[- ](?:off|down))?", "motionless", "immobile", "unmoving",
    r"rock[- ](?:solid|steady)",
))  # fmt: skip
_SIZE = (
    r"(?:[\w-]+-(?:angle|level|up|facing|down|length)"
    "|wide|medium|close|full|long|single|continuous|aerial|overhead|tripod|frontal|steady|camera)"
)
STATIC = _any((
    rf"\b{_STILL},?(?: {_SIZE},?){{0,3}} "
    rf"(?:{CAMERA}(?! angle)|shot|{_FRAME}|framing|view(?:point)?|perspective|vantage point)\b",
    rf"\b{_STILL}(?:,? \w+)? (?:{CAMERA}(?! angle)|shot|{_FRAME}|framing|view)\b",
    rf"\bcamera\b (?:\w+ )?(?:is|remains?|stays?|holds?|keeps?|sits?)(?: {_NEARLY}\w+)? "
    rf"(?:steady and )?(?:{_STILL}|still|in place)\b",
    r"\b(?:shot|frame|framing|footage|camera ?work|camera (?:angle|position)|view(?:point)?|perspective|vantage point) "
    rf"(?:is|remains?|stays?)(?: {_NEARLY}\w+)? (?:{_STILL}|unchanged)\b(?! (?:to|on|with|by)\b)",
    r"\bcamera [\w ]{0,20}(?:static|fixed|stationary) (?:position|perspective|viewpoint|vantage point|frame)\b",
    rf"\bcamera\b{FEW_WORDS}\b(?:does not|doesn['’]t|never) (?:mov|waver|budg|stir|shift)(?:es|e|s)?\b",
    r"\bno camera (?:movements?|motion)\b(?! (?:until|except|other|apart))",
    r"\bwithout (?:any )?camera (?:movements?|motion)\b",
    r"\b(?:tripod|locked[- ](?:off|down)|rock[- ](?:solid|steady))(?: \w+)? "
    r"(?:shot|footage|camera|view|framing|video)\b",
    r"\b(?:filmed|shot|recorded|captured) (?:from|on|with) a (?:[\w-]+ )?tripod\b",
    r"\bcamera (?:\w+ ){0,4}on(?:to)? (?:a|its|the) (?:[\w-]+ ){0,2}(?:tripod|mount)\b",
    r"\bon a (?:[\w-]+ )?tripod, the camera\b",
    r"固定镜头|固定机位|静止镜头|(?:镜头|机位|画面视角)[^，。；,.]{0,6}?(?:静止|固定|不动)",
    r"\bstatische (?:Kamera|Einstellung)|\bKamera (?:ist|bleibt) (?:statisch|unbewegt|fest)",
))  # fmt: skip

# Motion without a direction that is measured.
MOVING = _any((
    rf"{DOES}(?:{_verb('orbit|circl|arc|truck|doll|cran|glid|travel|drift|float|roam|wander|fl|spin|rotat')}"
    rf"|{_verb('shak|wobbl|bounc|bob|jitter|jolt|judder|trembl|sway')}"
    rf"|{_verb(_TURNS + '|tilt')})\b",
    r"\b(?:shaky|shaking|bouncing|wobbly|jittery|jerky),? (?:handheld )?(?:camera|footage|shot)",
    r"\b(?:footage|camera(?: ?work)?|shot) is (?!not|never)(?:\w+ )?(?:shaky|jerky|shaking|bouncing|wobbly|jittery)\b",
))  # fmt: skip


def _pan(way: str, other: str, word: str, german: str) -> str:
    across = rf"from (?:the )?{other}(?: side)? (?:to|toward|towards) (?:the )?{way}\b"
    to = rf"(?:{across}|(?<!\bfrom )(?<!\bfrom the ){way}(?:wards?)?\b)"
    in_place = r"up|into|through|in|behind|next|beside|at|on|past|to (?:the|a|an|his|her|its|their|left|right)"
    return _any((
        rf"\b{_PICTURE}\b{FEW_WORDS}\b{_verb(_TURNS)}\b{FEW_WORDS}{to}",
        rf"{DOES}{_verb(_GOES)}\b{_ADVERB}{{0,2}} {_ALONG}(?:around )?"
        rf"(?:{across}|(?:(?:to|towards?) (?:the )?)?{way}(?:wards?)?\b(?! (?:{in_place})\b))",
        rf"\bpanning (?:shot )?(?:to (?:the )?)?{to}",
        rf"\b(?:camera|{_ADJECTIVE}) pan (?:to (?:the )?)?{way}\b",
        rf"\b{way}(?:ward)? (?:camera )?pan\b(?! (?:of|on|with|full) )",
        rf"镜头[^，。；,.]{{0,4}}?向{word}[^，。；,.]{{0,4}}?(?:摇|移|转|扫)|\bKamera schwenkt nach {german}\b",
    ))  # fmt: skip


def _tilt(way: str, verbs: str, word: str, german: str) -> str:
    return _any((
        rf"\b{_PICTURE}\b{FEW_WORDS}\b{_verb('tilt')}\b{FEW_WORDS}\b{way}(?:wards?)?\b",
        rf"{DOES}{_verb(f'{_TURNS}|{_GOES}|cran|boom')}\b{_ADVERB}{{0,2}} "
        rf"(?:{way}wards?\b|{way}\b(?= (?:along|over|from|past|the)\b|[.,;]))",
        rf"\bthe {CAMERA}{_STARTS}{_ADVERB}{{0,2}} {_verb(verbs)}\b(?! (?:away|in|out|off|upon)\b)",
        rf"\b(?:camera|{_ADJECTIVE}) tilt {way}(?:wards?)?\b|\b{way}ward (?:camera )?tilt\b",
        rf"镜头[^，。；,.]{{0,4}}?向{word}[^，。；,.]{{0,4}}?(?:摇|移|仰|俯)"
        rf"|\bKamera (?:schwenkt|neigt sich) nach {german}\b",
    ))  # fmt: skip


def _zoom(verbs: str, ways: str, way: str, reframes: str, chinese: str, german: str) -> str:
    sides = r"(?! (?:the )?(?:left|right|upper|lower|up|down)\b)"
    return _any((
        rf"\b{_PICTURE}\b{FEW_WORDS}\b{_verb('zoom|push|pull|doll')}\b (?:\w+ )?(?:{ways})\b",
        rf"{DOES}{_verb(verbs)}\b{_ADVERB}{{0,2}} (?:{ways})\b{sides}(?! (?:a|an|its|and forth|to)\b)",
        rf"\b(?:the|our) (?:view|shot|frame|framing|perspective){_STARTS}{_ADVERB}{{0,2}} {_verb(reframes)}\b",
        rf"\b(?:camera )?zoom(?:ing)? {way} (?:on|from|to|shot)\b|\b(?:camera|{_ADJECTIVE}) zoom[- ]{way}\b",
        rf"镜头[^，。；,.]{{0,4}}?(?:{chinese})|\bKamera zoomt {german}\b",
    ))  # fmt: skip


_NEARS = "mov|travel|track|draw|inch|creep|glid|press|fl|com"
MOVES = {
    ("pan", "left"): _pan("left", "right", "左", "links"),
    ("pan", "right"): _pan("right", "left", "右", "rechts"),
    ("tilt", "up"): _tilt("up", "ris|ascend|climb|lift", "上", "oben"),
    ("tilt", "down"): _tilt("down", "descend|lower|drop|sink", "下", "unten"),
    ("zoom", "in"): _zoom(
        f"{_NEARS}|clos",
        "in|inwards?|closer|nearer|forwards?|towards?(?! the (?:left|right|side|top|bottom))",
        "in",
        "tighten|narrow",
        "推近|推进|拉近",
        "heran",
    ),
    ("zoom", "out"): _zoom(
        f"{_NEARS}|back|drift|retreat",
        "out|outwards?|back|backwards?|away|farther",
        "out",
        "widen",
        "拉远|拉开|推远",
        "heraus",
    ),
}
