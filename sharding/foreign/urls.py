"""Which tars are meant: folders, files, and webdataset's lists in braces, here or in a store."""

from collections import Counter
from pathlib import Path

from braceexpand import braceexpand

from sharding import storage
from sharding.errors import UserError

_WEB = ("https://", "http://")


def tars(urls: list[str]) -> list[str]:
    """The URL of each tar, in the order given; those of a folder by name. Local ones are absolute paths.

    Raises `UserError` where there is none, or one twice.
    """
    found = [tar for url in urls for one in _expanded(url) for tar in _of_one(one)]
    twice = [url for url, count in Counter(found).items() if count > 1]
    if twice:
        raise UserError(f"{twice[0]}: given twice")
    return found


def name(tar: str) -> str:
    """What the tar at this URL is called, without its ending."""
    return _path(tar).rpartition("/")[2].removesuffix(".tar")


def _path(url: str) -> str:
    """Without what a web server is asked behind the path, as in `a.tar?download=true`."""
    return url.partition("?")[0] if url.startswith(_WEB) else url


def _expanded(url: str) -> list[str]:
    if url.startswith("pipe:"):
        raise UserError(
            f"{url}: the output of a command cannot be read from the middle; give the tar's own URL"
        )
    try:
        return list(braceexpand(url))
    except ValueError as error:
        raise UserError(f"{url}: its braces do not match ({error})") from None


def _of_one(url: str) -> list[str]:
    if "://" not in url:
        url = str(Path(url).expanduser().absolute())
    if _path(url).endswith(".tar"):
        return [url]
    if _path(url).endswith((".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")):
        raise UserError(
            f"{url}: compressed: no sample can be read without all before it; unpack it to a .tar"
        )
    if url.startswith(_WEB):
        raise UserError(f"{url}: not a .tar, and a web server lists no folder; name its tars")
    if "://" not in url and not Path(url).exists():
        raise UserError(f"{url}: no such file or folder")
    names = [name for name in storage.list_names(url) if name.endswith(".tar")]
    if not names:
        raise UserError(
            f"{url}: no .tar in it" if "." not in Path(url).name else f"{url}: not a .tar, and no folder"
        )
    return [storage.join(url, name) for name in names]
