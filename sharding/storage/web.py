"""Files of web servers, https:// and http://, to be read and nothing else, by the standard library's client.

A server must answer requests for a range of bytes, as those of public data sets do; redirects are followed.
"""

import functools
import http.client
import io
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from typing import NoReturn

from sharding.storage import answers, patience
from sharding.storage.ranged import Opened, RangedReader
from sharding.storage.store import Location, Replaced, Writer

_URL_LETTERS = "%:/?#[]@!$&'()*+,;=~"  # RFC 3986, 2.2

ERRORS: tuple[type[Exception], ...] = (OSError, http.client.HTTPException, answers.OddAnswerError)


def explain(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return answers.line(error.code, None, error.reason)
    return f"{type(error).__name__}: {getattr(error, 'reason', error)}"


def passes(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return answers.passes(error.code)
    if isinstance(error, http.client.InvalidURL):
        return False
    broken = (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException)
    reason = getattr(error, "reason", error)
    return isinstance(error, broken) and not answers.is_distrust(
        reason if isinstance(reason, Exception) else error
    )


def size(at: Location) -> int | None:
    """By a request for the first byte: links that are signed for reading alone refuse any other kind."""
    try:
        opened = patience.insist(functools.partial(_fetch, at, 0, 1, None), passes)
    except FileNotFoundError:
        return None
    opened.body.close()
    return opened.size


def names(at: Location) -> Iterable[str]:
    raise OSError("a web server lists no folder; name the files, such as {000000..000099}.tar")


def folders(at: Location) -> Iterable[str]:
    return names(at)


def remove(at: Location) -> None:
    _refuse()


def put(at: Location, data: bytes) -> None:
    _refuse()


def writer(at: Location) -> Writer:
    _refuse()


def open_read(at: Location, offset: int, end: int | None) -> RangedReader:
    return RangedReader(functools.partial(_fetch, at), offset, end, passes)


def _refuse() -> NoReturn:
    raise OSError("a web server is only read; write to a local path, s3://, gs:// or azure://")


def _fetch(at: Location, start: int, end: int | None, version: str | None) -> Opened:
    headers = {}
    if start or end is not None:
        headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
    try:
        answer = _send(at, headers)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # at or past the end
            return Opened(io.BytesIO(), start, "")
        raise
    found = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    if version is not None and found != version:
        answer.close()
        raise Replaced
    if start and answer.status != 206:
        answer.close()
        raise answers.OddAnswerError(
            "the server gives no part of a file; download the files, and index them here"
        )
    whole = answer.headers.get("Content-Range", "").rpartition("/")[2] or answer.headers.get("Content-Length")
    if not whole or not whole.isdigit():
        answer.close()
        raise answers.OddAnswerError("the server does not say how large it is")
    return Opened(answer, int(whole), found)


def _send(at: Location, headers: dict[str, str]) -> http.client.HTTPResponse:
    # Spaces and letters beyond ASCII, as people write them; what is quoted already stays.
    request = urllib.request.Request(urllib.parse.quote(at.url, safe=_URL_LETTERS), headers=headers)
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=patience.READ_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise FileNotFoundError(at.url) from error
        raise
    return answer
