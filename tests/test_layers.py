"""A module imports only from lower layers, and heavy libraries stay in their own modules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS = {
    "redaction": 0,
    "errors": 0.5,
    "roots": 0.8,
    "command": 1,
    "processes": 1,
    "values": 1,
    "builtin_prompts": 1,
    "files": 1,
    "database": 1.5,
    "facts": 1,
    "progress": 1.5,
    "events": 2,
    "presets": 2,
    "prompts": 2,
    "cleanup": 2,
    "resources": 2,
    "container": 2,
    "pictures": 2.2,
    "media": 2.5,
    "devices": 3,
    "settings": 3,
    "operations": 2,
    "provenance": 2,
    "states": 2,
    "changes": 2.5,
    "undo": 2.7,
    "captions": 3,
    "recent": 3,
    "job": 3.5,
    "runs": 3,
    "video": 2.3,
    "decode": 3.2,
    "frames": 3.5,
    "sheet": 4,
    "plan": 4,
    "thumbnails": 4.5,
    "engine": 5,
    "replicas": 6,
    "recorder": 4,
    "remainder": 5,
    "journal": 6,
    "ledger": 6,
    "backlog": 6,
    "sandbox": 6.5,
    "dispatch": 6.5,
    "jobs": 7,
    "filestates": 6.5,
    "library": 7,
    "bulk": 7.5,
    "services": 8,
    "demo": 9,
    "bench": 9.5,
    "bulk_command": 9.5,
    "caption_command": 9.5,
    "ui": 10,
    "cli": 10,
    "__main__": 11,
    "app": 11,
}
MODEL_LIBRARIES = {"torch", "transformers", "tokenizers", "torchvision", "accelerate"}
BENCHES_OF_A_MODEL = {f"captioner/bench/{name}.py" for name in ("engine", "meter", "models", "roofline", "ways")}
MEDIA_LIBRARIES = {"av", "PIL", "cv2"}
ENGINE_MAY_USE = {
    "sageattention",
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "psutil",
    "huggingface_hub",
    "tqdm",
    "captioner",
}


def sources() -> list[Path]:
    return [*sorted((ROOT / "captioner").rglob("*.py")), ROOT / "app.py"]


def part(path: Path) -> str:
    """The name in LAYERS that a file belongs to."""
    relative = path.relative_to(ROOT)
    return relative.stem if len(relative.parts) <= 2 else relative.parts[1]


def imports(path: Path) -> set[str]:
    """Absolute names of all imported modules."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


MODULES = [path for path in sources() if path.name != "__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_module_imports_only_from_lower_layers(path):
    own = part(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "captioner" or len(parts) == 1:
            continue
        other = parts[1]
        if other in LAYERS and other != own:
            assert LAYERS[other] < LAYERS[own], f"{path.name} imports {name}"


def test_every_module_has_a_layer():
    assert {part(path) for path in sources()} - {"__init__"} <= LAYERS.keys()


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_heavy_libraries_stay_in_their_own_modules(path):
    roots = {name.split(".")[0] for name in imports(path)}
    relative = path.relative_to(ROOT).as_posix()
    if "gradio" in roots:
        assert relative == "app.py" or relative.startswith("captioner/ui/")
    if roots & MODEL_LIBRARIES:
        inside = ("captioner/engine/", "captioner/replicas/worker.py", "captioner/demo/")
        assert relative.startswith(inside) or relative in BENCHES_OF_A_MODEL
    if relative.startswith("captioner/engine/"):
        assert roots - set(sys.stdlib_module_names) <= ENGINE_MAY_USE


def test_importing_the_package_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, time; start = time.perf_counter(); import captioner; "
        "print(time.perf_counter() - start, *{m.split('.')[0] for m in sys.modules})"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    seconds, *modules = out.split()
    assert not {"torch", "transformers", "gradio", "av", "PIL", "numpy", "pydantic"} & set(modules)
    assert float(seconds) < 0.2


def test_the_app_process_needs_no_torch():
    code = "import sys, captioner.services; print('torch' in sys.modules or 'transformers' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_the_options_of_the_benchmarks_load_nothing_heavy():
    code = "import sys, captioner.bench.command; print(*{m.split('.')[0] for m in sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "gradio", "av", "PIL", "numpy", "pydantic", "psutil"} & set(out.split())
