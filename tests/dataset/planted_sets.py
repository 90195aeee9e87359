"""Makes sets of captions with planted constants and contradictions, among captions that only look alike."""

import random
from typing import NamedTuple

from captioner.dataset.statistics.folder import Captions, CaptionText

WHO = (
    "a potter",
    "the violinist",
    "an old fisherman",
    "a mechanic",
    "the baker",
    "a cyclist",
    "a nurse",
    "the gardener",
)
DOES = (
    "kneads clay",
    "tunes a string",
    "mends a net",
    "lifts a wheel",
    "rolls out dough",
    "checks a map",
    "folds linen",
)
WHERE = (
    "in a workshop",
    "by the harbor",
    "on a gravel road",
    "in a long corridor",
    "near a hedge",
    "at a market stall",
)
MORE = (
    "Dust hangs over the bench", "Steam rises from a kettle", "A dog sleeps in the corner", "Leaves skitter past",
    "Two crates are stacked high", "A bell swings overhead", "Tools lie in a row", "Water drips from a tap",
)  # fmt: skip
CONSTANTS = (
    "shallow depth of field", "cinematic lighting", "film grain", "ultra detailed", "ohwx woman", "blue background",
    "wearing a red scarf", "soft bokeh", "high resolution footage", "silver necklace", "muted color palette",
    "volumetric fog", "denim jacket", "wooden table",
)  # fmt: skip
FRAMES = ("Seen here: {}.", "The look is {}.", "It has {}, of course.", "Note: {}.", "{}, as ever.", "Also {}.", "{}.")
DECOYS = ("wet asphalt", "paper lantern", "brass instrument", "checkered floor", "gentle breeze", "oil painting")

# (slot, two sentences that cannot both be true)
IN_CAPTION = (
    ("Camera", "The camera remains static throughout.", "The camera slowly pans across the room."),
    ("Camera", "It is a static shot.", "The camera tracks the subject closely."),
    ("Camera", "The camera is completely still.", "A handheld camera gives an unsteady feel."),
    ("Camera", "There is no camera movement.", "The camera gently tilts upward."),
    ("Camera", "The fixed camera frames the bench.", "The camera is slowly moving forward."),
    ("Pan", "The camera pans slowly to the left.", "The camera is panning right along the wall."),
    ("Pan", "The camera pans left.", "It ends as the camera pans to the right."),
    ("Zoom", "The camera zooms in on the hands.", "The camera slowly zooms out."),
    ("Zoom", "The camera slowly pushes in.", "The camera pulls back over the roof."),
    ("Time of day", "The scene is lit by bright sunlight.", "The street is empty at night."),
    ("Time of day", "It is a sunny day.", "The moonlit yard is quiet."),
    ("Time of day", "The daytime light is harsh.", "The night sky is full of stars."),
    ("Inside or outside", "The scene is set indoors.", "The outdoor setting is calm."),
    ("Weather", "Heavy rain falls.", "The sky is cloudless."),
    ("Speed", "It plays in slow motion.", "It is a time-lapse of the work."),
    ("Angle of view", "It is filmed from a low angle.", "The high-angle view shows the floor."),
    ("Framing", "It is a close-up of the face.", "It is a wide shot of the yard."),
    ("Color of the picture", "It is a black and white film.", "The vibrant colors stand out."),
    ("Hair color", "She has long black hair.", "Her blonde hair moves in the wind."),
    ("Hair color", "Her hair is dark brown.", "The red-haired woman smiles."),
    ("Hair length", "She has short brown hair.", "Her long, wavy hair is tied back."),
    ("Eye color", "Her eyes are bright blue.", "She has striking green eyes."),
    ("Beard", "He is clean-shaven.", "He strokes his beard."),
    ("Kind of picture", "It is an anime scene.", "It is a photorealistic scene."),
)
# Sentences of two values that can both be true.
INNOCENT = (
    "The camera is static at first, then pans left.",
    "The camera pans to the left and then to the right.",
    "A woman with red hair talks to a man with black hair.",
    "Two girls, one with blonde hair and one with brown hair, laugh.",
    "It begins in a close-up of a hand, and then a wide shot of the street.",
    "The shot changes from daylight to a moonlit night.",
    "The camera does not pan, and it is static.",
    "A static shot without panning or tilting.",
    "She looks from the indoor stage through a window at the outdoor crowd.",
    "Her brown hair with blonde highlights is wet.",
    "A black cat sits on a white chair under a blue lamp.",
    "The night watchman works in a day shift.",
    "A photorealistic scene with an anime poster on the wall.",
    "He has no beard and is clean-shaven.",
    "A panda in vibrant colors stands beside a black and white cow.",
    "The camera follows the train.",
    "The shop is never open at night, only in bright sunlight.",
)
# (slot, sentences of the value that nearly all have, sentences of another one)
IN_SET = (
    ("Hair color", ("Her black hair is tied.", "She has long black hair."), ("Her blonde hair is tied.",)),
    ("Hair color", ("He has short red hair.", "His hair is red."), ("He has short gray hair.", "His hair is brown.")),
    ("Eye color", ("Her blue eyes are calm.", "She has pale blue eyes."), ("Her brown eyes are calm.",)),
    ("Eye color", ("His eyes are green.", "He has green eyes."), ("His eyes are dark brown.",)),
    ("Hair length", ("She has long hair.", "Her hair is long."), ("She has short hair.",)),
    ("Kind of picture", ("It is an anime scene.", "It is a hand-drawn cartoon."), ("It is live-action.",)),
    ("Beard", ("He has a full beard.", "The bearded man nods."), ("He is clean-shaven.",)),
)


class PlantedSet(NamedTuple):
    """A set with what was planted in it. contradictions: (slot, scope, number of the caption)."""

    captions: Captions
    constants: set[str]
    contradictions: set[tuple[str, str, int]]


def captions_of(texts: list[str]) -> Captions:
    """Return texts as captions of clips."""
    return Captions([CaptionText(f"{i:04d}.mp4", text, True, 0.0) for i, text in enumerate(texts)], 0, [])


def planted_set(seed: int, num_captions: int = 200) -> PlantedSet:
    """Return a set with contradictions within captions.

    It also has three constants, or if `seed` is odd a thing that nearly all captions agree about, but not five of them.
    """
    chance = random.Random(seed)
    sentences = [[_sentence(chance) for _ in range(3)] for _ in range(num_captions)]
    constants = [] if seed % 2 else chance.sample(CONSTANTS, 3)
    for phrases, shares in ((constants, (0.87, 0.92, 1.0)), (chance.sample(DECOYS, 2), (0.8, 0.6))):
        for phrase, share in zip(phrases, shares, strict=False):
            for number in chance.sample(range(num_captions), round(share * num_captions)):
                words = chance.choice(FRAMES).format(phrase)
                sentences[number].insert(chance.randrange(len(sentences[number])), words)
    numbers = list(range(num_captions))
    chance.shuffle(numbers)
    contradictions = set()
    for slot, *both in chance.sample(IN_CAPTION, 8):
        number = numbers.pop()
        chance.shuffle(both)
        sentences[number] += both
        contradictions.add((slot, "caption", number))
    for text in chance.sample(INNOCENT, 6):
        sentences[numbers.pop()].append(text)
    if seed % 2:
        slot, usual, others = chance.choice(IN_SET)
        odd = set(chance.sample(numbers, 5))
        for number in numbers:
            sentences[number].append(chance.choice(others if number in odd else usual))
        contradictions |= {(slot, "set", number) for number in odd}
    texts = [" ".join(each) for each in sentences]
    return PlantedSet(captions_of(texts), set(constants), contradictions)


def _sentence(chance: random.Random) -> str:
    who = chance.choice(WHO)
    text = f"{who[0].upper()}{who[1:]} {chance.choice(DOES)} {chance.choice(WHERE)}"
    return chance.choice((f"{text}.", f"{chance.choice(MORE)}.", f"{text} while something rattles."))
