"""Sets of 40 captions from templates: a constant, and one caption against the set."""

import random
from typing import NamedTuple

SUBJECTS = [
    "walks across a cobbled square", "sits on a worn leather sofa", "leans over a wooden balcony",
    "pours tea into a chipped cup", "reads a folded newspaper", "ties the laces of a boot",
    "looks through a stack of records", "waters a row of herbs", "rests against a painted wall",
    "opens a small parcel", "writes in a notebook", "buttons up a coat", "holds a lantern at arm's length",
    "peels an orange", "carries a crate of apples", "plays a few notes on a harmonica", "polishes a brass telescope",
    "repairs a toy boat", "folds a map", "whistles for a dog",
]  # fmt: skip
DETAILS = [
    "A ceramic vase stands nearby.", "Cables hang from the ceiling.", "Papers are scattered around.",
    "There is a faded poster on the wall.", "A bicycle leans in the corner.",
    "Pigeons gather at the edge of the frame.", "Dust floats in the air.", "A kettle steams on the stove.",
    "The floor is tiled in green and cream.", "Shelves full of jars line the back.", "A curtain moves gently.",
    "Someone passes by with a ladder.", "A cat sleeps on a cushion.", "Rust has eaten into the railing.",
    "An old radio sits on a stool.", "The plaster is cracked in places.",
]  # fmt: skip
MOODS = [
    "The atmosphere is calm and intimate.", "It feels like a memory.", "The mood is playful.",
    "Everything suggests patience and care.", "The composition is balanced.", "There is a sense of anticipation.",
    "The expression is thoughtful.", "The gesture is quick and confident.", "The textures are rich.",
    "The picture has a documentary feel.",
]  # fmt: skip


class HeldBackSet(NamedTuple):
    """A set. odd: the caption that contradicts the rest. slot: about what, None where nothing may be named."""

    constant: str | None
    slot: str | None
    odd: int | None
    captions: list[str]


def make(seed, who, filler, odd_at=None, odd="", skip=3):
    """40 captions with a sentence of each list of `filler`, but for `skip` of them; `odd` is the first at odd_at."""
    rng = random.Random(seed)
    captions = []
    for i in range(40):
        head, *tail = [f"{rng.choice(who)} {rng.choice(SUBJECTS)}.", rng.choice(DETAILS)]
        for k, pool in enumerate(filler):
            if i == odd_at and k == 0:
                tail.append(odd)
            elif (i * 7 + k * 11) % 40 >= skip or i == odd_at:
                tail.append(rng.choice(pool))
        tail.append(rng.choice(MOODS))
        rng.shuffle(tail)
        captions.append(" ".join([head, *tail]))
    return captions


def _strangers():
    captions = make(
        10,
        ["lena_tok", "The woman lena_tok"],
        [["Her red hair is loose.", "She has red hair.", "Her red hair is pinned up.", "The wind lifts her red hair."]],
        skip=5,
    )
    others = {
        4: "A man with black hair stands behind her.",
        15: "Beside her, a blonde girl laughs.",
        26: "In the background an old man with gray hair plays cards.",
        35: "Next to her a bald man checks his watch.",
    }
    return [c + (" " + others[i] if i in others else "") for i, c in enumerate(captions)]


SETS = [
    # What differs from clip to clip, as the camera and the time of day, is no contradiction to the set.
    HeldBackSet(
        "silver locket",
        "Hair color",
        17,
        make(
            1,
            ["mira_tok", "The woman mira_tok", "mira_tok, a young woman,"],
            [
                [
                    "Her long blonde hair is tied with a ribbon.",
                    "She has blonde hair that falls to her waist.",
                    "Wisps of blonde hair frame her face.",
                    "Her blond hair is braided.",
                    "Her hair is golden blonde and loose.",
                ],
                [
                    "A silver locket hangs around her neck.",
                    "She wears a silver locket.",
                    "The silver locket catches the light.",
                ],
            ],
            17,
            "Her short black hair is combed back.",
        ),
    ),
    HeldBackSet(
        "striped scarf",
        "Eye color",
        5,
        make(
            2,
            ["A boy", "The boy", "A freckled boy", "A young boy"],
            [
                [
                    "His green eyes are wide open.",
                    "He has bright green eyes.",
                    "His eyes are green and attentive.",
                    "Green eyes look past the camera.",
                ],
                [
                    "He wears a striped scarf.",
                    "A striped scarf is wound around his neck.",
                    "The striped scarf is a little too long.",
                ],
            ],
            5,
            "His brown eyes look tired.",
        ),
    ),
    HeldBackSet(
        "tweed jacket",
        "Beard",
        30,
        make(
            3,
            ["An old man", "The old man", "A tall old man"],
            [
                [
                    "He has a full white beard.",
                    "His long beard reaches his chest.",
                    "A bushy beard covers half of his face.",
                    "The bearded man frowns in concentration.",
                ],
                [
                    "He wears a tweed jacket.",
                    "A tweed jacket hangs from his shoulders.",
                    "His tweed jacket is patched at the elbows.",
                ],
            ],
            30,
            "His face is clean-shaven.",
        ),
    ),
    HeldBackSet(
        "muted palette",
        "Kind of picture",
        9,
        make(
            4,
            ["A woman", "A man", "A child", "A monk", "A sailor"],
            [
                [
                    "The image is a watercolor painting.",
                    "This watercolor shows loose washes and paper grain.",
                    "It is painted in watercolor.",
                    "A watercolor illustration with soft edges.",
                ],
                [
                    "The muted palette consists of ochre and gray.",
                    "A muted palette sets the tone.",
                    "It has a muted palette.",
                ],
            ],
            9,
            "The image is a photograph with a shallow depth of field.",
        ),
    ),
    HeldBackSet(
        "red umbrella",
        None,
        22,
        make(
            5,
            ["A woman", "A man", "A couple", "A girl", "A clown"],
            [
                [
                    "The camera remains static.",
                    "It is a static shot.",
                    "The camera is fixed.",
                    "The camera stays still throughout the clip.",
                    "The shot is stationary.",
                ],
                [
                    "A red umbrella leans against the wall.",
                    "Behind it lies a red umbrella.",
                    "One can see a red umbrella in the background.",
                ],
            ],
            22,
            "The handheld camera moves along with the action.",
        ),
    ),
    HeldBackSet(
        "film grain",
        None,
        13,
        make(
            6,
            ["A woman", "A man", "A cyclist", "A dog walker", "A girl"],
            [
                [
                    "It is night and the lamps are lit.",
                    "The scene takes place at night.",
                    "The night sky is visible above.",
                    "At night the colors are subdued.",
                ],
                [
                    "The film grain is pronounced.",
                    "Visible film grain covers the image.",
                    "Strong film grain adds texture.",
                ],
            ],
            13,
            "It is midday and the sun stands high.",
        ),
    ),
    HeldBackSet(
        "paper crown",
        None,
        33,
        make(
            7,
            ["A king", "A boy", "An actress", "A girl"],
            [
                [
                    "The image is a close-up.",
                    "A close-up shot that shows every detail of the face.",
                    "It is shot as a close-up.",
                    "The close-up view brings out the skin.",
                ],
                [
                    "A paper crown sits on the head.",
                    "The paper crown is made of gold foil.",
                    "There is a torn paper crown.",
                ],
            ],
            33,
            "A wide shot shows the whole hall.",
        ),
    ),
    HeldBackSet(
        "copper kettle",
        None,
        2,
        make(
            8,
            ["A woman", "A man", "A boy", "A girl"],
            [
                [
                    "The scene is set indoors.",
                    "It is an indoor scene.",
                    "The picture was taken indoors.",
                    "The indoor setting is cozy.",
                ],
                ["A copper kettle is on the table.", "The copper kettle gleams.", "Beside it stands a copper kettle."],
            ],
            2,
            "The scene takes place outdoors among tall trees.",
        ),
    ),
    # Nothing agrees, or others stand beside the subject.
    HeldBackSet(
        None,
        None,
        None,
        make(
            9,
            ["A woman", "A man", "A boy", "A girl", "A nurse", "A sailor", "A monk", "A dancer"],
            [
                [
                    "Long black hair falls over the shoulders.",
                    "The hair is blonde.",
                    "Red hair peeks out from a cap.",
                    "White hair, neatly parted.",
                    "Brown hair tied in a knot.",
                ],
                ["It is night.", "Morning light falls in.", "The sun is setting.", "It is midday."],
                [
                    "The camera is static.",
                    "The camera pans left.",
                    "Handheld footage.",
                    "The camera zooms in.",
                    "A close-up shot.",
                    "A wide shot from a low angle.",
                ],
            ],
            skip=8,
        ),
    ),
    HeldBackSet(None, None, None, _strangers()),
]
