"""The documents: their links lead somewhere, and what they name exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
README_LINES = 130


def read(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def anchors(document: Path) -> set[str]:
    """Return the names that the headings of a document have in links."""
    headings = re.findall(r"^#+ (.+)$", read(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> list[tuple[Path, str]]:
    """Return (document, target) of every link and picture that stays inside the repository."""
    found = [(document, target) for document in DOCUMENTS for target in re.findall(r"\]\(([^)]+)\)", read(document))]
    return [(document, target) for document, target in found if "://" not in target]


@pytest.mark.parametrize(("document", "target"), links(), ids=lambda value: getattr(value, "name", value))
def test_link_leads_to_a_file_and_a_heading(document, target):
    path, _, anchor = target.partition("#")
    file = (document.parent / path).resolve() if path else document
    assert file.is_file()
    assert not anchor or anchor in anchors(file)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_files_that_a_document_names_exist(document):
    for name in re.findall(r"`((?:tests|captioner|docs)/[\w./]+)`", read(document)):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_modules_that_a_document_runs_exist(document):
    for name in re.findall(r"python -m ((?:tests|captioner)[\w.]*)", read(document)):
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), name


def test_every_page_of_the_docs_is_linked():
    linked = {(document.parent / target.partition("#")[0]).resolve() for document, target in links()}
    assert set(DOCUMENTS[3:]) <= linked


def test_readme_is_short():
    assert len(read(ROOT / "README.md").splitlines()) <= README_LINES
