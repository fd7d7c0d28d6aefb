"""Azure Blob Storage, azure://container/path, through its own client and smart_open.

Credentials come from Azure's environment: AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT with
AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN; without those, the machine's or the user's identity where the
package azure-identity is installed and finds one. Where there are no credentials, requests are sent unsigned: a
public container can be read so.
"""

import functools
import io
import os
from collections.abc import Callable, Iterator
from typing import Any

import smart_open.azure
from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.storage.blob import BlobPrefix, BlobServiceClient

from sharding.errors import UserError
from sharding.storage import answers, patience
from sharding.storage.ranged import Opened, RangedReader
from sharding.storage.store import Location, Replaced

ERRORS: tuple[type[Exception], ...] = (AzureError, OSError)
_NO_CREDENTIALS = (
    "there are no credentials; set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or install azure-identity"
)


def passes(error: Exception) -> bool:
    if isinstance(error, HttpResponseError) and error.status_code:
        return answers.passes(error.status_code)
    if isinstance(error, ClientAuthenticationError):  # no identity was found
        return False
    broken = (ServiceRequestError, ServiceResponseError, HttpResponseError, ConnectionError, TimeoutError)
    within = getattr(error, "inner_exception", None)  # which Azure's errors do not chain
    return isinstance(error, broken) and not (answers.is_distrust(error) or answers.is_distrust(within))


def explain(error: Exception) -> str:
    if isinstance(error, HttpResponseError) and error.status_code:
        status, code = error.status_code, _code(error)
        advice = answers.advice(status, code, _NO_CREDENTIALS if _is_unsigned() else None)
        if _is_unsigned() and code in ("ResourceNotFound", "PublicAccessNotPermitted"):  # 404 and 409
            advice = _NO_CREDENTIALS
        return answers.line(status, code, "", advice)
    return f"{type(error).__name__}: {error}"


def size(at: Location) -> int | None:
    try:
        return int(_insist(_blob(at).get_blob_properties).size)
    except ResourceNotFoundError as error:
        if not _only_the_blob(error):
            raise
        return None


def names(at: Location) -> Iterator[str]:
    return (name for name, is_folder in _listed(at) if not is_folder)


def folders(at: Location) -> Iterator[str]:
    return (name.rstrip("/") for name, is_folder in _listed(at) if is_folder)


def _listed(at: Location) -> Iterator[tuple[str, bool]]:
    """What lies directly below, and whether it is a folder."""
    prefix = f"{at.key.rstrip('/')}/" if at.key else ""
    pages = _client().get_container_client(at.bucket).walk_blobs(prefix, delimiter="/").by_page()
    while (page := _insist(lambda: next(pages, None))) is not None:
        for blob in page:
            if blob.name != prefix:
                yield blob.name[len(prefix) :], isinstance(blob, BlobPrefix)


def remove(at: Location) -> None:
    try:
        _insist(_blob(at).delete_blob)
    except ResourceNotFoundError as error:
        if not _only_the_blob(error):
            raise


def open_read(at: Location, offset: int, end: int | None) -> RangedReader:
    return RangedReader(functools.partial(_fetch, at), offset, end, passes)


def put(at: Location, data: bytes) -> None:
    if len(data) <= patience.PUT_BYTES:
        _insist(lambda: _blob(at).upload_blob(data, overwrite=True))
        return
    parts = AzureWriter(at)
    try:
        for start in range(0, len(data), patience.PART_BYTES):
            parts.write(data[start : start + patience.PART_BYTES])
        parts.commit()
    except BaseException:
        parts.abandon()
        raise


def writer(at: Location) -> "AzureWriter":
    return AzureWriter(at)


class AzureWriter:
    """Blocks of a blob: nothing is visible before their list is committed.

    Azure drops the blocks of a killed writer with the next commit of the blob, and after a week.
    """

    def __init__(self, at: Location) -> None:
        client: Any = _PatientBlob(at)
        self._stream: Any = smart_open.azure.open(
            at.bucket, at.key, "wb", client=client, min_part_size=patience.PART_BYTES
        )

    def write(self, data: bytes, /) -> int:
        return int(self._stream.write(data))

    def commit(self) -> None:
        self._stream.close()

    def abandon(self) -> None:
        # The collector closes a stream that is still open, and closing publishes what was written so far.
        vars(self._stream)["close"] = lambda: None
        self._stream.terminate()


class _PatientBlob:
    """The blob's client as smart_open uses it, with patience."""

    def __init__(self, at: Location) -> None:
        self._blob = _blob(at)

    def stage_block(self, name: bytes, data: bytes) -> None:
        _insist(lambda: self._blob.stage_block(name, data))

    def commit_block_list(self, names: list[Any]) -> None:
        _insist(lambda: self._blob.commit_block_list(names))


def _insist(request: Callable[[], Any]) -> Any:
    return patience.insist(request, passes)


def _fetch(at: Location, start: int, end: int | None, version: str | None) -> Opened:
    """At first the blob's size and version alone; then one chunk, which Azure's client reads whole."""
    try:
        if version is None:
            properties = _blob(at).get_blob_properties()
            return Opened(io.BytesIO(), int(properties.size), str(properties.etag))
        # A body that breaks, and nothing else, Azure's client asks for three times, a second apart.
        download = _blob(at).download_blob(
            offset=start,
            length=patience.chunk_end(start, end) - start,
            etag=version,
            match_condition=MatchConditions.IfNotModified,
        )
        return Opened(io.BytesIO(download.readall()), int(download.size), version)
    except ResourceNotFoundError as error:
        if not _only_the_blob(error):
            raise
        raise FileNotFoundError(at.url) from error
    except HttpResponseError as error:
        if error.status_code == 412 and version is not None:
            raise Replaced from error
        raise


def _only_the_blob(error: HttpResponseError) -> bool:
    """Whether the blob alone is missing: not its container, nor the right to see (then it is ResourceNotFound)."""
    return _code(error) not in ("ContainerNotFound", "ResourceNotFound")


def _code(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or error.reason or "")


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
        "retry_total": 0,
        "max_single_put_size": patience.PUT_BYTES,
        "max_single_get_size": patience.READ_CHUNK_BYTES,
        "max_chunk_get_size": patience.READ_CHUNK_BYTES,
    }
    environment = os.environ
    if text := environment.get("AZURE_STORAGE_CONNECTION_STRING"):
        try:
            return BlobServiceClient.from_connection_string(text, **settings)
        except ValueError as error:
            told = f"AZURE_STORAGE_CONNECTION_STRING: {answers.without_secrets(str(error))}"
            raise UserError(told) from None
    account = environment.get("AZURE_STORAGE_ACCOUNT")
    if not account:
        raise UserError("azure://: set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT and a key")
    key = environment.get("AZURE_STORAGE_KEY") or environment.get("AZURE_STORAGE_SAS_TOKEN")
    return BlobServiceClient(
        f"https://{account}.blob.core.windows.net", credential=key or _identity(), **settings
    )


def _identity() -> Any:
    """The machine's or the user's identity; None where there is none."""
    try:
        from azure.identity import DefaultAzureCredential
    except ModuleNotFoundError:
        return None
    credential = DefaultAzureCredential()
    try:
        credential.get_token("https://storage.azure.com/.default")
    except ClientAuthenticationError:
        return None
    return credential


def _is_unsigned() -> bool:
    client = _client()
    return client.credential is None and "sig=" not in client.url
