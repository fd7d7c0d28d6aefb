"""An FFmpeg program of another version than PyAV's: a film's frames, small, and what it has to complain of."""

import subprocess
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from av import VideoFrame
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from sharding.format import mjpeg
from sharding.format.rows import SampleRow
from sharding.format.shard import unpack

SIDE = 16
_LIMIT_S = 300.0

Pictures = NDArray[np.uint8]
"""RGB, uint8 (frames, SIDE, SIDE, 3): enough to tell one frame from another, and colours from wrong ones."""


NOTHING: Pictures = np.empty((0, SIDE, SIDE, 3), np.uint8)


class Decoded(NamedTuple):
    """The pictures of a film, and the program's errors, the first one first."""

    pictures: Pictures
    errors: list[str]


class Decoder:
    """The program, which is one file."""

    def __init__(self, program: Path) -> None:
        self._program = program

    @classmethod
    def unpacked(cls, wheel: Path, folder: Path) -> "Decoder":
        """Out of the wheel of imageio-ffmpeg."""
        with zipfile.ZipFile(wheel) as opened:
            (name,) = (name for name in opened.namelist() if "/binaries/ffmpeg" in name)
            program = Path(opened.extract(name, folder))
        program.chmod(0o755)
        return cls(program)

    def version(self) -> str:
        """As the program says it."""
        done = subprocess.run([self._program, "-version"], capture_output=True, text=True)
        return done.stdout.split()[2]

    def pictures(self, film: Path) -> Decoded:
        """Every frame of the first stream that is a film and no picture of one."""
        command = [str(self._program), "-nostdin", "-v", "error", "-threads", "1", "-i", str(film)]
        command += ["-map", "0:V:0", "-fps_mode", "passthrough", "-f", "rawvideo"]
        # Colours first, at full size: in one step it would make chroma small by another rule than luma.
        colours = "scale=flags=accurate_rnd+full_chroma_int+full_chroma_inp,format=gbrp"
        command += ["-vf", f"{colours},scale={SIDE}:{SIDE}:flags=area,format=rgb24", "pipe:1"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_LIMIT_S)
        except subprocess.TimeoutExpired:
            return Decoded(NOTHING, [f"not decoded within {_LIMIT_S:g} s"])
        size = SIDE * SIDE * 3
        whole = len(done.stdout) // size
        pictures = np.frombuffer(done.stdout[: whole * size], np.uint8).reshape(whole, SIDE, SIDE, 3)
        return Decoded(pictures, done.stderr.decode(errors="replace").splitlines())


def built_pictures(row: SampleRow, span: bytes) -> Pictures:
    """Those of a sample in a shard."""
    meta, blob = unpack(row, span)
    small = []
    for number in range(meta.frames):
        (frame,) = mjpeg.decode(blob, meta.offsets, [number], (meta.width, meta.height))
        whole = VideoFrame.from_ndarray(frame, format="rgb24")
        small.append(whole.reformat(SIDE, SIDE, interpolation=Interpolation.AREA).to_ndarray())
    return np.stack(small)
