"""The settings of a job as the journal keeps them in JSON: enough to build the job again and resume it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from captioner.captions.text import Decoration
from captioner.jobs.job import FindModel, Job, Model
from captioner.values import ExistingPolicy, GenerationOptions, MediaItem, ModelSpec, SamplePlan

T = TypeVar("T", ModelSpec, SamplePlan, GenerationOptions)


class ModelRequest(TypedDict):
    name: str
    specs: list[dict[str, Any]]


class JobRequest(TypedDict):
    """All but the items. Released names never change: files of earlier versions are read."""

    folder: str
    recursive: bool
    resumes: int | None  # the job of which it is the rest
    model: ModelRequest
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
    return Job(
        items=tuple(items),
        model=Model(request["model"]["name"], find_model(specs[0].source), specs),
        prompt=request["prompt"],
        plan=_build(SamplePlan, request["plan"]),
        options=_build(GenerationOptions, request["options"]),
        existing=request["existing"],
        decoration=Decoration(*request["decoration"]),
        consent=request["consent"],
    )


def _build(kind: type[T], values: dict[str, Any]) -> T:
    """Build a dataclass from values that another version of the program may have written; ignore unknown ones."""
    names = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in names})
