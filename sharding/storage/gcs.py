"""Google Cloud Storage, through its own client and smart_open.

Credentials come from Google's environment: GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default
login`, or the machine's account; STORAGE_EMULATOR_HOST names another endpoint.
"""

import base64
import functools
import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import google.api_core.exceptions
import google.auth.exceptions
import google_crc32c
import requests.exceptions
import smart_open.gcs
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from sharding.storage import patience
from sharding.storage.ranged import Opened, RangedReader, Replaced
from sharding.storage.store import Location

ERRORS: tuple[type[Exception], ...] = (
    google.api_core.exceptions.GoogleAPIError,
    google.auth.exceptions.GoogleAuthError,
    InvalidResponse,
    DataCorruption,
    requests.exceptions.RequestException,
    OSError,
)


def explain(error: Exception) -> str:
    if isinstance(error, google.api_core.exceptions.RetryError) and isinstance(error.cause, Exception):
        return f"{explain(error.cause)} (tried again for {patience.DEADLINE_S:g} s)"
    if isinstance(error, google.auth.exceptions.DefaultCredentialsError):
        return (
            "no credentials; set GOOGLE_APPLICATION_CREDENTIALS or run: gcloud auth application-default login"
        )
    status = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        advice = "; check the credentials and their rights" if status in (401, 403) else ""
        return f"HTTP {int(status)} {getattr(error, 'message', error)}{advice}"
    return f"{type(error).__name__}: {error}"


def size(at: Location) -> int | None:
    blob = _bucket(at).get_blob(at.key, **_request())
    return None if blob is None else int(blob.size)


def names(at: Location) -> Iterator[str]:
    prefix = f"{at.key.rstrip('/')}/" if at.key else ""
    for blob in _client().list_blobs(_bucket(at), prefix=prefix, delimiter="/", **_request()):
        if blob.name != prefix:  # some tools store an empty object for a folder
            yield blob.name[len(prefix) :]


def remove(at: Location) -> None:
    try:
        _bucket(at).blob(at.key).delete(**_request())
    except google.api_core.exceptions.NotFound as error:
        if _bucket_is_missing(error):
            raise


def open_read(at: Location, offset: int, end: int | None) -> BinaryIO:
    reader = RangedReader(at.url, functools.partial(_fetch, at), offset, end, ERRORS, explain)
    return cast(BinaryIO, io.BufferedReader(reader, 256 << 10))


def put(at: Location, data: bytes) -> None:
    _bucket(at).blob(at.key).upload_from_string(data, "application/octet-stream", **_request())


def writer(at: Location) -> "GcsWriter":
    return GcsWriter(at)


class GcsWriter:
    """A resumable upload: nothing is visible before its last part is there."""

    def __init__(self, at: Location) -> None:
        self._at = at
        self._crc32c = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
        self._stream: Any = smart_open.gcs.open(
            at.bucket,
            at.key,
            "wb",
            client=_client(),
            min_part_size=patience.PART_BYTES,
            blob_open_kwargs=_request(),
        )

    def write(self, data: bytes, /) -> int:
        self._crc32c.update(bytes(data))  # type: ignore[no-untyped-call]
        return int(self._stream.write(data))

    def commit(self) -> None:
        try:
            self._stream.close()
        except InvalidResponse as error:
            # When the answer to the last part is lost, the part is sent again, and by then the store may know of
            # no such upload.
            if error.response.status_code not in (404, 410) or not self._is_there():
                raise

    def _is_there(self) -> bool:
        """Whether the object has the content that was written."""
        blob = _bucket(self._at).get_blob(self._at.key, **_request())
        digest: bytes = self._crc32c.digest()  # type: ignore[no-untyped-call]
        return blob is not None and blob.crc32c == base64.b64encode(digest).decode()

    def abandon(self) -> None:
        # The collector closes a stream that is still open, and closing publishes what was written so far.
        vars(self._stream)["close"] = lambda: None
        self._stream.terminate()


def _fetch(at: Location, start: int, end: int | None, version: str | None) -> Opened:
    """One chunk of the object, which Google's client reads whole and, where that fails, again."""
    try:
        blob = _bucket(at).blob(at.key)
        if version is None:
            blob.reload(**_request())
            if start >= blob.size:
                return Opened(io.BytesIO(), blob.size, "")
            version = str(blob.generation)
        data = blob.download_as_bytes(
            start=start,
            end=patience.chunk_end(start, end) - 1,
            if_generation_match=int(version),
            checksum=None,  # there is none for a part
            **_request(),
        )
    except google.api_core.exceptions.NotFound as error:
        if _bucket_is_missing(error):
            raise
        raise FileNotFoundError(at.url) from error
    except google.api_core.exceptions.PreconditionFailed as error:
        raise Replaced(at.url) from error
    return Opened(io.BytesIO(data), blob.size or 0, version)


def _bucket_is_missing(error: Exception) -> bool:
    return "bucket does not exist" in str(error)


def _request() -> dict[str, Any]:
    """What every request is sent with."""
    retry = DEFAULT_RETRY.with_delay(patience.BACKOFF_S, patience.BACKOFF_MAX_S, 2.0)
    timeout = (patience.CONNECT_TIMEOUT_S, patience.READ_TIMEOUT_S)
    return {"retry": retry.with_timeout(patience.DEADLINE_S), "timeout": timeout}


def _bucket(at: Location) -> Any:
    return _client().bucket(at.bucket)


def _client() -> Any:
    return _client_of(os.getpid())


@functools.cache
def _client_of(process: int) -> Any:
    """The client of this process: connections must not be shared with a parent."""
    return storage.Client(project=None)  # objects are found by their bucket alone
