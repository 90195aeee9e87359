"""The prompts that come with the program, by name."""

BUILTIN_TEXTS = {
    "Detailed": (
        "Describe this video in one detailed paragraph. Cover the main subject and its appearance, what it does from "
        "start to end, the setting, the light and colors, and how the camera moves. State only what can be seen. "
        "Start with the subject, not with words such as 'The video shows'."
    ),
    "Short": (
        "Write one short caption of at most fifteen words: the subject, what it does, and where. "
        "State only what can be seen."
    ),
    "Wan": (
        "Write a training caption for the Wan video model: one paragraph of 80 to 120 words in the present tense. "
        "First the subject with its visible traits, then its motion step by step, then the scene, then light and mood, "
        "and last the shot size, camera angle and camera movement. No names, no guesses, no opening phrase."
    ),
    "HunyuanVideo": (
        "Write a training caption for HunyuanVideo in five plain sentences: what the scene is, the main subject and "
        "its looks, the motion in order, the background and light, and the camera shot and style. "
        "Present tense, only what can be seen."
    ),
    "LTX": (
        "Write a training caption for LTX-Video as one flowing paragraph under 200 words. Begin with the main action, "
        "then exact movements and gestures, the look of people and objects, the background, the camera angle and "
        "movement, the light and colors, and any sudden change. Be literal and precise, in order of time."
    ),
    "Character LoRA": (
        "Caption this clip for training a character. Do not describe what always belongs to the character, such as "
        "face, hair or build. Do describe what changes from clip to clip: clothing, pose, expression, action, "
        "surroundings, light and framing. One or two plain sentences."
    ),
    "Style LoRA": (
        "Caption this clip for training a visual style. Describe only the content: who or what is seen, what happens "
        "and where. Do not mention the style, medium, technique, palette or mood, so that the trigger word learns "
        "them. One or two plain sentences."
    ),
    "Motion and camera": (
        "Describe only motion. First how the subject moves: direction, speed and order of events. Then how the camera "
        "moves: static, pan, tilt, zoom, dolly, orbit or handheld, with direction and speed. "
        "Two or three plain sentences."
    ),
    "Tags": (
        "List comma-separated tags in lowercase, most important first: subject, looks, action, setting, objects, "
        "colors, light, shot type. Ten to twenty-five tags, no sentences, no repeats."
    ),
}
