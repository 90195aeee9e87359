"""Gives worker processes whose PYTHONPATH leads here an engine of a fixed speed, also those that Ray starts."""

import sys
from types import ModuleType

module = ModuleType("captioner.engine.choose")


def choose_core(model, spec):
    from tests.bench.sleeping import SleepingCore

    return SleepingCore(model, spec)


module.choose_core = choose_core
sys.modules[module.__name__] = module
