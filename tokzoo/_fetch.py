"""Files of the hub, through its client and cache. What goes wrong is told with its reason and the way out."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tokzoo._files import check_hash


@dataclass(frozen=True, kw_only=True)
class Download:
    """How to fetch, as in `huggingface_hub.hf_hub_download`; `force` fetches again what the cache has."""

    revision: str | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    token: str | bool | None = None
    force: bool = False

    @property
    def cache(self) -> Path:
        """The folder that holds a folder per repository."""
        from huggingface_hub import constants

        return Path(self.cache_dir or constants.HF_HUB_CACHE).expanduser()


class Wanted(NamedTuple):
    """A file of a hub repository, and its hash where it is recorded; no revision is the main branch."""

    repo: str
    path: str
    revision: str | None
    sha256: str | None = None

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repo, self.path, revision=self.revision)


class Failure(NamedTuple):
    """Why a file was not had, and what kind of error that is to the user."""

    kind: type[OSError]
    reason: str
    hub_is_out_of_reach: bool = False


def fetch(wanted: Iterable[Wanted], download: Download, *, missing: str, name: str, by_hand: str) -> Path:
    """The first of some files that the cache or the hub has; its path in the cache.

    Once the hub was out of reach, only the cache is asked: each attempt costs half a minute of retries.

    Args:
        missing: how the error begins.
        name: what `tokzoo download` takes to fetch the same.
        by_hand: what to do with a file that was fetched some other way.

    Raises:
        ConnectionError: the hub was out of reach, or not to be asked, and the cache has none of them.
        PermissionError: it has one, but not for this token. FileNotFoundError: it has none.
        ValueError: the file has another hash than recorded.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    files, failures, cache_only = list(wanted), [], download.local_files_only
    for file in files:
        try:
            path = hf_hub_download(
                file.repo,
                file.path,
                revision=file.revision,
                cache_dir=download.cache_dir,
                local_files_only=cache_only,
                force_download=download.force and not cache_only,
                token=download.token,
            )
        except (OSError, transport_error()) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # this machine's disk, not the hub
            failures.append(_explain(error, file))
            cache_only = cache_only or failures[-1].hub_is_out_of_reach
            if isinstance(error, OSError) or download.force:
                continue
            cached = try_to_load_from_cache(file.repo, file.path, download.cache_dir, file.revision)  # it did not look
            if not isinstance(cached, str):
                continue
            path = cached
        check_hash(Path(path), file.sha256)
        return Path(path)
    tried = zip(files, failures, strict=True)
    message = f"{missing}. Looked for " + "; ".join(f"{file.repo}: {file.path} ({why.reason})" for file, why in tried)
    kinds = {failure.kind for failure in failures}
    if PermissionError in kinds and ConnectionError not in kinds:
        raise PermissionError(message)
    if ConnectionError in kinds or download.local_files_only:
        kind = ConnectionError if ConnectionError in kinds else FileNotFoundError
        raise kind(f"{message}\n{_way_out(files, download, name, by_hand)}")
    raise FileNotFoundError(message)


def transport_error() -> type[Exception]:
    """What the hub client raises, as it comes, when a connection fails while it is in use."""
    from huggingface_hub import errors

    kind: type[Exception] = getattr(errors, "HTTPError", OSError)
    return kind


def _explain(error: Exception, file: Wanted) -> Failure:
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{file.repo}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        if status == 403:
            return Failure(PermissionError, f"gated, and not yet open to this token's account: ask at {page}")
        return Failure(PermissionError, f"gated: accept its terms at {page}, then pass token= or run `hf auth login`")
    if isinstance(error, errors.RepositoryNotFoundError):
        return Failure(FileNotFoundError, "no such repository, or a private one: then pass token=")
    if isinstance(error, errors.RevisionNotFoundError):
        return Failure(FileNotFoundError, f"no revision {file.revision!r}; see {page}/branches")
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _explain_absent(error.__cause__)
    if isinstance(error, errors.EntryNotFoundError):
        return Failure(FileNotFoundError, "no such file")
    if status == 401:
        return Failure(PermissionError, "the hub does not know this token: pass another, or run `hf auth login`")
    if status is not None:
        return Failure(ConnectionError, f"the hub answered {status}")
    return Failure(ConnectionError, f"the download broke off, try again: {_first_line(error)}")


def _explain_absent(cause: BaseException | None) -> Failure:
    """Why the client looked into its cache, where the file is not."""
    from huggingface_hub import constants, errors

    status = getattr(getattr(cause, "response", None), "status_code", None)
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return Failure(ConnectionError, "not in the cache, and HF_HUB_OFFLINE is set", hub_is_out_of_reach=True)
    if cause is None:
        return Failure(FileNotFoundError, "not in the cache")
    if status == 403:
        return Failure(PermissionError, "this token may not read it: give it the right, or pass another")
    if status is not None:
        return Failure(ConnectionError, f"the hub answered {status}, try later", hub_is_out_of_reach=True)
    if isinstance(cause, errors.FileMetadataError):
        return Failure(ConnectionError, f"what answers at {constants.ENDPOINT} is no hub", hub_is_out_of_reach=True)
    return Failure(ConnectionError, f"no connection to {constants.ENDPOINT}", hub_is_out_of_reach=True)


def _way_out(files: list[Wanted], download: Download, name: str, by_hand: str) -> str:
    """How to bring the files to a machine that cannot ask the hub."""
    folders = dict.fromkeys("models--" + file.repo.replace("/", "--") for file in files)
    urls = "".join(f"\n  {file.url}" for file in files)
    return (
        f"Where there is a network, run `tokzoo download {name}` and copy what it names ({' or '.join(folders)}) "
        f"into {download.cache}. Or fetch by hand{' one of' if len(files) > 1 else ''}{urls}\n{by_hand}"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
