"""S3 and the stores that speak its protocol, through boto3 and smart_open.

Endpoint and credentials come from the AWS environment and configuration files: AWS_ENDPOINT_URL_S3,
AWS_ACCESS_KEY_ID, AWS_PROFILE, an instance's role, ...
"""

import functools
import io
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, cast

import boto3.session
import smart_open.s3
import urllib3.exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from sharding.storage import patience
from sharding.storage.ranged import Opened, RangedReader, Replaced
from sharding.storage.store import Location

# smart_open tells of a bucket that refuses an upload by a ValueError around the client's error.
ERRORS: tuple[type[Exception], ...] = (
    BotoCoreError,
    ClientError,
    urllib3.exceptions.HTTPError,
    ValueError,
    OSError,
)

# botocore does the retrying; smart_open would add a minute of sleep to each request that failed for good.
smart_open.s3.RETRY.exceptions = []
smart_open.s3.RETRY.client_error_codes = []


def explain(error: Exception) -> str:
    if isinstance(error, ValueError) and isinstance(error.__cause__, ClientError):
        error = error.__cause__
    if isinstance(error, NoCredentialsError):
        return "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if isinstance(error, ClientError):
        told = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
        advice = "; check the credentials and their rights" if status in (401, 403) else ""
        return f"HTTP {status} {told.get('Code', '')}: {told.get('Message', '')}{advice}"
    return f"{type(error).__name__}: {error}"


def size(at: Location) -> int | None:
    try:
        return int(_client().head_object(Bucket=at.bucket, Key=at.key)["ContentLength"])
    except ClientError as error:
        if _status(error) == 404:
            return None
        raise


def names(at: Location) -> Iterator[str]:
    prefix = f"{at.key.rstrip('/')}/" if at.key else ""
    pages = _client().get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=at.bucket, Prefix=prefix, Delimiter="/"):
        for entry in page.get("Contents", []):
            if entry["Key"] != prefix:  # some tools store an empty object for a folder
                yield entry["Key"][len(prefix) :]


def remove(at: Location) -> None:
    _client().delete_object(Bucket=at.bucket, Key=at.key)


def open_read(at: Location, offset: int, end: int | None) -> BinaryIO:
    fetch = functools.partial(_fetch, at)
    reader = RangedReader(at.url, fetch, offset, end, ERRORS, explain)
    return cast(BinaryIO, io.BufferedReader(reader, 256 << 10))


def put(at: Location, data: bytes) -> None:
    _client().put_object(Bucket=at.bucket, Key=at.key, Body=data)


def writer(at: Location) -> "S3Writer":
    return S3Writer(at)


class S3Writer:
    """A multipart upload: nothing is visible before it is completed."""

    def __init__(self, at: Location) -> None:
        self._at = at
        self._stream: Any = smart_open.s3.open(
            at.bucket, at.key, "wb", client=_client(), min_part_size=patience.PART_BYTES
        )

    def write(self, data: bytes, /) -> int:
        return int(self._stream.write(data))

    def commit(self) -> None:
        written, start = self._stream.tell(), time.monotonic()
        try:
            self._stream.close()
        except ClientError as error:
            # When the answer to the completing request is lost, the request is sent again, and by then the
            # store knows of no such upload.
            if error.response.get("Error", {}).get("Code") != "NoSuchUpload" or not self._is_there(
                written, time.monotonic() - start
            ):
                raise

    def abandon(self) -> None:
        # The collector closes a stream that is still open, and closing publishes what was written so far.
        vars(self._stream)["close"] = lambda: None
        self._stream.terminate()

    def _is_there(self, written: int, seconds: float) -> bool:
        """Whether the object has this size and was stored in the last so many seconds (the store's clock)."""
        head = _client().head_object(Bucket=self._at.bucket, Key=self._at.key)
        now = parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
        age = now - head["LastModified"]
        return bool(head["ContentLength"] == written and age <= timedelta(seconds=seconds + 2))


def _fetch(at: Location, start: int, end: int | None, version: str | None) -> Opened:
    request: dict[str, Any] = {"Bucket": at.bucket, "Key": at.key}
    if end is not None:
        request["Range"] = f"bytes={start}-{end - 1}"
    elif start:  # an empty object has no byte 0 to ask for
        request["Range"] = f"bytes={start}-"
    if version is not None:
        request["IfMatch"] = version
    try:
        answer = _client().get_object(**request)
    except ClientError as error:
        status = _status(error)
        if status == 404 and error.response["Error"].get("Code") != "NoSuchBucket":
            raise FileNotFoundError(at.url) from error
        if status == 412:
            raise Replaced(at.url) from error
        if status == 416:  # at or past the end
            return Opened(io.BytesIO(), start, "")
        raise
    if version is not None and answer["ETag"] != version:  # a store that does not know IfMatch
        answer["Body"].close()
        raise Replaced(at.url)
    whole = answer.get("ContentRange", "").rpartition("/")[2]  # "bytes 0-99/1234"
    return Opened(answer["Body"], int(whole or answer["ContentLength"]), answer["ETag"])


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _client() -> Any:
    return _client_of(os.getpid())


@functools.cache
def _client_of(process: int) -> Any:
    """The client of this process: connections must not be shared with a parent."""
    config = Config(
        connect_timeout=patience.CONNECT_TIMEOUT_S,
        read_timeout=patience.READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": patience.ATTEMPTS},
        max_pool_connections=32,
        tcp_keepalive=True,
    )
    return boto3.session.Session().client("s3", config=config)
