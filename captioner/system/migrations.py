"""The scripts that bring the database of an earlier version up to date."""

# Script n brings a file from version n to n + 1. A script that was released never changes; append a new one.
# Statements end with ";" at the end of a line. Times are POSIX seconds.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE caption_history (
        id INTEGER PRIMARY KEY,
        caption_path TEXT NOT NULL,
        data BLOB NOT NULL,
        replaced_at_s REAL NOT NULL,
        origin TEXT NOT NULL
    );
    CREATE INDEX caption_history_path ON caption_history (caption_path, id);
    CREATE TABLE captions_made (
        id INTEGER PRIMARY KEY,
        media_path TEXT NOT NULL,
        caption_path TEXT NOT NULL,
        text TEXT NOT NULL,
        outcome TEXT NOT NULL,
        model TEXT NOT NULL,
        prompt TEXT NOT NULL,
        options_json TEXT NOT NULL,
        seed INTEGER NOT NULL,
        frame_times_json TEXT NOT NULL,
        seconds REAL NOT NULL,
        num_prompt_tokens INTEGER NOT NULL,
        num_tokens INTEGER NOT NULL,
        device TEXT NOT NULL,
        finish_reason TEXT NOT NULL,
        warning TEXT NOT NULL,
        created_at_s REAL NOT NULL,
        job TEXT NOT NULL
    );
    CREATE INDEX captions_made_path ON captions_made (caption_path, id);
    CREATE INDEX captions_made_job ON captions_made (job);
    """,
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        model TEXT NOT NULL,
        quantization TEXT NOT NULL,
        devices TEXT NOT NULL,
        plan_json TEXT NOT NULL,
        num_captions INTEGER NOT NULL,
        num_prompt_tokens INTEGER NOT NULL,
        num_tokens INTEGER NOT NULL,
        seconds REAL NOT NULL,
        created_at_s REAL NOT NULL
    );
    CREATE INDEX runs_model ON runs (model, quantization, devices, id);
    """,
    """
    CREATE TABLE caption_state (
        caption_path TEXT PRIMARY KEY,
        origin TEXT NOT NULL,
        digest BLOB NOT NULL,
        changed_at_s REAL NOT NULL
    );
    """,
    """
    CREATE TABLE operations (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        title TEXT NOT NULL,
        folder TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        total INTEGER NOT NULL,
        request_json TEXT NOT NULL,
        created_at_s REAL NOT NULL,
        ended_at_s REAL,
        undone_at_s REAL
    );
    CREATE TABLE job_lists (
        operation INTEGER PRIMARY KEY REFERENCES operations (id),
        items_json TEXT NOT NULL
    );
    CREATE TABLE job_items (
        operation INTEGER NOT NULL REFERENCES operations (id),
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        replica TEXT NOT NULL DEFAULT '',
        losses INTEGER NOT NULL DEFAULT 0,
        started_at_s REAL,
        ended_at_s REAL,
        PRIMARY KEY (operation, name)
    ) WITHOUT ROWID;
    CREATE TABLE caption_changes (
        id INTEGER PRIMARY KEY,
        caption_path TEXT NOT NULL,
        before BLOB,
        after BLOB,
        origin TEXT NOT NULL,
        operation INTEGER REFERENCES operations (id),
        made INTEGER NOT NULL,
        changed_at_s REAL NOT NULL,
        state_origin TEXT,
        state_digest BLOB
    );
    CREATE INDEX caption_changes_path ON caption_changes (caption_path, id);
    CREATE INDEX caption_changes_operation ON caption_changes (operation) WHERE operation IS NOT NULL;
    CREATE INDEX caption_changes_unmade ON caption_changes (id) WHERE made = 0;
    INSERT INTO caption_changes (id, caption_path, before, origin, made, changed_at_s)
        SELECT id, caption_path, data, origin, 1, replaced_at_s FROM caption_history;
    DROP TABLE caption_history;
    CREATE TABLE caption_approvals (
        caption_path TEXT PRIMARY KEY,
        digest BLOB NOT NULL,
        approved_at_s REAL NOT NULL
    );
    """,
    """
    ALTER TABLE operations ADD COLUMN undoes INTEGER REFERENCES operations (id);
    UPDATE operations SET undoes = json_extract(request_json, '$.undoes') WHERE kind = 'undo';
    CREATE INDEX operations_undoes ON operations (undoes) WHERE undoes IS NOT NULL;
    """,
    """
    ALTER TABLE captions_made ADD COLUMN flaw TEXT NOT NULL DEFAULT '';
    ALTER TABLE caption_state ADD COLUMN flaw TEXT NOT NULL DEFAULT '';
    ALTER TABLE caption_changes ADD COLUMN state_flaw TEXT NOT NULL DEFAULT '';
    CREATE TABLE captions_unwritten (
        operation INTEGER NOT NULL REFERENCES operations (id),
        name TEXT NOT NULL,
        made INTEGER NOT NULL REFERENCES captions_made (id),
        before_digest BLOB,
        media_size INTEGER NOT NULL,
        media_time_ns INTEGER NOT NULL,
        PRIMARY KEY (operation, name)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE captions_made ADD COLUMN captioned_bytes INTEGER;
    ALTER TABLE captions_made ADD COLUMN captioned_modified_s REAL;
    """,
    """
    ALTER TABLE captions_made ADD COLUMN thinking TEXT NOT NULL DEFAULT '';
    ALTER TABLE captions_made ADD COLUMN adapter TEXT NOT NULL DEFAULT '';
    """,
    """
    CREATE TABLE file_marks (
        media_path TEXT PRIMARY KEY,
        mark TEXT NOT NULL,
        marked_at_s REAL NOT NULL
    );
    CREATE INDEX job_items_failed ON job_items (operation) WHERE state = 'failed';
    """,
    """
    CREATE TABLE media_facts (
        folder TEXT NOT NULL,
        name TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        modified_s REAL NOT NULL,
        info_json TEXT NOT NULL,
        PRIMARY KEY (folder, name)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE captions_made ADD COLUMN span_json TEXT NOT NULL DEFAULT 'null';
    """,
    """
    CREATE TABLE lint_found (
        folder TEXT NOT NULL, name TEXT NOT NULL,
        stamp TEXT NOT NULL, text TEXT NOT NULL, hits_json TEXT NOT NULL,
        PRIMARY KEY (folder, name)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE caption_scores (
        caption_path TEXT PRIMARY KEY,
        yes REAL NOT NULL,
        no REAL NOT NULL,
        model TEXT NOT NULL,
        question_digest BLOB NOT NULL,
        media_bytes INTEGER NOT NULL,
        media_modified_s REAL NOT NULL,
        scored_at_s REAL NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE operations ADD COLUMN resumes INTEGER REFERENCES operations (id);
    UPDATE operations SET resumes = json_extract(request_json, '$.resumes') WHERE kind = 'job';
    CREATE INDEX operations_resumes ON operations (resumes) WHERE resumes IS NOT NULL;
    """,
)
