"""Settings and all their defaults. Precedence: defaults < settings file < environment < command line."""

import difflib
import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from captioner.config.allowed_values import ONE_LINE, describe_allowed
from captioner.config.checks import (
    auto_to_none,
    check_cluster,
    check_encoding,
    check_endpoints,
    check_extension,
    check_patterns,
    check_variable,
    check_windows,
    empty_to_none,
    split_list,
)
from captioner.config.json_file import read_json
from captioner.errors import SettingsError
from captioner.system.files import write_private
from captioner.system.paths import lacks_home, plain_path
from captioner.values import ExistingPolicy, KindFilter, Quantization, SpanMode

AUTO = "auto"  # the prompt_name of whoever chose none
ENVIRONMENT_PREFIX = "CAPTIONER_"
MAY_HOLD_KEYS = ("endpoint", "endpoint_key")  # if the user mistook them, so that messages do not repeat the value
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


FromModel = BeforeValidator(auto_to_none)  # "auto" becomes None, which stands for the model's recommended value
OptionalPath = Annotated[Path | None, BeforeValidator(empty_to_none)]


class Settings(BaseModel):
    """All that a user can set; the command line and the page show the descriptions and ranges to users."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field("auto", min_length=1, description="Preset, Hub id or model folder; auto chooses by hardware.")
    adapter: OptionalPath = Field(None, description="Folder of a LoRA adapter (PEFT) to merge into the model.")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="Number format of the weights; auto takes the best one that the device supports."
    )
    devices: Annotated[tuple[str, ...], BeforeValidator(split_list)] = Field(
        ("auto",), description="Devices to run on, one worker each; cpu,cpu gives two. auto takes every GPU."
    )
    endpoint: Annotated[
        tuple[str, ...], BeforeValidator(split_list), AfterValidator(check_endpoints), Field(max_length=64)
    ] = Field(
        (), description="Model servers with an OpenAI API, as http://host:8000; #4 at the end sends 4 clips at a time."
    )
    endpoint_key: Annotated[str, AfterValidator(check_variable)] = Field(
        "", description="Environment variable that holds the key of the servers; empty: OPENAI_API_KEY."
    )
    ray: Annotated[str, AfterValidator(check_cluster)] = Field(
        "",
        description="Ray cluster to run workers in: auto (the one of this machine), local (start one), or its address.",
    )
    ray_workers: int = Field(0, ge=0, le=1024, description="Workers in the Ray cluster; 0: as many as it has room for.")
    ray_gpus: float = Field(
        1.0, ge=0, le=1, description="GPUs of a worker in the Ray cluster; 0.5 lets two share one, 0 uses CPUs."
    )
    ray_cpus: int = Field(1, ge=1, le=256, description="CPUs that Ray reserves for a worker.")
    quantization: Quantization = Field(
        "none", description="Smaller weights for small NVIDIA GPUs, with bitsandbytes; captions get slightly worse."
    )
    batch_size: int = Field(0, ge=0, le=256, description="Clips that one device captions at a time; 0: as many as fit.")
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = Field(
        "auto", description="Attention implementation; auto takes the fastest one that works."
    )
    sage_attention: bool = Field(
        False, description="Experimental int8 attention for very long prompts, on NVIDIA GPUs."
    )
    compile: bool = Field(
        False, description="Compile the model: slower to start, faster on long jobs. Needs a C++ compiler."
    )
    offline: bool = Field(False, description="Never use the network; models must already be on this machine.")
    models_folder: OptionalPath = Field(None, description="Folder for downloaded models; empty for the default one.")

    target: str = Field(
        "none", min_length=1, description="Model that the captions will train; sets their form, length and prompt."
    )
    caption_form: Literal["auto", "paragraph", "tags", "h3", "json", "free"] = Field(
        "auto", description="Form of the captions; auto is that of the target."
    )
    token_limit: Annotated[int | None, FromModel] = Field(
        None, ge=0, le=100_000, description="Tokens above which a caption is marked; auto: the target's; 0: no limit."
    )
    target_fps: Annotated[float | None, FromModel] = Field(
        None, ge=1, le=240, description="Frame rate of the training; auto is that of the target."
    )
    target_frames: Annotated[int | None, FromModel] = Field(
        None, ge=1, le=10_000, description="Frames of a clip in the training; auto: the target's usual number."
    )

    span: SpanMode = Field(
        "none",
        description="Part of a clip to caption: what is trained (target: head), head, middle, whole or chunks; "
        "none: all of it.",
    )
    windows: Annotated[str, BeforeValidator(check_windows)] = Field(
        "none", description="Caption long clips window by window: scenes, or the seconds of each; none: as a whole."
    )
    windows_beside: bool = Field(
        False, description="Write the subtitles of windows beside the clips, not into the state folder."
    )
    fps: float = Field(2.0, ge=0.01, le=120, description="Frames per second to sample from long clips.")
    max_frames: int = Field(32, ge=2, le=1024, description="Maximum number of frames of a clip.")
    frame_size: int = Field(336, ge=32, le=2048, description="Longest side of a frame in pixels.")
    decode_threads: int = Field(0, ge=0, le=64, description="Threads that decode media; 0 chooses by CPU cores.")

    max_new_tokens: int = Field(512, ge=1, le=8192, description="Maximum length of a caption in tokens.")
    thinking_budget: Annotated[int | None, FromModel] = Field(
        None,
        ge=0,
        le=32768,
        description="Tokens to think before the caption, beside its length; auto: none if the model can do without.",
    )
    retry_cut: bool = Field(
        False, description="Try once more with twice the length if a caption is cut off; if it repeats, with a penalty."
    )
    temperature: Annotated[float | None, FromModel] = Field(
        None, ge=0, le=2, description="0 is greedy, higher is more varied; auto is the model's recommended value."
    )
    top_p: Annotated[float | None, FromModel] = Field(
        None, gt=0, le=1, description="Sample from the likeliest tokens of this total probability; 1 is no limit."
    )
    top_k: Annotated[int | None, FromModel] = Field(
        None, ge=0, le=1000, description="Sample from this many likeliest tokens; 0 is no limit."
    )
    repetition_penalty: Annotated[float | None, FromModel] = Field(
        None, ge=1, le=2, description="Above 1, penalizes words already in the caption (not the prompt)."
    )
    seed: int = Field(
        0, ge=0, le=2**32 - 1, description="The same seed gives the same captions; used only when sampling."
    )

    prompt: str = Field(
        "", max_length=20_000, description="Instruction to the model; if empty, the named prompt is used."
    )
    prompt_name: str = Field(
        AUTO, min_length=1, description="Prompt from the library to use; auto: the target's, or else Detailed."
    )
    existing: ExistingPolicy = Field("skip", description="What to do with a file that already has a caption.")
    captions_to: OptionalPath = Field(
        None, description="Folder for the captions, in the same subfolders as the media; empty: beside the media."
    )
    caption_extension: Annotated[str, AfterValidator(check_extension)] = Field(
        ".txt", description="Extension of caption files, such as .txt or .caption."
    )
    caption_encoding: Annotated[str, AfterValidator(check_encoding)] = Field(
        "auto",
        description="Encoding of captions that are not UTF-8; auto shows a guess, and asks before it is changed.",
    )
    trigger_word: str = Field(
        "", max_length=200, description="Added in front of captions that do not contain it; empty for none."
    )
    caption_prefix: str = Field("", max_length=200, description="Text added in front of every new caption.")
    caption_suffix: str = Field("", max_length=200, description="Text added after every new caption.")
    folder: OptionalPath = Field(None, description="Folder of videos and images.")
    recursive: bool = Field(False, description="Include subfolders.")
    kinds: KindFilter = Field("all", description="Files to list: all, or only one kind.")
    exclude: Annotated[tuple[str, ...], BeforeValidator(split_list), AfterValidator(check_patterns)] = Field(
        (), description="Files and folders to leave out, as in .gitignore; !masks/ brings masks back."
    )

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, devices: tuple[str, ...]) -> tuple[str, ...]:
        devices = tuple(device.strip().lower() for device in devices)
        if not devices or len(devices) > 64 or not all(_DEVICE.fullmatch(device) for device in devices):
            raise ValueError("no such device")
        if len(devices) > 1 and "auto" in devices:
            raise ValueError("auto must be the only device")
        return devices

    @field_validator(*ONE_LINE)
    @classmethod
    def _check_one_line(cls, text: str, info: ValidationInfo) -> str:
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
            raise ValueError("not one line of text")
        return text.strip() if info.field_name == "trigger_word" else text

    @field_validator("folder", "models_folder", "captions_to", "adapter")
    @classmethod
    def _expand_home(cls, path: Path | None) -> Path | None:
        if path and lacks_home(plain_path(str(path))):
            raise ValueError("no such user")
        return path and Path(plain_path(str(path)))


def allowed_values(name: str) -> str:
    """Return the allowed values of a setting in words that follow "give": "a number from 0 to 2, or auto"."""
    return describe_allowed(name, Settings.model_fields[name])


def problems(values: Mapping[str, Any]) -> dict[str, str]:
    """Check each value by itself and return what is wrong, for users: {name: "give a whole number ..."}."""
    try:
        known = {name: value for name, value in values.items() if name in Settings.model_fields and value is not None}
        Settings.model_validate(known)
    except ValidationError as error:
        wrong = dict.fromkeys(str(detail["loc"][0]) for detail in error.errors())
        return {name: f"give {allowed_values(name)}" for name in wrong}
    return {}


def resolve(file: Mapping[str, Any], environment: Mapping[str, str], overrides: Mapping[str, Any]) -> Settings:
    """Return the settings: defaults < file < environment (`CAPTIONER_<FIELD>`, lists with commas) < overrides.

    An empty variable and an override of None count as not given. Raises SettingsError, which says what is allowed.
    """
    values: dict[str, Any] = dict(file)
    sources = {name: f"{name} in the settings file" for name in file}
    for name in Settings.model_fields:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if environment.get(variable, "").strip():
            values[name], sources[name] = environment[variable].strip(), variable
    for name, value in overrides.items():
        if value is not None:
            values[name], sources[name] = value, name
    return _validate(values, sources)


def _validate(values: Mapping[str, Any], sources: Mapping[str, str]) -> Settings:
    for name in values:
        if name not in Settings.model_fields:
            source = sources.get(name, name)
            shown = source.replace(name, f"{name[:77]}...") if len(name) > 80 else source
            raise SettingsError(f"unknown setting {shown}{_suggest(name)}")
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        source, value = sources.get(name, name), values[name]
        if name in MAY_HOLD_KEYS:
            raise SettingsError(f"{source}: this value is not allowed; give {allowed_values(name)}") from None
        shown = repr(str(value) if isinstance(value, Path) else value)
        shown = shown if len(shown) <= 80 else f"{shown[:76]}...{shown[-1]}"
        raise SettingsError(f"{source}: {shown} is not allowed; give {allowed_values(name)}") from None


def _suggest(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), Settings.model_fields, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(Settings.model_fields)}"


class SettingsStore:
    """The settings file: one JSON object with the settings that differ from the defaults."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """Return the checked values of the file, {} if there is none. Raises SettingsError that names the file."""
        try:
            values = read_json(self.path)
            if not isinstance(values, dict):
                raise ValueError("not a JSON object")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SettingsError(f"cannot read the settings file {self.path}: {error.strerror}") from None
        except ValueError as error:  # also bad JSON and bad UTF-8
            raise SettingsError(f"the settings file {self.path} is damaged ({error}); correct or remove it") from None
        _validate(values, {name: f"{name} in {self.path}" for name in values})
        return values

    def save(self, settings: Settings) -> None:
        """Replace the file. Raises SettingsError if it cannot be written."""
        values = settings.model_dump(mode="json", exclude_defaults=True)
        data = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        try:
            write_private(self.path, data.encode())
        except OSError as error:
            raise SettingsError(f"cannot write the settings file {self.path}: {error.strerror}") from None
