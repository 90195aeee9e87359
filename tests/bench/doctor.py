"""The doctor on a large folder whose media were probed before, for each trainer, with H3 captions and with one line."""

import tempfile
import time
from pathlib import Path

from captioner.captions.store import CaptionStore
from captioner.cli.bench.encoded_clips import ClipRecipe, make_clip
from captioner.cli.bench.report import Report
from captioner.config.settings import Settings
from captioner.dataset.doctor.examine import examine, look_at
from captioner.dataset.trainers import trainers
from captioner.media.facts import FactsCache
from captioner.media.probe import probe
from captioner.system.database import Database
from captioner.values import MediaInfo
from tests.bench.folder import link

RECIPE = ClipRecipe("5 s", "a.mp4", (256, 256), 5, 24, "libx264", {"preset": "veryfast"})
MAX_S = 20.0
LINE = "a red ball named {} rolls over a green table, stops at its edge and falls; the camera follows it to the floor\n"
FIELDS = f"integrated_multimodal_description: [Shot 1] {LINE}\noverall_soundscape: N/A\n\nnon_diegetic_music: N/A\n"


def bench_doctor(num_files: int = 50_000, as_json: bool = False) -> None:
    """Print the seconds to read the folder and to check it, and the findings, by trainer and target."""
    with tempfile.TemporaryDirectory(prefix="bench-doctor-") as name:
        root = Path(name) / "media"
        root.mkdir()
        source = make_clip(RECIPE, Path(name))
        for number in range(num_files):
            link(source, root / f"clip {number:06d}.mp4")
        info = probe(source)
        database = Database(Path(name) / "captioner.sqlite")
        report = Report(("trainer", "target", "read_s", "check_s", "findings", "target_s"), as_json)
        for target, text in (("ltx2", LINE), ("minimax-h3", FIELDS)):
            for number in range(num_files):
                (root / f"clip {number:06d}.txt").write_text(text.format(number), encoding="utf-8")
            for trainer in trainers():
                _measure(root, trainer, target, CaptionStore(database, Path(name) / "scratch"), info, report)
        report.end(num_files=num_files)
        database.close()


def _measure(root: Path, trainer: str, target: str, store: CaptionStore, info: MediaInfo, report: Report) -> None:
    facts = FactsCache(store.database, lambda path: info)  # probed once; from then on in the database
    started_s = time.perf_counter()
    scene = look_at(root, trainer, Settings(target=target), store, facts)
    read_s = time.perf_counter() - started_s
    found = examine(scene)
    check_s = time.perf_counter() - started_s - read_s
    report.add(trainer, target, round(read_s, 1), round(check_s, 1), len(found), MAX_S)
