"""Sets of rounds 5 and 6, made like those of `sets`."""

from tests.dataset.held_back.sets import HeldBackSet, make

NEWER_SETS = [
    HeldBackSet(
        "leather satchel",
        "Hair color",
        11,
        make(
            21,
            ["A courier", "The courier", "A young courier"],
            [
                [
                    "Her auburn hair sticks out from under a cap.",
                    "Auburn hair is tucked behind her ears.",
                    "She has wavy auburn hair.",
                    "The wind tugs at her auburn curls.",
                ],
                [
                    "A leather satchel hangs at her side.",
                    "She clutches a leather satchel.",
                    "The leather satchel is open.",
                ],
            ],
            11,
            "Her hair is a pale, almost white blond.",
        ),
    ),
    HeldBackSet(
        "soft backlight",
        "Color of the picture",
        27,
        make(
            22,
            ["A dancer", "A cook", "A schoolboy", "An old lady"],
            [
                [
                    "The image is in black and white.",
                    "It is a black-and-white shot.",
                    "The monochrome image has deep shadows.",
                    "Rendered in grayscale, the scene looks timeless.",
                ],
                [
                    "A soft backlight outlines the figure.",
                    "Soft backlight falls through the blinds.",
                    "The soft backlight is gentle.",
                ],
            ],
            27,
            "The colorful image is dominated by teal and orange.",
        ),
    ),
    HeldBackSet(
        "wicker basket",
        None,
        8,
        make(
            23,
            ["A girl", "A boy", "A lady", "A monk"],
            [
                ["Rain is falling.", "The weather is rainy.", "Raindrops run down the pane.", "It is pouring."],
                [
                    "A wicker basket stands by the door.",
                    "There is a wicker basket.",
                    "The wicker basket is full of plums.",
                ],
            ],
            8,
            "The sky is clear and the sun is shining.",
        ),
    ),
    HeldBackSet(
        "pearl earring",
        "Eye color",
        19,
        make(
            31,
            ["A lady", "The lady", "A young lady"],
            [
                [
                    "She gazes out with dark brown eyes.",
                    "Her eyes are brown and calm.",
                    "Her brown eyes sparkle.",
                    "The light catches her brown eyes.",
                ],
                [
                    "A pearl earring dangles from her ear.",
                    "She touches her pearl earring.",
                    "One pearl earring is visible.",
                ],
            ],
            19,
            "There is something sad in her ice-blue eyes.",
        ),
    ),
    HeldBackSet(
        "brick chimney",
        "Kind of picture",
        36,
        make(
            32,
            ["A cat", "A stork", "A child", "A roofer"],
            [
                [
                    "It is a pixel art scene.",
                    "The pixel-art style is reminiscent of old games.",
                    "Drawn as pixel art.",
                    "This pixel art image uses few colors.",
                ],
                ["A brick chimney smokes behind.", "The brick chimney is crooked.", "There is a brick chimney."],
            ],
            36,
            "The photograph was taken with a telephoto lens.",
        ),
    ),
]
