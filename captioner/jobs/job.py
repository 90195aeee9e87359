"""A job: built from the settings, kept by the journal as JSON, with a request for each item."""

import functools
import importlib.util
import itertools
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeVar

from captioner.captions.scores import question_about
from captioner.captions.text import Decoration
from captioner.config.presets import Preset, check_quantizable
from captioner.config.prompts import expand
from captioner.config.request_options import generation_options, sampling_plan
from captioner.config.servers import uses_this_machine
from captioner.config.settings import Settings
from captioner.dataset.cuts import with_cuts
from captioner.dataset.spans import with_span
from captioner.dataset.targets import NO_TARGET, Target, chosen_target, targets
from captioner.dataset.token_limit import TokenLimit
from captioner.dataset.windows import with_windows
from captioner.engine.adapter_files import check_adapter
from captioner.engine.download import find_model
from captioner.engine.special_tokens import find_special, stored_special_tokens
from captioner.engine.tokenizers_here import find_tokenizer
from captioner.errors import ModelError, PromptError
from captioner.jobs.estimate import longest_request
from captioner.jobs.remedies import all_notes, longest_note, longest_options
from captioner.jobs.repair import Repair
from captioner.jobs.window_notes import longest_windows_note
from captioner.replicas.ray_cluster import RAY_MISSING
from captioner.system.clusters import PREFIX, is_cluster
from captioner.system.devices import check_quantization, expand_devices
from captioner.system.endpoints import is_endpoint, parse_endpoint
from captioner.system.pinning import Within
from captioner.values import CaptionRequest, ExistingPolicy, GenerationOptions, MediaItem, ModelSpec, SamplePlan

T = TypeVar("T", ModelSpec, SamplePlan, GenerationOptions)
FindModel = Callable[[Callable[[int, int], None]], Path]  # on_bytes(done, total) -> folder of the model's files
Losses = Mapping[str, int]  # item name -> replicas lost while they worked on it
NO_FILES = Path(os.devnull)  # a folder without files
_request_ids = itertools.count(1)


@dataclass(frozen=True)
class Model:
    """A model to load: its name for people, how to find its files, and one spec for each replica."""

    name: str
    find: FindModel
    specs: tuple[ModelSpec, ...]

    @functools.cached_property
    def max_tokens(self) -> int:
        """The tokens of the longest expected request, prompt and caption; 0: unknown."""
        return max((spec.max_tokens for spec in self.specs), default=0)


@dataclass(frozen=True)
class Job:
    """The files to caption and how: a copy of the settings at the start of the job."""

    items: tuple[MediaItem, ...]
    model: Model
    prompt: str  # its variables are filled in for each item at its turn
    plan: SamplePlan = field(default_factory=SamplePlan)
    options: GenerationOptions = field(default_factory=GenerationOptions)
    existing: ExistingPolicy = "skip"
    decoration: Decoration = field(default_factory=Decoration)
    target: Target = NO_TARGET  # its form, and the limit of its tokens
    tokenizer: Path | None = None  # the file that counts them exactly
    save: bool = True  # False: captions are only emitted as events
    retry_cut: bool = False  # see jobs/attempts
    windows_beside: bool = False  # see jobs/windows
    consent: bool = False  # the user chose these very files: replace also captions that were changed outside
    repair: Repair | None = None  # caption only files that failed rules of the linter, until they do not

    def check_prompt(self, folder: Path) -> None:
        """Raise PromptError if the prompt contains a special token of the model in this folder."""
        prompt = expand(self.prompt, name="", folder="", trigger=self.decoration.trigger, existing=str)
        prompt += self.decoration.trigger if self.repair else ""
        if token := find_special(prompt, stored_special_tokens(folder)):
            raise PromptError(f"the prompt contains {token}, which is a special token of the model; remove it")

    def request(
        self,
        item: MediaItem,
        read_caption: Callable[[Path], str],
        plan: SamplePlan,
        options: GenerationOptions,
        within: Within,
        *notes: str,
    ) -> CaptionRequest:
        """Return the request for an item, with its own seed and notes behind the prompt. Raise as `read_caption`."""
        names = {"name": Path(item.filename).stem, "folder": item.folder.name, "trigger": self.decoration.trigger}
        prompt = expand(self.prompt, **names, existing=lambda: read_caption(item.caption_path))
        if self.options.scores:
            prompt = question_about(item, read_caption)
        prompt = "\n\n".join([prompt, *filter(None, notes)])
        seed = (options.seed ^ zlib.crc32(item.name.encode("utf-8", "surrogateescape"))) & 0x7FFFFFFF
        options = replace(options, seed=seed)
        return CaptionRequest(
            next(_request_ids), item.path, item.kind, plan, prompt, options, self.model.max_tokens, within
        )


def build_job(
    items: tuple[MediaItem, ...], settings: Settings, preset: Preset, prompt: str, repair: Repair | None = None
) -> Job:
    """Return a job over these items. Raise what `build_model` raises.

    A repair may take twice the tokens and tells the model more. It captions long clips as a whole, not by windows.
    """
    if repair:
        settings = settings.model_copy(update={"existing": "overwrite", "retry_cut": True, "windows": "none"})
    model = build_model(settings, preset, prompt + (all_notes(settings.trigger_word) if repair else ""))
    plan, options = job_plan(settings, preset), generation_options(settings, preset)
    decoration = Decoration(settings.trigger_word, settings.caption_prefix, settings.caption_suffix)
    chosen = chosen_target(settings)
    tokenizer = find_tokenizer(chosen.tokenizer, settings.models_folder) if chosen.token_limit else None
    return Job(
        items,
        model,
        prompt,
        plan,
        options,
        settings.existing,
        decoration,
        chosen,
        tokenizer,
        retry_cut=settings.retry_cut,
        windows_beside=settings.windows_beside,
        repair=repair,
    )


def job_plan(settings: Settings, preset: Preset) -> SamplePlan:
    """Return which frames a job takes. Raise SettingsError for a span or windows that cannot be had."""
    target = chosen_target(settings)
    plan = with_cuts(with_span(sampling_plan(settings, preset), settings.span, target), target)
    return with_windows(plan, settings.windows, settings.windows_beside, target)


def build_model(settings: Settings, preset: Preset, prompt: str) -> Model:
    """Return the model as the settings want it loaded, with room in memory for this prompt.

    Raise ModelError for options that cannot be combined, as far as this is known before anything is loaded.
    """
    devices = expand_devices(settings.devices) if uses_this_machine(settings) else ()
    if devices:
        check_quantizable(preset, settings.quantization)
        check_quantization(settings.quantization, settings.dtype, devices)
    adapter = str(settings.adapter.absolute()) if settings.adapter else ""
    if adapter and settings.endpoint:
        raise ModelError("a model server merges no adapter of this machine; leave out --adapter or --endpoint")
    check_adapter(adapter, preset.source, settings.quantization)
    plan, options = job_plan(settings, preset), generation_options(settings, preset)
    spec = ModelSpec(
        source=preset.source,
        dtype=settings.dtype,
        quantization=settings.quantization,
        adapter=adapter,
        attention=settings.attention,
        sage_attention=settings.sage_attention,
        compile=settings.compile,
        batch_size=settings.batch_size,
        decode_threads=settings.decode_threads,
        max_tokens=longest_request(
            plan,
            prompt + longest_note(chosen_target(settings).caption_form) + longest_windows_note(plan),
            longest_options(options, settings.retry_cut),
        ),
    )
    servers = [parse_endpoint(address) for address in settings.endpoint]
    if servers and settings.endpoint_key and not os.environ.get(settings.endpoint_key):
        raise ModelError(f"the environment variable {settings.endpoint_key} for the key of the servers is not set")
    if settings.ray and importlib.util.find_spec("ray") is None:
        raise ModelError(RAY_MISSING)
    specs = (
        *(replace(spec, device=device) for device in devices),
        *([_cluster_spec(spec, settings)] if settings.ray else []),
        *(
            replace(spec, device=server.url, batch_size=server.num_requests, endpoint_key=settings.endpoint_key)
            for server in servers
        ),
    )
    return Model(preset.title, find_for(specs, model_finder(preset.source, settings)), specs)


def _cluster_spec(spec: ModelSpec, settings: Settings) -> ModelSpec:
    return replace(
        spec,
        device=f"{PREFIX}{settings.ray}",
        ray_workers=settings.ray_workers,
        ray_gpus=settings.ray_gpus,
        ray_cpus=settings.ray_cpus,
        offline=settings.offline,
    )


def find_for(specs: Sequence[ModelSpec], find: FindModel) -> FindModel:
    """Return how to find the files of a model for these replicas; model servers and nodes of clusters need none."""
    is_elsewhere = all(is_endpoint(spec.device) or is_cluster(spec.device) for spec in specs)
    return (lambda on_bytes: NO_FILES) if is_elsewhere else find


def model_finder(source: str, settings: Settings) -> FindModel:
    """Return a function that finds the files of a model, and downloads them unless the settings forbid it."""
    return lambda on_bytes: find_model(source, settings.offline, settings.models_folder, on_bytes)


class JobRequest(TypedDict):
    """All of a job but its items, in JSON. Released names never change: files of earlier versions are read."""

    folder: str
    recursive: bool
    model: dict[str, Any]  # its "name" and "specs"
    prompt: str
    plan: dict[str, Any]
    options: dict[str, Any]
    existing: ExistingPolicy
    decoration: list[str]
    retry_cut: NotRequired[bool]
    windows_beside: NotRequired[bool]
    repair: NotRequired[dict[str, Any] | None]
    target: NotRequired[dict[str, Any]]  # its name, form and token_limit, and the file of its tokenizer
    consent: bool
    newest_change: int  # ids in the tables of caption changes and of made captions when the job began
    newest_made: int
    within: NotRequired[list[str] | None]  # folders that were allowed when the job began; None: all


def request_for(job: Job, folder: Path, recursive: bool, ids: tuple[int, int]) -> JobRequest:
    """Return the request that `rebuild_job` builds the same job from. ids: see `unfinished.current_ids`."""
    return {
        "folder": str(folder),
        "recursive": recursive,
        "model": {"name": job.model.name, "specs": [asdict(spec) for spec in job.model.specs]},
        "prompt": job.prompt,
        "plan": asdict(job.plan),
        "options": asdict(job.options),
        "existing": job.existing,
        "decoration": list(job.decoration),
        "retry_cut": job.retry_cut,
        "windows_beside": job.windows_beside,
        "repair": job.repair.of({item.name for item in job.items}).to_json() if job.repair else None,
        "target": {
            "name": job.target.name,
            "form": job.target.form,
            "token_limit": job.target.token_limit,
            "tokenizer": str(job.tokenizer or ""),
        },
        "consent": job.consent,
        "newest_change": ids[0],
        "newest_made": ids[1],
    }


def rebuild_job(request: JobRequest, items: Sequence[MediaItem], find_model: Callable[[str], FindModel]) -> Job:
    """Return a job over `items` with the settings of a request. find_model: see `JobRunner.resume`."""
    specs = tuple(_build(ModelSpec, spec) for spec in request["model"]["specs"])
    model = Model(request["model"]["name"], find_for(specs, find_model(specs[0].source)), specs)
    plan, options = _build(SamplePlan, request["plan"]), _build(GenerationOptions, request["options"])
    decoration = Decoration(*request["decoration"])
    target, tokenizer = _rebuild_target(request.get("target", {}))
    limit, repair = TokenLimit(target, tokenizer), request.get("repair")
    return Job(
        tuple(items),
        model,
        request["prompt"],
        plan,
        options,
        request["existing"],
        decoration,
        target,
        tokenizer,
        retry_cut=request.get("retry_cut", False),
        windows_beside=request.get("windows_beside", False),
        consent=request["consent"],
        repair=Repair.from_json(repair, limit, decoration.trigger.strip()) if repair else None,
    )


def _rebuild_target(kept: Mapping[str, Any]) -> tuple[Target, Path | None]:
    """Return the target of a request, and the file of its tokenizer."""
    known = targets().get(kept.get("name", ""), NO_TARGET)
    form, limit = kept.get("form", known.form), kept.get("token_limit", known.token_limit)
    path = Path(kept.get("tokenizer", ""))
    return replace(known, form=form, token_limit=limit), path if path.is_file() else None


def _build(kind: type[T], values: dict[str, Any]) -> T:
    names = {field.name for field in fields(kind)}  # another version of the program may have written other values too
    return kind(**{name: value for name, value in values.items() if name in names})
