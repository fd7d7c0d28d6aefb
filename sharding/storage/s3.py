"""S3 and the stores that speak its protocol, through boto3 and smart_open.

Endpoint and credentials come from the AWS environment and configuration files: AWS_ENDPOINT_URL_S3,
AWS_ACCESS_KEY_ID, AWS_PROFILE, an instance's role, ... Where there are no credentials, requests are sent unsigned:
a public bucket can be read so.
"""

import contextlib
import functools
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any

import boto3.session
import botocore.exceptions
import smart_open.s3
import urllib3.exceptions
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from sharding.storage import answers, patience
from sharding.storage.ranged import Opened, RangedReader
from sharding.storage.store import Location, Replaced

# smart_open tells of a bucket that refuses an upload by a ValueError around the client's error.
ERRORS: tuple[type[Exception], ...] = (
    BotoCoreError,
    ClientError,
    ResponseParserError,
    urllib3.exceptions.HTTPError,
    answers.OddAnswerError,
    ValueError,
    OSError,
)

_BROKEN = (
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
    botocore.exceptions.IncompleteReadError,
    botocore.exceptions.CredentialRetrievalError,  # the service that lends them is one more that may be away
    botocore.exceptions.MetadataRetrievalError,
    ResponseParserError,  # an answer that was cut short
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)
_PASSING_CODES = {
    "RequestTimeout",
    "BadDigest",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
}  # some with 400
_OTHER_REGION_CODES = {
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}

# The loop is `patience.insist`: smart_open's own would add a minute of sleep to each request that failed for good.
smart_open.s3.RETRY.exceptions = []
smart_open.s3.RETRY.client_error_codes = []


def passes(error: Exception) -> bool:
    if isinstance(error, ClientError):
        return answers.passes(_status(error)) or _code(error) in _PASSING_CODES
    return isinstance(error, _BROKEN) and not answers.is_distrust(error)


def explain(error: Exception) -> str:
    if isinstance(error, ValueError) and isinstance(error.__cause__, ClientError):
        error = error.__cause__
    if isinstance(error, ClientError):
        return answers.line(_status(error), _code(error), _told(error).get("Message"), _advice(error))
    return f"{type(error).__name__}: {error}"


def _advice(error: ClientError) -> str:
    if _status(error) in (301, 302, 307) or _code(error) in _OTHER_REGION_CODES:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = headers.get("x-amz-bucket-region") or _told(error).get("Region")
        if region:
            return f"the bucket is in region {region}: set AWS_DEFAULT_REGION={region}"
        return "the bucket is in another region or at another endpoint: set AWS_DEFAULT_REGION"
    if _code(error) == "NoSuchUpload":
        return "another program began to write the same object"
    unsigned = _client().meta.config.signature_version is UNSIGNED
    how = "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    return answers.advice(_status(error), _code(error), how if unsigned else None)


def size(at: Location) -> int | None:
    try:
        return int(_patient().head_object(Bucket=at.bucket, Key=at.key)["ContentLength"])
    except ClientError as error:
        if _status(error) == 404:
            return None
        raise


def names(at: Location) -> Iterator[str]:
    prefix = _below(at)
    for page in _pages(at):
        for entry in page.get("Contents", []):
            if entry["Key"] != prefix:  # some tools store an empty object for a folder
                yield entry["Key"][len(prefix) :]


def folders(at: Location) -> Iterator[str]:
    prefix = _below(at)
    for page in _pages(at):
        for entry in page.get("CommonPrefixes", []):
            yield entry["Prefix"][len(prefix) :].rstrip("/")


def _below(at: Location) -> str:
    return f"{at.key.rstrip('/')}/" if at.key else ""


def _pages(at: Location) -> Iterator[dict[str, Any]]:
    request = {"Bucket": at.bucket, "Prefix": _below(at), "Delimiter": "/"}
    while True:
        page = _patient().list_objects_v2(**request)
        yield page
        if "NextContinuationToken" not in page:
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def remove(at: Location) -> None:
    _patient().delete_object(Bucket=at.bucket, Key=at.key)


def open_read(at: Location, offset: int, end: int | None) -> RangedReader:
    return RangedReader(functools.partial(_fetch, at), offset, end, passes)


def put(at: Location, data: bytes) -> None:
    _patient().put_object(Bucket=at.bucket, Key=at.key, Body=data)


def writer(at: Location) -> "S3Writer":
    return S3Writer(at)


class S3Writer:
    """A multipart upload: nothing is visible before it is completed."""

    def __init__(self, at: Location) -> None:
        self._at = at
        _abort_unfinished(at)
        self._stream: Any = smart_open.s3.open(
            at.bucket, at.key, "wb", client=_patient(), min_part_size=patience.PART_BYTES
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
            if _code(error) != "NoSuchUpload" or not self._is_there(written, time.monotonic() - start):
                raise

    def abandon(self) -> None:
        # The collector closes a stream that is still open, and closing publishes what was written so far.
        vars(self._stream)["close"] = lambda: None
        self._stream.terminate()

    def _is_there(self, written: int, seconds: float) -> bool:
        """Whether the object has this size and was stored in the last so many seconds (the store's clock)."""
        head = _patient().head_object(Bucket=self._at.bucket, Key=self._at.key)
        now, stored = head["ResponseMetadata"]["HTTPHeaders"].get("date"), head.get("LastModified")
        if not now or not stored or head["ContentLength"] != written:
            return False
        return bool(parsedate_to_datetime(now) - stored <= timedelta(seconds=seconds + 2))


def _abort_unfinished(at: Location) -> None:
    """Abort the uploads of this very object that killed writers left: their parts are billed and never seen.

    A store that does not list uploads, or forbids it, keeps them: a lifecycle rule must end them there.
    """
    client = _patient()
    with contextlib.suppress(*ERRORS):
        found = client.list_multipart_uploads(Bucket=at.bucket, Prefix=at.key)
        for upload in found.get("Uploads", []):
            if upload["Key"] == at.key:  # the prefix finds a.tar.json beside a.tar
                client.abort_multipart_upload(Bucket=at.bucket, Key=at.key, UploadId=upload["UploadId"])


def _fetch(at: Location, start: int, end: int | None, version: str | None) -> Opened:
    request: dict[str, Any] = {"Bucket": at.bucket, "Key": at.key}
    if end is not None:
        request["Range"] = f"bytes={start}-{end - 1}"
    elif start:  # an empty object has no byte 0 to ask for
        request["Range"] = f"bytes={start}-"
    if version is not None:
        request["IfMatch"] = version
    try:
        answer = _send("get_object", **request)
    except ClientError as error:
        status = _status(error)
        if status == 404 and _code(error) != "NoSuchBucket":
            raise FileNotFoundError(at.url) from error
        if status == 412 and version is not None:
            raise Replaced from error
        if status == 416:  # at or past the end
            return Opened(io.BytesIO(), start, "")
        raise
    if version is not None and answer["ETag"] != version:  # a store that does not know IfMatch
        answer["Body"].close()
        raise Replaced
    whole = answer.get("ContentRange", "").rpartition("/")[2]  # "bytes 0-99/1234"
    return Opened(answer["Body"], int(whole or answer["ContentLength"]), answer["ETag"])


def _told(error: ClientError) -> dict[str, Any]:
    return dict(error.response.get("Error", {}))


def _code(error: ClientError) -> str:
    return str(_told(error).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


class _Patient:
    """A client whose every request is made by `patience.insist`; what smart_open uploads through, too."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name == "abort_multipart_upload":  # tried once: what it leaves, the object's next writer aborts
            return functools.partial(_send, name)
        return lambda **request: patience.insist(functools.partial(_send, name, **request), passes)


def _patient() -> Any:
    return _Patient()


_NEEDED = {
    "head_object": ["ContentLength"],
    "get_object": ["ContentLength", "ETag"],
    "create_multipart_upload": ["UploadId"],
    "upload_part": ["ETag"],
}


def _send(name: str, **request: Any) -> Any:
    """The answer to one request, with what it must have."""
    _region.asked = False
    body = request.get("Body")
    if isinstance(body, io.BytesIO):  # smart_open's buffer, which a request that broke has read
        request["Body"] = body.getvalue()
    answer = getattr(_client(), name)(**request)
    for field in _NEEDED.get(name, []):
        if field not in answer:
            raise answers.OddAnswerError(f"the answer to {name} has no {field}, which S3 always sends")
    return answer


_region = threading.local()


def _ask_for_the_region_once(**event: Any) -> Any:
    """An empty answer to botocore's second question for a bucket's region within one request.

    Where an answer sends it to another region that is not named, botocore asks for it by HEAD of the bucket, and where
    that is answered likewise, again, without end.
    """
    if _region.asked:
        return SimpleNamespace(status_code=200), {"ResponseMetadata": {"HTTPHeaders": {}}}
    _region.asked = True
    return None


def _client() -> Any:
    return _client_of(os.getpid())


@functools.cache
def _client_of(process: int) -> Any:
    """The client of this process: connections must not be shared with a parent."""
    session = boto3.session.Session()
    config = Config(
        connect_timeout=patience.CONNECT_TIMEOUT_S,
        read_timeout=patience.READ_TIMEOUT_S,
        retries={"total_max_attempts": 1},
        max_pool_connections=32,
        tcp_keepalive=True,
        signature_version=None if session.get_credentials() else UNSIGNED,
    )
    client = session.client("s3", config=config)
    endpoint = client.meta.endpoint_url
    if (
        plain := answers.without_secrets(endpoint)
    ) != endpoint:  # S3 has no use for them, and errors name the URL
        client = session.client("s3", config=config, endpoint_url=plain)
    client.meta.events.register("before-call.s3.HeadBucket", _ask_for_the_region_once)
    return client
