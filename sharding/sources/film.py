"""One film, in a file or in memory, opened and decoded from where it is wanted. Nothing else is ever opened."""

import io
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
from av import VideoFrame
from av.codec.context import Flags
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.error import BlockingIOError as Nothing
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from sharding.format import header
from sharding.sources import blame, times, truncation
from sharding.sources.fault import LIMITS, Unusable, regular_size
from sharding.sources.interlace import deinterlaced
from sharding.sources.times import Timed

# Demuxers by FFmpeg's names. None of them opens another file: playlists (hls, dash, concat), patterns of pictures
# (image2) and pages of text (tty) are not here.
FORMATS = (
    "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,avi,mpegts,mpeg,flv,asf,ogg,mxf,gif,dv,ivf,yuv4mpegpipe,"
    "h264,hevc,m4v,mpegvideo"
)
_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
_NOT_FILM = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails

# Containers without an index: seeking guesses a place in the file, often one behind the key frame, so that it is tried
# from earlier ones. In a program stream, where a time may stand for several frames, it would guess the times too.
_EARLIER_S = {"mpegts": (2, 8, 32), "mpeg": ()}
# Containers that hold no time of being shown.
_WITHOUT_TIMES = {"avi", "h264", "hevc", "m4v", "mpegvideo"}
_LOOKAHEAD = 32  # packets: several groups of B-frames
_DEPTH = 4  # frames that the times of one group of B-frames are spread over, at least


_Packets = Iterator["av.Packet[VideoStream]"]


class Film:
    """A file that is open, or its bytes, and its film: the first video stream that is no picture of it.

    `notes` is what else is to be recorded of it, some of it only after its frames have been read.
    """

    def __init__(self, path: Path | io.BytesIO) -> None:
        size = regular_size(path)
        if size == 0:
            raise Unusable("empty file (0 bytes)")
        stated = truncation.stated_bytes(path)
        self._path = path
        self.notes: dict[str, Any] = {}
        try:
            self._open()
        except FFmpegError as error:
            if stated is not None and stated > size and not blame.is_machines(error):
                raise Unusable(f"truncated: {size} bytes of {stated}") from None
            raise
        try:
            if stated is None:
                self.notes["end"] = "not stated"
            elif stated > size and not truncation.is_whole(
                path, self.stream.index_entries, self.stream.frames
            ):
                raise Unusable(f"truncated: {size} bytes of {stated}")
        except BaseException:
            self.close()
            raise
        rate = self.stream.average_rate or self.stream.guessed_rate
        self.codec = self.stream.codec_context.name
        self.fps = round(float(rate), 6) if rate else None
        self._step = float(1 / rate) if rate else 0.04
        aspect = self.stream.sample_aspect_ratio
        self.aspect = aspect if aspect is not None and aspect > 0 else Fraction(1)
        if self.aspect != 1:
            self.notes["sample_aspect_ratio"] = f"{self.aspect.numerator}:{self.aspect.denominator}"

    def _open(self) -> None:
        try:
            self._container = opened(self._path)
        except ArgumentError:
            raise Unusable("not a file format of films that is read here") from None
        try:
            self.stream = film_of(self._container)
            self._sized = _prepare(self.stream.codec_context)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def frames(self, start: float | None, end: float | None) -> Iterator[Timed]:
        """Its frames in display order, those shown first in [start, end)."""
        packets, sort = self._ahead()
        if sort:
            timed = self._sorted(packets)
        elif start:
            timed = self._from(start)
        else:
            timed = self._stamped(packets)
        timed = deinterlaced(times.forward(timed), self.notes)
        timed = times.between(timed, start, end)
        return timed if self._sized else _of_unknown_size(timed)

    def _packets(self) -> _Packets:
        """Its packets up to where FFmpeg finds none in 64 kB of MPEG-TS: padding behind the end, or else damage."""
        found_nothing, later = False, 0
        while True:
            try:
                for packet in self._container.demux(self.stream):
                    later += found_nothing and packet.size > 0
                    if later > 1:  # the first was waiting for what follows it
                        raise Unusable("cannot be decoded: a stretch in the middle of it is no MPEG-TS")
                    yield packet
            except Nothing:
                found_nothing = True
            else:
                return

    def _ahead(self) -> tuple[_Packets, bool]:
        """Its packets; and whether they have no times of being shown, though they are not stored in that order."""
        packets = self._packets()
        if not self.stream.codec_context.has_b_frames:
            return packets, False
        ahead = list(islice(packets, _LOOKAHEAD))
        stamps = [p.pts for p in ahead if p.pts is not None]
        sort = self._container.format.name in _WITHOUT_TIMES or stamps == sorted(stamps)
        return chain(ahead, packets), sort

    def _sorted(self, packets: _Packets) -> Iterator[Timed]:
        depth = max(_DEPTH, self.stream.codec_context.reorder_depth)
        return times.sorted_times(self._stamped(packets, 0.0), depth)

    def _stamped(self, packets: _Packets, origin: float | None = None) -> Iterator[Timed]:
        base = float(self.stream.time_base or 1)
        if origin is None and self.stream.start_time is not None:
            origin = self.stream.start_time * base
        return times.joined(times.stamped(_decoded(packets), base, self._step, origin), self._step)

    def _from(self, start: float) -> Iterator[Timed]:
        """Frames from a key frame before `start`; from the first one where the container cannot seek there."""
        base, begin = self.stream.time_base, self.stream.start_time
        if base is not None and begin is not None:
            for earlier in _EARLIER_S.get(self._container.format.name, (0,)):
                if earlier and earlier >= start:
                    break
                found = self._sought(begin + int((start - earlier) // base), start)
                if found is not None:
                    yield from found
                    return
        self.close()
        self._open()  # seeking back would not find the beginning in every container
        yield from self._stamped(self._packets())

    def _sought(self, target: int, start: float) -> Iterator[Timed] | None:
        """Frames from a seek on, if they begin before `start`, with one that needs no other."""
        try:
            self._container.seek(target, stream=self.stream, backward=True)
            frames = self._stamped(self._packets())
            first = next(frames, None)
        except (FFmpegError, Unusable) as error:
            if blame.is_machines(error):
                raise
            return None
        if first is None or first[1].pts is None or first[0] > start:
            return None
        if self._container.format.name in _EARLIER_S and not first[1].key_frame:
            return None
        return chain([first], frames)


def opened(path: Path | io.BytesIO) -> InputContainer:
    """The file, if it is of one of `FORMATS`: else FFmpeg's `ArgumentError`. One in memory is read by one at a time."""
    if not isinstance(path, Path):
        path.seek(0)
    # The limits are for the decoders that FFmpeg tries a stream with before it says what is in it.
    return av.open(
        str(path) if isinstance(path, Path) else path,
        "r",
        metadata_errors="replace",
        container_options=_OPTIONS,
        options=LIMITS,
    )


def film_of(container: InputContainer) -> VideoStream:
    """The first video stream that is no picture of the film. `Unusable` where there is none."""
    if not container.streams.video:
        raise Unusable("no video stream in it")
    films = [s for s in container.streams.video if not s.disposition & _NOT_FILM]
    if not films:
        raise Unusable("no video stream in it but a picture")
    return films[0]


def _prepare(context: VideoCodecContext | None) -> bool:
    """Make a stream's decoder ready. Returns whether the header says how large its frames are."""
    if context is None:
        raise Unusable("its codec is not known here")
    sized = context.width > 0 and context.height > 0
    if sized and (fault := header.size_fault(context.width, context.height)):
        raise Unusable(fault)
    context.options = LIMITS  # for frames that are larger than the header says
    context.thread_count = 1
    context.flags |= Flags.bitexact
    return sized


def _of_unknown_size(frames: Iterator[Timed]) -> Iterator[Timed]:
    """The frames of a stream that FFmpeg found no size for, or one beyond the limit."""
    try:
        yield next(frames)
    except (FFmpegError, StopIteration) as error:
        if blame.is_machines(error):
            raise
        raise Unusable(f"no picture size in it, or more than {header.MAX_PIXELS} pixels") from None
    yield from frames


def _decoded(packets: _Packets) -> Iterator[VideoFrame]:
    """The frames of all packets. One without content leaves the frame before it on screen, and is none of its own."""
    for packet in packets:
        is_end = packet.size == 0 and not packet.buffer_ptr  # where a decoder gives what it has kept
        if packet.size or is_end:
            yield from packet.decode()
