"""Options of the linter by the settings: the target, the trigger word and the prompts."""

from captioner.config.prompts import PromptLibrary
from captioner.config.settings import Settings
from captioner.dataset.lint.finding import LintOptions
from captioner.dataset.targets import chosen_target
from captioner.dataset.token_limit import TokenLimit
from captioner.engine.tokenizers_here import find_tokenizer
from captioner.errors import PromptError


def options_by(settings: Settings, prompts: PromptLibrary) -> LintOptions:
    """Return the options by the target, the trigger word and the prompts; a damaged file of prompts is left out."""
    target = chosen_target(settings)
    tokenizer = find_tokenizer(target.tokenizer, settings.models_folder) if target.token_limit else None
    try:
        texts = {prompt.text for prompt in prompts.list()}
    except PromptError:
        texts = set()
    return LintOptions(
        TokenLimit(target, tokenizer), settings.trigger_word.strip(), tuple(sorted({*texts, settings.prompt or ""}))
    )
