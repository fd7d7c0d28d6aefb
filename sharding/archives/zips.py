"""What is in a zip, and where: each member can be read alone."""

import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from sharding.archives.spans import Span
from sharding.errors import UserError

_LOCAL_HEADER = 30
_ENCRYPTED = 1


def members(file: Path) -> list[tuple[str, Span]]:
    """The files in a zip, in the order of its table. Raises `UserError` for one that is cut or cannot be read."""
    try:
        with zipfile.ZipFile(file) as opened:
            infos = [info for info in opened.infolist() if not info.is_dir()]
        with file.open("rb") as stream:
            end = stream.seek(0, 2)
            return [(info.filename, _span(file, info, stream, end)) for info in infos]
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UserError(f"{file}: cut or damaged ({_lower(error)}); get it again") from None


def _span(file: Path, info: zipfile.ZipInfo, stream: BinaryIO, end: int) -> Span:
    """Where the member's bytes are: behind its own header, whose name and extra fields may differ from the table's."""
    if info.flag_bits & _ENCRYPTED:
        raise UserError(f"{file}: {info.filename} is encrypted; unpack it, and give the folder as --videos")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(
            f"{file}: {info.filename} is neither stored nor deflated; unpack it, and give the folder as --videos"
        )
    stream.seek(info.header_offset)
    header = stream.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\3\4"):
        raise ValueError(f"{info.filename} is not where its table says")
    name, extra = struct.unpack("<HH", header[26:])
    offset = info.header_offset + _LOCAL_HEADER + name + extra
    if offset + info.compress_size > end:
        raise ValueError(f"{info.filename} ends behind the file")
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    return Span(str(file), offset, info.compress_size, info.file_size, deflated, info.CRC)


def _lower(error: Exception) -> str:
    text = str(error).rstrip(".")
    return text[:1].lower() + text[1:]
