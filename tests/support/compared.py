"""A comparison with its captions, without a model that wrote them."""

import json

from captioner.library.comparisons.comparison import Answer, ComparedFile, Comparison, Contender
from captioner.library.comparisons.contenders import COMPARABLE
from captioner.library.comparisons.store import ComparisonStore
from captioner.system.database import path_text

WORDS = ("one", "two", "three", "four", "five", "six")


def keep_comparison(services, folder, count: int) -> Comparison:
    """Keep a comparison of all files with its captions, and without votes."""
    items = services.library.items
    defaults = {
        name: value for name, value in json.loads(services.settings.model_dump_json()).items() if name in COMPARABLE
    }
    contenders = []
    for each in range(count):
        chosen = {"temperature": 0.71931 + each / 1e5, "model": f"secretmodel-{each}", "prompt": f"SECRETPROMPT {each}"}
        contender = Contender(f"Secretname {each}", {**defaults, **chosen}, chosen["prompt"], "", 2.0 + each, 5)
        contenders.append(contender)
    answers = tuple(
        {item.name: Answer(f"Caption {WORDS[each]} of {item.filename}. " * 9, 90, 10) for item in items}
        for each in range(count)
    )
    files = tuple(ComparedFile(item.name, item.kind) for item in items)
    store = ComparisonStore(services.folder)
    return store.create(Comparison(0, 1.7e9, path_text(folder), False, 777001, tuple(contenders), files, answers))
