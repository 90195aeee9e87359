"""A caption with every field set."""

from captioner.values import Caption, GenerationOptions

CAPTION = Caption(
    text="A red ball.",
    model="demo",
    prompt="Describe.",
    options=GenerationOptions(max_new_tokens=64, temperature=0.7, top_p=0.8, top_k=20, seed=5, thinking_budget=9),
    frame_times_s=(0.0, 0.5),
    num_prompt_tokens=90,
    num_tokens=4,
    seconds=1.25,
    device="cpu",
    warning="cut short",
    finish_reason="stop",
    thinking="A ball?\n\nA red one.",
    adapter="/home/me/adapters/mine",
)
