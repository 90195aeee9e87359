"""The closed list of camera movements that MiniMax-H3 knows, and words for others that captions use."""

import re

KNOWN = (
    "zoom in, zoom out, push in, pull out, pan, truck, tilt, pedestal, arc shot, tracking shot, static shot, POV, roll "
    "and shake"
)
# Verbs that may follow "camera": the movements of the list, and those that are no movement.
_MOVES = (
    r"zoom(?:s|ed|ing)?|push(?:es|ed|ing)?|pull(?:s|ed|ing)?|pan(?:s|ned|ning)?|truck(?:s|ed|ing)?|tilt(?:s|ed|ing)?"
    r"|pedestal(?:s|ed|ing)?|arc(?:s|ed|ing)?|track(?:s|ed|ing)?|roll(?:s|ed|ing)?|shak(?:es|ing|en)|shook|static|pov"
)
_STAYS = (
    r"cut(?:s|ting)?|transition(?:s|ed|ing)?|chang(?:es|ed|ing)|switch(?:es|ed|ing)?|is|was|remain(?:s|ed|ing)?"
    r"|stay(?:s|ed|ing)?|hold(?:s|ing)?|held|keep(?:s|ing)?|show(?:s|ed|ing)?|captur(?:es|ed|ing)|focus(?:es|ed|ing)?"
    r"|reveal(?:s|ed|ing)?|fram(?:es|ed|ing)|linger(?:s|ed|ing)?|stop(?:s|ped|ping)?|settl(?:es|ed|ing)|rest(?:s|ed|ing)?"
    r"|fac(?:es|ed|ing)|look(?:s|ed|ing)?|sees?|seeing|freez(?:es|ing)|paus(?:es|ed|ing)|sit(?:s|ting)?|wait(?:s|ed|ing)?"
    r"|ends?|ending|opens?|opening|records?|recording|observ(?:es|ed|ing)|watch(?:es|ed|ing)?|does|has|uses?|using"
    r"|maintain(?:s|ed|ing)?|flash(?:es|ed|ing)?|clicks?|clicking|fades?|fading|emphasiz(?:es|ing)|perform(?:s|ed|ing)"
)
_NOUNS = r"lens|lenses|angles|movements|operators|crews|bags|straps|settings|positions|moves|gears|views|phones|being"
_BETWEEN = r"(?:\s+(?:then|now|also|again|still|and|\w+ly|(?:begins?|starts?|continues?) to|begins|starts|continues))*"
_AFTER_CAMERA = re.compile(rf"\b[Tt]he\s+camera{_BETWEEN}\s+(?:is\s+|was\s+)?(\w+(?:s|ing|ed))\b")
_FINE = re.compile(rf"(?:{_MOVES}|{_STAYS}|{_NOUNS}|\w+ly)", re.IGNORECASE)
_OTHER = re.compile(
    r"\b(?:dolly(?:ing)?|dollies|dollied|crane\s+(?:shot|up|down|move\w*)|jib|steadicam|gimbal|handheld|hand-held"
    r"|orbit(?:s|ing|al)?\s+(?:shot|around|the)|boom\s+(?:shot|up|down)|whip[\s-]pan\w*|swish[\s-]pan\w*|crash[\s-]zoom\w*"
    r"|drone\s+shot|follow[\s-]shot|camera\s+(?:follow|orbit|dolly|drift|glide|fl(?:y|ies)|circle|swoop|crane)\w*)\b",
    re.IGNORECASE,
)


def unknown_movements(text: str) -> list[tuple[int, int]]:
    """Return where a text speaks of a camera movement that is not in the list, as in "the camera dollies in"."""
    found = {match.span(1) for match in _AFTER_CAMERA.finditer(text) if not _FINE.fullmatch(match[1])}
    for match in _OTHER.finditer(text):
        if not any(match.start() <= start < match.end() for start, _ in found):
            found.add(match.span())
    return sorted(found)
