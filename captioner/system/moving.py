"""Move a file without ever replacing another one."""

import errno
import os
import shutil
from pathlib import Path

_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


def place(file: Path, target: Path) -> None:
    """Move a file to a name that must be free, copying it only to another file system. Raise OSError."""
    try:
        os.link(file, target, follow_symlinks=False)  # unlike a rename, a link never replaces a file
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with open(file, "rb") as source, open(target, "xb") as copy:
            shutil.copyfileobj(source, copy)
        shutil.copystat(file, target)
    file.unlink()
