"""Options of the statistics by the settings: the target and the trigger word."""

from captioner.config.settings import Settings
from captioner.dataset.statistics.statistics import StatisticsOptions
from captioner.dataset.targets import chosen_target
from captioner.dataset.token_limit import TokenLimit
from captioner.engine.tokenizers_here import find_tokenizer


def statistics_options(settings: Settings) -> StatisticsOptions:
    """Return the options by the target and the trigger word."""
    target = chosen_target(settings)
    return StatisticsOptions(
        TokenLimit(target, find_tokenizer(target.tokenizer, settings.models_folder)), settings.trigger_word.strip()
    )
