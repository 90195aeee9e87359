"""The captions of jobs: queries of the table captions_made for whole folders and jobs."""

from pathlib import Path

from captioner.system.database import Database, text_path, texts_under


def jobs_in(database: Database, folder: Path) -> dict[str, int]:
    """Return the number of the job that wrote each caption under a folder last, by the `path_text` of the caption."""
    sql = (
        "SELECT caption_path, job FROM captions_made WHERE caption_path >= ? AND caption_path < ? "
        "AND outcome = 'written' AND job != '' ORDER BY id"
    )
    rows = database.rows(sql, texts_under(folder))
    return {row["caption_path"]: int(row["job"]) for row in rows}


def captions_by(database: Database, job: int) -> list[tuple[Path, str, float]]:
    """Return (media file, caption as the job wrote it, POSIX time) for each caption that a job wrote."""
    sql = (
        "SELECT media_path, text, created_at_s FROM captions_made WHERE job = ? AND outcome = 'written' "
        "ORDER BY media_path, id"
    )
    found = {row["media_path"]: (row["text"], row["created_at_s"]) for row in database.rows(sql, (str(job),))}
    return [(text_path(path), text, time_s) for path, (text, time_s) in found.items()]
