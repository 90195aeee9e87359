"""Golden folders: a clean folder for each trainer, and one defect planted in it at a time."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.captions.store import CaptionStore
from captioner.config.settings import Settings
from captioner.dataset.doctor.examine import examine, look_at
from captioner.dataset.doctor.finding import Finding
from captioner.media.facts import FactsCache
from captioner.media.probe import probe
from captioner.system.database import Database
from tests.dataset import loaders
from tests.dataset.loaders import H3, HUNYUAN, LTX, WAN, Loaded, Rules
from tests.support.media_maker import make_picture, make_video

H3_TEXT = (
    "integrated_multimodal_description: [Shot 1] A medium shot of a red ball named {}.\n\n"
    "overall_soundscape: N/A\n\nnon_diegetic_music: N/A"
)
WORDS = {  # of the doctor for what a loader does
    "stops": ("stops", "crashes", "refuses"),
    "lost": ("out", "skips", "drops", "does not", "reads only", "reads the top", "finds no", "only with"),
    "empty": ("empty",),
    "changed": ("character", "line", "same", "takes", "becomes"),
    "taken": ("takes the file for media", "takes it for media"),
    "cut": ("takes", "first", "longest bucket"),
    "speed": ("as it is", "spreads"),
    "collides": ("same .pt file",),
}


UNSEEN = {  # what a loader does to pixels and tokens, only on some systems, or in its own way for each kind of damage
    "caption-orphan", "caption-platform", "caption-hidden", "caption-form", "caption-long", "manifest-orphan",
    "clip-mkv", "size-multiple", "audio-twice", "media-broken", "cache-collision",
}  # fmt: skip
SIDE_EFFECTS = {
    "caption-extension": ("one.caption",),
    "manifest-value": ("one.mp4",),
    "caption-hidden": ("one.mp4",),
    "cache-collision": ("one.mp4",),
}


@dataclass(frozen=True)
class Setting:
    """A trainer with a target, and its miniature loader. form: of the captions, with the stem for {}."""

    trainer: str
    target: str
    load: Callable[[Path], Loaded]
    rules: Rules
    clips: bool = True
    listed: str = ""  # the name of the list, if the trainer reads one
    form: str = "a red ball, {}"
    fps: float = 0  # of the clips; 0: that of the target


SETTINGS = {
    "musubi": Setting("musubi", "wan2.2", lambda folder: loaders.musubi(folder, WAN), WAN),
    "musubi-h3": Setting("musubi", "minimax-h3", lambda folder: loaders.musubi(folder, H3, True), H3, form=H3_TEXT),
    "pipe": Setting("diffusion-pipe", "hunyuanvideo1.5", lambda f: loaders.diffusion_pipe(f, HUNYUAN), HUNYUAN),
    "pipe-wan": Setting("diffusion-pipe", "wan2.1", lambda folder: loaders.diffusion_pipe(folder, WAN, i2v=True), WAN),
    "aitk": Setting("ai-toolkit", "wan2.2", lambda folder: loaders.ai_toolkit(folder, WAN), WAN, form="a red ball {}"),
    "aitk-h3": Setting("ai-toolkit", "minimax-h3", lambda folder: loaders.ai_toolkit(folder, H3), H3, form=H3_TEXT),
    "ltx": Setting("ltx-trainer", "ltx2.3", lambda f: loaders.ltx_trainer(f, LTX), LTX, listed="dataset.jsonl"),
    "onetrainer": Setting("onetrainer", "hunyuanvideo1.5", lambda f: loaders.onetrainer(f, HUNYUAN), HUNYUAN),
    "sd": Setting("sd-scripts", "sdxl", lambda folder: loaders.sd_scripts(folder, WAN), WAN, clips=False),
    "simpletuner": Setting("simpletuner", "ltx2", lambda folder: loaders.simpletuner(folder, LTX), LTX),
    "diffsynth": Setting("diffsynth", "wan2.2", lambda f: loaders.diffsynth(f, WAN), WAN, listed="metadata.json"),
}


class Folder:
    """A folder of one setting, which plants change. `meant` is what each media file is to be trained with."""

    def __init__(self, path: Path, setting: Setting, media: Path) -> None:
        self.path, self.setting, self._media = path, setting, media
        self.meant: dict[str, str] = {}
        path.mkdir()
        for stem in ("one", "two"):
            self.clip(f"{stem}.mp4") if setting.clips else self.image(f"{stem}.png")
            self.caption(stem)

    def clip(self, name: str, num_frames: int = 0, fps: float = 0, size: tuple[int, int] = (96, 64)) -> str:
        """Add a clip, by default one that the target is made for."""
        num_frames, fps = num_frames or self.setting.rules.frames, fps or self.setting.rules.fps
        made = self._media / f"{num_frames}-{fps}-{size[0]}x{size[1]}{Path(name).suffix.lower()}"
        if not made.exists():
            codec = "libvpx" if made.suffix == ".webm" else "libx264"
            make_video(made, num_frames, int(fps), size, codec=codec, options={"preset": "ultrafast"})
        return self._add(made, name)

    def image(self, name: str, size: tuple[int, int] = (128, 64)) -> str:
        """Add an image."""
        made = self._media / f"{size[0]}x{size[1]}{Path(name).suffix.lower()}"
        if not made.exists():
            make_picture(made, size)
        return self._add(made, name)

    def caption(self, stem: str, text: str | bytes | None = None, extension: str = ".txt") -> None:
        """Write the caption file of a stem, and say what is meant by it."""
        meant = self.setting.form.format(stem)
        for name in self.meant:
            if name.rpartition(".")[0] == stem:
                self.meant[name] = meant
        if not self.setting.listed:
            text = meant if text is None else text
            (self.path / f"{stem}{extension}").write_bytes(text if isinstance(text, bytes) else text.encode())

    def remove(self, name: str) -> None:
        """Delete a file of the folder."""
        (self.path / name).unlink()

    def rows(self) -> list[dict]:
        """Return the rows of a right list."""
        caption, media = ("prompt", "video") if self.setting.trainer == "diffsynth" else ("caption", "media_path")
        return [{media: name, caption: text} for name, text in self.meant.items()]

    def write_list(self, rows: list[dict] | str | None = None, name: str = "") -> None:
        """Write the list of a trainer that reads one, as JSON, JSONL or the text given."""
        rows, name = self.rows() if rows is None else rows, name or self.setting.listed
        lines = "\n".join(json.dumps(row) for row in rows) + "\n" if isinstance(rows, list) else rows
        text = json.dumps(rows) if name.endswith(".json") and isinstance(rows, list) else lines
        (self.path / name).write_text(text, "utf-8")

    def _add(self, made: Path, name: str) -> str:
        (self.path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(made, self.path / name)
        self.meant[name] = self.setting.form.format(name.rpartition(".")[0])
        return name


def effects(loaded: Loaded, folder: Folder) -> set[tuple[str, str]]:
    """Return (file, effect) of everything that the loader does other than it is meant to."""
    found = {(name, "stops") for name in loaded.stops}
    for name, meant in folder.meant.items():
        captions = loaded.captions.get(name)
        if name in loaded.stops:
            continue
        if captions is None:
            found.add((name, "lost"))
        elif not all(text.strip() for text in captions):
            found.add((name, "empty"))
        elif captions != [meant]:
            found.add((name, "changed"))
        if name in loaded.seconds and captions:
            num_frames, fps = loaders.read_clip(folder.path / name)
            found |= {(name, "cut")} if num_frames / fps - loaded.seconds[name] > 1 else set()
            found |= {(name, "speed")} if abs(loaded.speed[name] - 1) > 0.1 else set()
    names = {name.removeprefix("skipped ") for name in loaded.captions}
    return found | {(name, "taken") for name in names - folder.meant.keys()}


def doctor(folder: Path, key: str, tmp_path: Path, recursive: bool = True) -> list[Finding]:
    return doctor_of(folder, SETTINGS[key], tmp_path, recursive)


def doctor_of(folder: Path, setting: Setting, tmp_path: Path, recursive: bool = True, **settings: Any) -> list[Finding]:
    database = Database(tmp_path / "captioner.sqlite")
    store = CaptionStore(database, tmp_path / "scratch")
    try:
        facts = FactsCache(database, probe)
        return examine(
            look_at(folder, setting.trainer, Settings(target=setting.target, **settings), store, facts, recursive)
        )
    finally:
        database.close()


def assert_fits(found: Finding, folder: Folder) -> None:
    """Assert that the loader does to this file what the finding says, and nothing to another."""
    met = effects(folder.setting.load(folder.path), folder)
    assert {name for name, _ in met} <= {found.file, *SIDE_EFFECTS.get(found.code, ())}
    if found.code in UNSEEN:
        return
    for name, effect in met:
        if name == found.file:
            assert any(word in found.message for word in WORDS[effect]), (effect, found.message)
    assert found.severity == "note" or any(name == found.file for name, _ in met), found.message
