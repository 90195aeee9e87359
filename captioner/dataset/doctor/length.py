"""The length of a caption in tokens, as an estimate from its characters."""

CHARACTERS_PER_TOKEN = 4.2  # of English prose, for the tokenizers of CLIP, umT5, Gemma and Qwen


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text has; each character that is not ASCII counts as one."""
    num_ascii = sum(character.isascii() for character in text)
    return round(num_ascii / CHARACTERS_PER_TOKEN) + len(text) - num_ascii
