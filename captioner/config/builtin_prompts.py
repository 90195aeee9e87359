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
    "LTX-2": (
        "Write a training caption for LTX-2 as one flowing paragraph under 200 words. Begin with the main action, then "
        "exact movements and gestures, the look of people and objects, the background, the camera angle and movement, "
        "the light and colors, and what is heard: speech in quotes with its speaker, sounds and music. Only what is "
        "there, in order of time, in the present tense."
    ),
    "MiniMax-H3": (
        "Write a training caption for MiniMax-H3 in exactly three fields, each on lines of its own with a blank line "
        "between them, with these labels and nothing else: integrated_multimodal_description: then overall_soundscape: "
        "then non_diegetic_music: . The first field is one flowing text of the shots: it begins with [Shot 1] and the "
        "style and shot size, then the subjects, what they do in order, the setting and the light. Each later shot "
        "begins with its number and the time of its cut, as in [Shot 2] At 00:03.500, the camera cuts to. Name camera "
        "movements only with: zoom in, zoom out, push in, pull out, pan, truck, tilt, pedestal, arc shot, tracking "
        "shot, static shot, POV, roll, shake. Write speech where it happens, as in: The woman (S1) says: <d>[English] "
        "Hello.</d> The second field is the other sounds in one to four sentences, N/A only if it is silent. The third "
        "field is music that nobody in the scene makes, N/A if there is none. State only what is there."
    ),
    "MiniMax-H3 still": (
        "Write a training caption of this still for MiniMax-H3 in exactly three fields, each on a line of its own with "
        "a blank line between them, with these labels and nothing else: integrated_multimodal_description: then "
        "overall_soundscape: N/A then non_diegetic_music: N/A. The first field is one paragraph that begins with "
        "[Shot 1] and the style and shot size, then the subjects and their looks, pose, setting, light and colors. No "
        "times, no speech, no camera movement. State only what can be seen."
    ),
    "Still image": (
        "Describe this image in one paragraph of 60 to 120 words: the subject and its visible traits, its pose or "
        "action, the setting, composition and angle, light and colors, and the medium or style. Quote written words "
        "exactly. State only what can be seen. Start with the subject, not with words such as 'The image shows'."
    ),
    "Ideogram 4": (
        "Describe this image as one JSON object in one line, without code fences, with these keys in this order. "
        "high_level_description: one or two sentences. style_description: an object with aesthetics, lighting, then "
        'either photo and medium "photograph", or medium and art_style. compositional_deconstruction: an object with '
        "background, a text, and elements, a list from back to front of objects with type obj or text, bbox as whole "
        "numbers [y_min, x_min, y_max, x_max] from 0 to 1000 with the origin at the top left, text only for the type "
        "text with the written words exactly, and desc, up to three sentences. State only what can be seen."
    ),
}
