"""Takes the answers of jobs that save no captions: trials, and jobs that score."""

from captioner.captions.scores import CaptionScores, score_of
from captioner.jobs.flights import Flight
from captioner.jobs.job import Job
from captioner.jobs.outcomes import Outcomes
from captioner.jobs.saving import stamp_of
from captioner.replicas.protocol import Answer, Finished, Scored
from captioner.system.database import Database
from captioner.values import Caption, MediaItem


class Unsaved:
    """Used by the thread that runs the job."""

    def __init__(self, job: Job, database: Database, outcomes: Outcomes) -> None:
        self._job, self._scores, self._outcomes = job, CaptionScores(database), outcomes

    def take(self, flight: Flight, answer: Answer) -> None:
        """Emit a caption, or keep a score. Raise StateError."""
        match answer:
            case Finished():
                self._on_caption(flight.item, answer.caption)
            case Scored():
                self._on_score(flight, answer)

    def _on_caption(self, item: MediaItem, caption: Caption) -> None:
        form = self._job.target.caption_form
        if text := form.clean(caption.text, caption.facts):
            self._outcomes.tried(item, form.decorate(text, self._job.decoration), caption)
        else:
            self._outcomes.failed(item, "the model returned an empty caption")

    def _on_score(self, flight: Flight, scored: Scored) -> None:
        item = flight.item
        if flight.stamp is None or stamp_of(item.path) != flight.stamp:
            self._outcomes.failed(item, "the file was changed while it was scored; score it again")
            return
        score = score_of(item, scored.prompt, scored.yes, scored.no, self._job.model.name)
        self._scores.keep(item, score)
        self._outcomes.scored(item, score, flight.replica.name, scored.warning)
