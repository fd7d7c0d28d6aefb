"""Google Cloud Storage, through its own client and smart_open.

Credentials come from Google's environment: GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default
login`, or the machine's account; STORAGE_EMULATOR_HOST names another endpoint. Where there are no credentials,
requests are sent unsigned: a public bucket can be read so.
"""

import base64
import functools
import io
import os
from collections.abc import Callable, Iterator
from typing import Any

import google.api_core.exceptions
import google.auth.exceptions
import google_crc32c
import requests.exceptions
import smart_open.gcs
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from sharding.storage import answers, patience
from sharding.storage.ranged import Opened, RangedReader
from sharding.storage.store import Location, Replaced

ERRORS: tuple[type[Exception], ...] = (
    google.api_core.exceptions.GoogleAPIError,
    google.auth.exceptions.GoogleAuthError,
    InvalidResponse,
    DataCorruption,
    requests.exceptions.RequestException,
    OSError,
)


_BROKEN = (
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
    ConnectionError,
    TimeoutError,
)

# Else Google's client asks for the bucket's place beside our requests, for traces that nobody takes here.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")


def passes(error: Exception) -> bool:
    if status := _status(error):
        return answers.passes(status)
    if isinstance(error, google.auth.exceptions.GoogleAuthError):  # who lends credentials may be away, too
        return bool(error.retryable) or isinstance(error, google.auth.exceptions.TransportError)
    return isinstance(error, _BROKEN) and not answers.is_distrust(error)


def explain(error: Exception) -> str:
    how = "there are no credentials; set GOOGLE_APPLICATION_CREDENTIALS or run: gcloud auth application-default login"
    if isinstance(
        error, google.auth.exceptions.InvalidOperation
    ):  # after 401 it would renew what is not there
        return f"HTTP 401; {how}"
    if status := _status(error):
        unsigned = isinstance(_client()._credentials, AnonymousCredentials)
        advice = answers.advice(status, "", how if unsigned else None)
        return answers.line(status, "", getattr(error, "message", error), advice)
    return f"{type(error).__name__}: {error}"


def _status(error: Exception) -> int:
    """The answer's, of either kind of Google's errors; 0 where there was no answer."""
    if isinstance(error, google.api_core.exceptions.GoogleAPICallError):
        return int(error.code or 0)
    if isinstance(error, InvalidResponse):
        return int(error.response.status_code)
    return 0


def size(at: Location) -> int | None:
    blob = _bucket(at).get_blob(at.key, **_request())
    return None if blob is None else int(blob.size)


def names(at: Location) -> Iterator[str]:
    prefix = f"{at.key.rstrip('/')}/" if at.key else ""
    for blob in _client().list_blobs(_bucket(at), prefix=prefix, delimiter="/", **_request()):
        if blob.name != prefix:  # some tools store an empty object for a folder
            yield blob.name[len(prefix) :]


def folders(at: Location) -> Iterator[str]:
    prefix = f"{at.key.rstrip('/')}/" if at.key else ""
    found = _client().list_blobs(_bucket(at), prefix=prefix, delimiter="/", **_request())
    for page in found.pages:  # what lies deeper is known once a page is there
        yield from (name[len(prefix) :].rstrip("/") for name in page.prefixes)


def remove(at: Location) -> None:
    try:
        _bucket(at).blob(at.key).delete(**_request())
    except google.api_core.exceptions.NotFound as error:
        if _bucket_is_missing(error):
            raise


def open_read(at: Location, offset: int, end: int | None) -> RangedReader:
    return RangedReader(functools.partial(_fetch, at), offset, end, passes)


def put(at: Location, data: bytes) -> None:
    _bucket(at).blob(at.key).upload_from_string(data, "application/octet-stream", **_request())


def writer(at: Location) -> "GcsWriter":
    return GcsWriter(at)


class GcsWriter:
    """A resumable upload: nothing is visible before its last part is there.

    Google forgets the upload of a killed writer, or one that is abandoned, after a week.
    """

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


def _fetch(at: Location, start: int, end: int | None, version: str | None) -> Opened:
    """At first the object's size and version alone; then one chunk, which Google's client reads whole."""
    once: dict[str, Any] = {**_request(), "retry": None}
    blob = _bucket(at).blob(at.key)
    try:
        if version is None:
            blob.reload(**once)
            return Opened(io.BytesIO(), int(blob.size), str(blob.generation))
        data = blob.download_as_bytes(
            start=start,
            end=patience.chunk_end(start, end) - 1,
            if_generation_match=int(version),
            checksum=None,  # there is none for a part
            **once,
        )
        return Opened(io.BytesIO(data), 0, version)
    except google.api_core.exceptions.NotFound as error:
        if _bucket_is_missing(error):
            raise
        raise FileNotFoundError(at.url) from error
    except google.api_core.exceptions.PreconditionFailed as error:
        if version is None:
            raise
        raise Replaced from error


def _bucket_is_missing(error: Exception) -> bool:
    return "bucket does not exist" in str(error)


class _Insist(Retry):
    """What Google's client takes in place of its own loop: ours, around each request that it makes."""

    def __call__(
        self, func: Callable[..., Any], on_error: Callable[[Exception], Any] | None = None
    ) -> Callable[..., Any]:
        return lambda *args, **kwargs: patience.insist(functools.partial(func, *args, **kwargs), passes)


def _request() -> dict[str, Any]:
    """What every request is sent with."""
    return {"retry": _Insist(), "timeout": (patience.CONNECT_TIMEOUT_S, patience.READ_TIMEOUT_S)}


def _bucket(at: Location) -> Any:
    return _client().bucket(at.bucket)


def _client() -> Any:
    return _client_of(os.getpid())


@functools.cache
def _client_of(process: int) -> Any:
    """The client of this process: connections must not be shared with a parent."""
    try:
        return storage.Client(project=None)  # objects are found by their bucket alone
    except google.auth.exceptions.DefaultCredentialsError:
        if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):  # there are some, and they are no good
            raise
        return storage.Client.create_anonymous_client()
