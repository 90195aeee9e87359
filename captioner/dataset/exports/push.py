"""Pushes an exported folder to the Hugging Face Hub as a data set, with the token of the Hub's own login."""

import shlex
from pathlib import Path

from huggingface_hub import HfApi, errors, get_token
from huggingface_hub.utils import validate_repo_id

from captioner.engine.download import BAD_PROXY
from captioner.errors import CaptionerError

PUSHED = ("hf", "webdataset")


def check_push(repo: str, file_format: str) -> None:
    """Raise CaptionerError before anything is written if it could not be pushed."""
    if file_format not in PUSHED:
        raise CaptionerError(f"only --format {' or '.join(PUSHED)} can be pushed, not {file_format}")
    try:
        validate_repo_id(repo)
        is_valid = repo.count("/") == 1
    except errors.HFValidationError:
        is_valid = False
    if not is_valid:
        raise CaptionerError(f"{repo} is not a name on the Hub; give --push owner/name")
    if not get_token():
        raise CaptionerError("pushing needs a login to the Hub; use `hf auth login` or set HF_TOKEN")


def push(folder: Path, repo: str, is_public: bool) -> str:
    """Upload a folder and return the address of the data set, which is made if there is none. Raise CaptionerError.

    Files of the data set that have no counterpart in the folder stay. is_public: anyone may read a new data set, and
    an existing one may be public; one that is private stays so.
    """
    api = HfApi()
    try:
        address = str(api.create_repo(repo, repo_type="dataset", private=not is_public, exist_ok=True))
        if not is_public and not api.repo_info(repo, repo_type="dataset").private:
            raise CaptionerError(f"{folder} is written but not pushed: {repo} is public; push it with --public")
        message = "Captions of Video Caption Suite"
        api.upload_folder(repo_id=repo, folder_path=folder, repo_type="dataset", commit_message=message)
    except (OSError, errors.HTTPError, *BAD_PROXY) as error:
        options = ["--repo-type", "dataset", *([] if is_public else ["--private"])]
        again = f"try again with: {shlex.join(['hf', 'upload', repo, str(folder), *options])}"
        raise CaptionerError(f"{folder} is written but not pushed: {_reason(error, repo)}; {again}") from None
    return address


def _reason(error: Exception, repo: str) -> str:
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "offline mode is on (HF_HUB_OFFLINE)"
    if isinstance(error, errors.HfHubHTTPError):
        if error.response.status_code in (401, 403):
            return f"the Hub does not let this token write to {repo}"
        return (error.server_message or str(error)).splitlines()[0]
    if isinstance(error, errors.HTTPError):
        return "the Hub cannot be reached"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
