"""What `--archives`, `--spool` and `--annotations` of a command line mean together."""

from pathlib import Path

from sharding.archives.films import Downloads
from sharding.errors import UserError
from sharding.lists.something import V2_FILES


def look(folder: Path | None, spool: Path | None, out: str) -> Downloads | None:
    """The downloads in `folder`, if any. Without a `spool`, it is the folder beside `out`. Raises `UserError`."""
    if folder is None:
        if spool is not None:
            raise UserError(
                "--spool is where the films of --archives are kept; give --archives, or leave it out"
            )
        return None
    if spool is None:
        if "://" in out:
            raise UserError(f"{out}: films cannot be kept beside it; give a local folder as --spool")
        spool = Path(f"{out.rstrip('/')}.spool")
    return Downloads(folder, spool, {name for names in V2_FILES.values() for name in names})


def annotations(dataset: str, given: Path | None, archives: Downloads | None) -> Path:
    """Where the annotations are: as given, or among the downloads. Raises `UserError` where they are in neither."""
    if dataset == "sthv1" and archives is not None:
        raise UserError("--archives takes films; version 1 comes in pictures: unpack it, and give --videos")
    if given is not None:
        return given
    if archives is None or dataset != "sthv2":
        raise UserError("--annotations is missing: the folder or file of the annotations")
    return archives.labels()
