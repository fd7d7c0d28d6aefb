"""Where each picture of a Motion-JPEG stream begins, where nobody has written it down."""

import re

# Behind a scan's header: entropy-coded data, in which FF is followed by 00, or by a restart marker (ITU T.81, B.1.1).
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_BARE = {0x01, *range(0xD0, 0xD8), _START}


def parts(blob: bytes) -> list[tuple[int, int]]:
    """The first byte and the number of bytes of each JPEG in `blob`. Raises ValueError for what is no such stream.

    What lies between two JPEGs is left out, as players leave it out.
    """
    found: list[tuple[int, int]] = []
    position = blob.find(b"\xff\xd8\xff")
    while position >= 0:
        end = _end(blob, position, len(found))
        found.append((position, end - position))
        position = blob.find(b"\xff\xd8\xff", end)
    if not found:
        raise ValueError("no JPEG in it")
    return found


def _end(blob: bytes, start: int, number: int) -> int:
    """The byte behind the JPEG that begins at `start`."""
    position = start
    while position + 4 <= len(blob) or blob[position : position + 2] == b"\xff\xd9":
        if blob[position] != 0xFF:
            break
        marker = blob[position + 1]
        if marker == _END:
            return position + 2
        if marker == 0xFF:
            position += 1
        elif marker in _BARE:
            position += 2
        else:
            position += 2 + int.from_bytes(blob[position + 2 : position + 4], "big")
            if marker == _SCAN:
                next_one = _MARKER.search(blob, position)
                if next_one is None:
                    break
                position = next_one.start()
    raise ValueError(f"frame {number}: a JPEG without an end")
