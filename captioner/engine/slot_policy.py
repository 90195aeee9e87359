"""How many slots of how many tokens to plan memory for, and what a shortage of it changes."""

from captioner.engine.cache import CachePlan
from captioner.engine.prepare import Prepared


class SlotPolicy:
    """Plain numbers: the engine asks it before it admits a request, and tells it what happened.

    Who runs short of memory beside others gets a plan of one slot to itself, and the others theirs again. Where that
    happens soon again, the plan for all gets half the slots, until the engine has had nothing to do.
    """

    def __init__(self, max_slots: int, max_tokens: int) -> None:
        """max_tokens: of the longest request expected, prompt and caption; 0: unknown."""
        self.limit = self._max_slots = max_slots
        self._expected = self._max_tokens = max_tokens  # as told, and the longest request that was planned for
        self._planned_slots = max_slots  # that the plan was made for; memory may have had fewer
        self._num_ended = 2 * max_slots  # requests since the last shortage
        self._alone: set[int] = set()

    def announce_longest(self, max_tokens: int) -> None:
        if max_tokens and max_tokens != self._expected:
            self._expected = self._max_tokens = max_tokens

    def on_idle(self) -> None:
        """Memory that was short may be there again."""
        self.limit = self._max_slots

    def wanted(self, request: Prepared) -> tuple[int, int]:
        """(tokens of a slot, most slots) to plan the memory for, when this request is the next to run."""
        if request.id in self._alone:
            return needed_tokens(request), 1
        return max(needed_tokens(request), self._max_tokens), self.limit

    def must_plan(self, request: Prepared, plan: CachePlan, idle: bool) -> bool:
        """Whether the plan does not do for the request, or, while nothing runs, is one for quite other requests."""
        num_slots = self.wanted(request)[1]
        if not plan.num_slots or self._planned_slots != num_slots or needed_tokens(request) > plan.slot_tokens:
            return True
        if not idle or num_slots == 1:
            return False
        wasteful = plan.num_slots < num_slots and 2 * self._max_tokens <= plan.slot_tokens
        return wasteful or self._max_tokens > plan.slot_tokens

    def on_planned(self, request: Prepared, slot_tokens: int) -> None:
        """The memory is now planned for this request, in slots for so many tokens."""
        self._planned_slots = self.wanted(request)[1]
        if request.id not in self._alone:
            self._max_tokens = slot_tokens

    def on_shortage(self, request: Prepared, num_slots: int) -> None:
        """The request ran out of memory, by itself, in a plan of several slots."""
        if self._num_ended < 2 * num_slots:
            self.limit = min(self.limit, num_slots) // 2
        self._num_ended = 0
        self._alone.add(request.id)

    def on_end(self, request_id: int) -> None:
        self._alone.discard(request_id)
        self._num_ended += 1


def needed_tokens(request: Prepared) -> int:
    """Of its prompt and its longest caption."""
    return request.num_prompt_tokens + request.options.max_new_tokens
