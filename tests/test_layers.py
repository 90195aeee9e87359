"""A module imports only from lower layers, and heavy libraries stay in their own modules."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

LAYERS = {
    "formatting": 1,
    "marks": 1,
    "redaction": 1,
    "values": 1,
    "errors": 2,
    "system": 3,
    "config": 4,
    "media": 4,
    "captions": 4,
    "engine": 4,
    "dataset": 5,
    "replicas": 5,
    "jobs": 6,
    "library": 7,
    "services": 8,
    "demo": 9,
    "ui": 9,
    "cli": 10,
    "app": 11,
    "__main__": 11,
}
UI_LAYERS = {
    "format": 1,
    "scripts": 1,
    "theme": 1,
    "wiring": 2,
    "dialogs": 2,
    "model_status": 2,
    "gallery": 3,
    "compare": 3,
    "server": 4,
    "runs": 4,
    "settings": 4,
    "prompts": 4,
    "dataset": 4,
    "page": 5,
    "launch": 6,
}
MAX_ROOMS, MAX_MODULES = 12, 8
MODEL_LIBRARIES = {"torch", "transformers", "tokenizers", "torchvision", "accelerate"}
BENCHES_OF_A_MODEL = {
    f"captioner/cli/bench/{name}.py" for name in ("build", "engine", "meter", "models", "roofline", "variants")
}
MEDIA_LIBRARIES = {"av", "PIL", "cv2"}
ENGINE_MAY_USE = {
    "safetensors",  # transformers itself needs it
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


def room(path: Path) -> str:
    """Return the name in LAYERS that a file belongs to."""
    relative = path.relative_to(ROOT)
    return relative.stem if len(relative.parts) <= 2 else relative.parts[1]


@functools.cache
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


MODULES = [path for path in sources() if path != ROOT / "captioner" / "__init__.py"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_room_imports_only_from_lower_floors():
    for path in MODULES:
        own = room(path)
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "captioner" or len(parts) == 1 or parts[1] not in LAYERS or parts[1] == own:
                continue
            assert LAYERS[parts[1]] < LAYERS[own], f"{name_of(path)} imports {name}"


def test_room_of_the_page_imports_only_from_lower_floors():
    folder = ROOT / "captioner" / "ui"
    for path in folder.rglob("*.py"):
        own = path.relative_to(folder).parts[0].removesuffix(".py")
        for name in imports(path):
            parts = name.split(".")
            if parts[:2] != ["captioner", "ui"] or len(parts) == 2 or parts[2] not in UI_LAYERS or parts[2] == own:
                continue
            assert UI_LAYERS[parts[2]] < UI_LAYERS[own], f"{name_of(path)} imports {name}"


def test_modules_import_each_other_in_no_circle():
    names = {name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in sources()}
    graph = {name: imports(path) & names.keys() - {name} for name, path in names.items()}
    while graph:
        leaves = {name for name, imported in graph.items() if not imported & graph.keys()}
        assert leaves, f"a circle among {sorted(graph)}"
        for name in leaves:
            del graph[name]


def test_every_room_has_a_floor_and_there_are_few():
    folder = ROOT / "captioner"
    rooms = {path.parent.name for path in folder.glob("*/__init__.py")}
    modules = {path.stem for path in folder.glob("*.py")}
    assert (rooms | modules) - {"__init__"} <= LAYERS.keys()
    assert len(rooms) <= MAX_ROOMS
    assert len(modules) <= MAX_MODULES


def test_heavy_libraries_stay_in_their_own_modules():
    for path in sources():
        name, roots = name_of(path), {imported.split(".")[0] for imported in imports(path)}
        if "gradio" in roots:
            assert name.startswith(("app.py", "captioner/ui/")), f"{name} imports gradio"
        if roots & MODEL_LIBRARIES and name not in BENCHES_OF_A_MODEL:
            assert name.startswith(("captioner/engine/", "captioner/replicas/worker.py")), f"{name} imports {roots}"
        if name.startswith("captioner/engine/"):
            assert roots - set(sys.stdlib_module_names) <= ENGINE_MAY_USE, name


def test_importing_the_package_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, time; start = time.process_time(); import captioner; "
        "print(time.process_time() - start, *{m.split('.')[0] for m in sys.modules})"
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
    code = "import sys, captioner.cli.bench.command; print(*{m.split('.')[0] for m in sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "gradio", "av", "PIL", "numpy", "pydantic", "psutil"} & set(out.split())
