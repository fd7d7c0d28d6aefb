"""Azure Blob Storage, azure://container/path, through its own client and smart_open.

Credentials come from Azure's environment: AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT with
AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN; without those, the machine's or the user's identity where the
package azure-identity is installed.
"""

import functools
import io
import os
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import smart_open.azure
from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobPrefix, BlobServiceClient, ExponentialRetry

from sharding.errors import UserError
from sharding.storage import patience
from sharding.storage.ranged import Opened, RangedReader, Replaced
from sharding.storage.store import Location

ERRORS: tuple[type[Exception], ...] = (AzureError, OSError)


def explain(error: Exception) -> str:
    if isinstance(error, HttpResponseError) and error.status_code:
        advice = "; check the credentials and their rights" if error.status_code in (401, 403) else ""
        code = getattr(error, "error_code", None) or error.reason
        return f"HTTP {error.status_code} {getattr(code, 'value', code)}{advice}"
    return f"{type(error).__name__}: {error}"


def size(at: Location) -> int | None:
    try:
        return int(_blob(at).get_blob_properties().size)
    except ResourceNotFoundError as error:
        if _container_is_missing(error):
            raise
        return None


def names(at: Location) -> Iterator[str]:
    prefix = f"{at.key.rstrip('/')}/" if at.key else ""
    for blob in _client().get_container_client(at.bucket).walk_blobs(prefix, delimiter="/"):
        if not isinstance(blob, BlobPrefix) and blob.name != prefix:
            yield blob.name[len(prefix) :]


def remove(at: Location) -> None:
    try:
        _blob(at).delete_blob()
    except ResourceNotFoundError as error:
        if _container_is_missing(error):
            raise


def open_read(at: Location, offset: int, end: int | None) -> BinaryIO:
    reader = RangedReader(at.url, functools.partial(_fetch, at), offset, end, ERRORS, explain)
    return cast(BinaryIO, io.BufferedReader(reader, 256 << 10))


def put(at: Location, data: bytes) -> None:
    _blob(at).upload_blob(data, overwrite=True)


def writer(at: Location) -> "AzureWriter":
    return AzureWriter(at)


class AzureWriter:
    """Blocks of a blob: nothing is visible before their list is committed."""

    def __init__(self, at: Location) -> None:
        self._stream: Any = smart_open.azure.open(
            at.bucket, at.key, "wb", client=_client(), min_part_size=patience.PART_BYTES
        )

    def write(self, data: bytes, /) -> int:
        return int(self._stream.write(data))

    def commit(self) -> None:
        self._stream.close()

    def abandon(self) -> None:
        # The collector closes a stream that is still open, and closing publishes what was written so far.
        vars(self._stream)["close"] = lambda: None
        self._stream.terminate()  # Azure drops blocks that were never committed after a week


def _fetch(at: Location, start: int, end: int | None, version: str | None) -> Opened:
    """One chunk of the object, which Azure's client reads whole and, where that fails, again."""
    try:
        blob = _blob(at)
        size = 0
        if version is None:
            properties = blob.get_blob_properties()
            size, version = int(properties.size), str(properties.etag)
            if start >= size:
                return Opened(io.BytesIO(), size, version)
        data = _chunk(blob, start, patience.chunk_end(start, end), version)
    except ResourceNotFoundError as error:
        if _container_is_missing(error):
            raise
        raise FileNotFoundError(at.url) from error
    except HttpResponseError as error:
        if error.status_code == 412:
            raise Replaced(at.url) from error
        raise
    return Opened(io.BytesIO(data), size, version)


def _chunk(blob: Any, start: int, end: int, version: str) -> bytes:
    """The client's own retrying covers requests; a body that breaks it asks for three times, and gives up."""
    for failures in range(1, patience.ATTEMPTS + 1):
        try:
            download = blob.download_blob(
                offset=start,
                length=end - start,
                etag=version,
                match_condition=MatchConditions.IfNotModified,
            )
            return bytes(download.readall())
        except HttpResponseError as error:
            if error.status_code is not None or failures == patience.ATTEMPTS:
                raise
            time.sleep(patience.delay(failures))
    raise AssertionError("the last attempt returns or raises")


def _container_is_missing(error: HttpResponseError) -> bool:
    return str(getattr(error, "error_code", "")) == "ContainerNotFound"


class _Retry(ExponentialRetry):
    """Azure's retrying with the delays of every store here."""

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        return patience.delay(int(settings["count"]) + 1)


def _blob(at: Location) -> Any:
    return _client().get_blob_client(at.bucket, at.key)


def _client() -> BlobServiceClient:
    return _client_of(os.getpid())


@functools.cache
def _client_of(process: int) -> BlobServiceClient:
    """The client of this process: connections must not be shared with a parent."""
    settings: dict[str, Any] = {
        "connection_timeout": patience.CONNECT_TIMEOUT_S,
        "read_timeout": patience.READ_TIMEOUT_S,
        "retry_policy": _Retry(retry_total=patience.ATTEMPTS - 1),
        "max_single_get_size": patience.READ_CHUNK_BYTES,
        "max_chunk_get_size": patience.READ_CHUNK_BYTES,
    }
    environment = os.environ
    if text := environment.get("AZURE_STORAGE_CONNECTION_STRING"):
        try:
            return BlobServiceClient.from_connection_string(text, **settings)
        except ValueError as error:
            raise UserError(f"AZURE_STORAGE_CONNECTION_STRING: {error}") from error
    account = environment.get("AZURE_STORAGE_ACCOUNT")
    if not account:
        raise UserError("azure://: set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT and a key")
    key = environment.get("AZURE_STORAGE_KEY") or environment.get("AZURE_STORAGE_SAS_TOKEN")
    return BlobServiceClient(
        f"https://{account}.blob.core.windows.net", credential=key or _identity(account), **settings
    )


def _identity(account: str) -> Any:
    try:
        from azure.identity import DefaultAzureCredential
    except ModuleNotFoundError as error:
        raise UserError(
            f"azure://: no key for account {account}; set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, "
            "or pip install azure-identity to use the machine's identity"
        ) from error
    return DefaultAzureCredential()
