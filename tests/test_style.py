"""The rules of words and sizes that a machine can check."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = [*sorted((ROOT / "captioner").rglob("*.py")), ROOT / "app.py"]
SCRIPTS = sorted(path for ending in ("js", "css", "html") for path in (ROOT / "captioner").rglob(f"*.{ending}"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]

MAX_LINES, MAX_TEST_LINES = 300, 400
MAX_FUNCTION_LINES, MAX_LONG_FUNCTIONS = 40, 5

# A docstring is a sentence whose subject is the function or class.
NOT_A_SENTENCE = re.compile(r" ?(Of|As|For|In|Without|To|Whether|Who|What|Which)\b")

# What only the authors would say, and British spelling.
DIALECT = re.compile(
    r"\b(anew|changed elsewhere|by lot|went on with|gone on with|go on with|had a caption|give up what you typed"
    r"|meanwhile captioned|half a character|leads? out of|no media file in|put back by|told to"
    r"|colours?|licence|quantis\w+|recognis\w+|penalis\w+|normalis\w+|initialis\w+|optimis\w+|neighbours?|behaviours?"
    r"|grey|centre\w*|favour\w*)\b",
    re.IGNORECASE,
)
ALLOWED = {"grey"}  # what the example of a bulk edit replaces


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def docstrings(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
    return [text for text in found if text]


def test_docstrings_are_sentences():
    found = [(name_of(path), text.splitlines()[0]) for path in PRODUCT for text in docstrings(path)]
    assert [(name, line) for name, line in found if NOT_A_SENTENCE.match(line)] == []


def test_words_are_plain_american_english():
    found = [
        (name_of(path), word[0])
        for path in PRODUCT + SCRIPTS + DOCUMENTS
        for word in DIALECT.finditer(path.read_text(encoding="utf-8"))
    ]
    assert [(name, word) for name, word in found if word.lower() not in ALLOWED] == []


def test_files_are_short():
    lengths = [(path, len(path.read_text(encoding="utf-8").splitlines())) for path in PRODUCT + SCRIPTS + TESTS]
    too_long = [(path, length) for path, length in lengths if length > (MAX_TEST_LINES if path in TESTS else MAX_LINES)]
    assert [(name_of(path), length) for path, length in too_long] == []


def test_few_functions_are_long():
    lengths = {
        f"{name_of(path)}: {function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path in PRODUCT
        for function in functions(path)
    }
    long = {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES}
    assert len(long) <= MAX_LONG_FUNCTIONS, long
