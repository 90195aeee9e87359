"""Decides how many slots of how many tokens the memory is planned for, and how a shortage changes that."""

from captioner.engine.cache import CachePlan
from captioner.engine.prepare import Prepared


class SlotPolicy:
    """Decides what memory to plan for a request. The engine reports to it what happened.

    A request that runs out of memory in a shared plan is retried alone in a one-slot plan; the others keep the shared
    one. If that happens again soon, the shared plan gets half the slots until the engine has been idle.
    """

    def __init__(self, max_slots: int, max_tokens: int) -> None:
        """Start with max_tokens for the longest expected request: prompt + caption, 0 = unknown."""
        self.limit = self._max_slots = max_slots
        self._expected = max_tokens  # as announced
        self._max_tokens = max_tokens  # the longest request that the memory was planned for
        self._planned_slots = max_slots  # requested in the current plan, which may have got fewer
        self._num_ended = 2 * max_slots  # requests that ended since the last shortage
        self._alone: set[int] = set()  # ids of requests that need a one-slot plan

    def announce_longest(self, max_tokens: int) -> None:
        """Plan for requests of this length, as in Core.announce_longest."""
        if max_tokens and max_tokens != self._expected:
            self._expected = self._max_tokens = max_tokens

    def on_idle(self) -> None:
        """Allow all slots again, since a shortage of memory may have passed."""
        self.limit = self._max_slots

    def wanted(self, request: Prepared) -> tuple[int, int]:
        """Return (tokens of a slot, maximum number of slots) to plan for if this request runs next."""
        if request.id in self._alone:
            return needed_tokens(request), 1
        return max(needed_tokens(request), self._max_tokens), self.limit

    def must_plan(self, request: Prepared, plan: CachePlan, idle: bool) -> bool:
        """Return True if the plan does not fit the request or, while nothing runs, wastes memory on longer ones."""
        num_slots = self.wanted(request)[1]
        if not plan.num_slots or self._planned_slots != num_slots or needed_tokens(request) > plan.slot_tokens:
            return True
        if not idle or num_slots == 1:
            return False
        wasteful = plan.num_slots < num_slots and 2 * self._max_tokens <= plan.slot_tokens
        return wasteful or self._max_tokens > plan.slot_tokens

    def on_planned(self, request: Prepared, slot_tokens: int) -> None:
        """Record that the memory is now planned for this request, in slots for `slot_tokens` tokens."""
        self._planned_slots = self.wanted(request)[1]
        if request.id not in self._alone:
            self._max_tokens = slot_tokens

    def on_shortage(self, request: Prepared, num_slots: int) -> None:
        """Record that this request ran out of memory as the only new one in a plan of several slots."""
        if self._num_ended < 2 * num_slots:
            self.limit = min(self.limit, num_slots) // 2
        self._num_ended = 0
        self._alone.add(request.id)

    def on_end(self, request_id: int) -> None:
        """Record that a request has ended."""
        self._alone.discard(request_id)
        self._num_ended += 1


def needed_tokens(request: Prepared) -> int:
    """Return the length of its prompt and its longest answer."""
    return request.num_prompt_tokens + request.options.max_tokens
