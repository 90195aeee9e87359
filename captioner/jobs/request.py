"""The settings of a job as the journal keeps them in JSON: enough to build the job again and resume it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from captioner.captions.text import Decoration
from captioner.jobs.job import FindModel, Job, Model
from captioner.values import ExistingPolicy, GenerationOptions, MediaItem, ModelSpec, SamplePlan

T = TypeVar("T", ModelSpec, SamplePlan, GenerationOptions)


class JobRequest(TypedDict):
    """All but the items. Released names never change: files of earlier versions are read."""

    folder: str
    recursive: bool
    resumes: int | None  # the job of which it is the rest
    model: dict[str, Any]  # its "name" and "specs"
    prompt: str
    plan: dict[str, Any]
    options: dict[str, Any]
    existing: ExistingPolicy
    decoration: list[str]
    consent: bool
    newest_change: int  # ids in the tables of caption changes and of made captions when the job began
    newest_made: int


def request_for(job: Job, folder: Path, recursive: bool, resumes: int | None, ids: tuple[int, int]) -> JobRequest:
    """Return the request that `rebuild_job` builds the same job from. ids: see `unfinished.current_ids`."""
    return {
        "folder": str(folder),
        "recursive": recursive,
        "resumes": resumes,
        "model": {"name": job.model.name, "specs": [asdict(spec) for spec in job.model.specs]},
        "prompt": job.prompt,
        "plan": asdict(job.plan),
        "options": asdict(job.options),
        "existing": job.existing,
        "decoration": list(job.decoration),
        "consent": job.consent,
        "newest_change": ids[0],
        "newest_made": ids[1],
    }


def rebuild_job(request: JobRequest, items: Sequence[MediaItem], find_model: Callable[[str], FindModel]) -> Job:
    """Return a job over `items` with the settings of a request. find_model: see `JobRunner.resume`."""
    specs = tuple(_build(ModelSpec, spec) for spec in request["model"]["specs"])
    model = Model(request["model"]["name"], find_model(specs[0].source), specs)
    plan, options = _build(SamplePlan, request["plan"]), _build(GenerationOptions, request["options"])
    decoration, consent = Decoration(*request["decoration"]), request["consent"]
    return Job(tuple(items), model, request["prompt"], plan, options, request["existing"], decoration, consent=consent)


def _build(kind: type[T], values: dict[str, Any]) -> T:
    names = {field.name for field in fields(kind)}  # another version of the program may have written other values too
    return kind(**{name: value for name, value in values.items() if name in names})
