"""Writes captions from a list into the files of the open folder, as one operation that can be undone."""

from collections.abc import Mapping

from captioner.captions.operations import begin_operation, end_operation
from captioner.errors import CaptionerError, JobError
from captioner.library.library import Library
from captioner.system.database import Database
from captioner.values import MediaItem


def import_captions(
    database: Database, library: Library, captions: Mapping[str, tuple[MediaItem, str]], title: str, overwrite: bool
) -> tuple[int, dict[str, str]]:
    """Write these captions (item name -> item and text), and return the operation's number and what came of each:
    "changed", "same" or the reason why the file was left alone. Raise JobError and StateError.
    """
    if library.folder is None:
        raise JobError("open a folder first")
    texts = {item.caption_path: text for item, text in captions.values()}
    for folder in {item.caption_folder for item, _ in captions.values() if item.caption_folder != item.folder}:
        library.captions.files.make_folder(folder)
    with database.transaction() as connection:
        operation = begin_operation(connection, "bulk", title, library.folder, len(texts))
    try:
        outcomes = library.captions.put_texts(texts, operation, overwrite)
    except CaptionerError as error:
        end_operation(database, operation, "failed", str(error))
        raise
    finally:
        library.edits.refresh(list(texts))
    end_operation(database, operation, "done")
    return operation, {name: outcomes[item.caption_path] for name, (item, _) in captions.items()}
