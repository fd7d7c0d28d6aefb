"""Files of a web server: parts of them, one version, and nothing is written."""

import contextlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sharding import storage
from sharding.building.verify import verify
from sharding.errors import UserError
from sharding.storage import patience
from tests import foreign

CONTENT = bytes(range(256)) * 4000
pytestmark = pytest.mark.filterwarnings("ignore:unclosed")


class Server:
    """What a test sees of the server, and may change."""

    def __init__(self) -> None:
        self.files = {"/a.bin": CONTENT}
        self.etag, self.ranges, self.cut = '"1"', True, 0
        self.moved: dict[str, str] = {}
        self.asked: list[str] = []


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def url(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(patience, "BACKOFF_S", 0.01)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            server.asked.append(f"{self.command} {self.path} {asked}".strip())
            if target := server.moved.get(self.path):
                self.send_response(302)
                self.send_header("Location", target)
                self.send_header("Content-Length", "0")
                return self.end_headers()
            content = server.files.get(self.path)
            # taken before the answer: after it the test goes on, and sets it anew
            cut, server.cut = server.cut, 0
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
            if content is None:
                return self.send_error(404)
            start, end, whole = 0, len(content), len(content)
            if found and server.ranges:
                start, end = int(found[1]), min(whole, int(found[2] or whole - 1) + 1)
                if start >= whole:
                    return self.send_error(416)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{whole}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(end - start))
            self.send_header("ETag", server.etag)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the reader has enough
                self.wfile.write(content[start : start + cut] if cut else content[start:end])
            return None

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_parts_are_asked_for_and_no_more(url: str, server: Server) -> None:
    assert storage.size(f"{url}/a.bin") == len(CONTENT)
    with storage.open_read(f"{url}/a.bin", 1000, 700_000) as stream:
        assert stream.read() == CONTENT[1000:700_000]
    assert server.asked == ["GET /a.bin bytes=0-0", "GET /a.bin bytes=1000-699999"]
    assert storage.read_bytes(f"{url}/a.bin") == CONTENT
    with storage.open_read(f"{url}/a.bin", len(CONTENT)) as stream:
        assert stream.read() == b""


def test_a_connection_that_breaks_is_taken_up_at_its_byte(url: str, server: Server) -> None:
    server.cut = 300_000
    with storage.open_read(f"{url}/a.bin", 10) as stream:
        assert stream.read() == CONTENT[10:]
    assert server.asked == ["GET /a.bin bytes=10-", "GET /a.bin bytes=300010-"]


def test_what_fails_is_told(url: str, server: Server) -> None:
    assert not storage.exists(f"{url}/b.bin")
    with pytest.raises(UserError, match=r"/b.bin: no such file"):
        storage.read_bytes(f"{url}/b.bin")
    with pytest.raises(UserError, match="a web server is only read; write to a local path"):
        storage.write_bytes(f"{url}/a.bin", b"")
    server.ranges = False
    with pytest.raises(UserError, match="the server gives no part of a file; download"):
        storage.open_read(f"{url}/a.bin", 10)
    server.ranges, server.cut = True, 300_000
    with storage.open_read(f"{url}/a.bin", 10) as stream:
        stream.read(100)
        server.etag = '"2"'
        with pytest.raises(UserError, match="the object was replaced or removed while it was read"):
            stream.read()


def test_tars_on_a_web_server_are_indexed_there(url: str, server: Server, tmp_path: Path) -> None:
    for tar in foreign.img2dataset(tmp_path, [2, 2]):
        server.files[f"/{tar.name}"] = tar.read_bytes()
    made = foreign.indexed([f"{url}/{{00000..00001}}.tar"], tmp_path / "train", label="txt")
    assert (made.samples, made.shard_url(1)) == (4, f"{url}/00001.tar")
    with pytest.raises(UserError, match=r"not a \.tar, and a web server lists no folder"):
        foreign.indexed([f"{url}/all"], tmp_path / "other")


def test_links_that_are_signed_for_reading_and_names_as_people_write_them(
    url: str, server: Server, tmp_path: Path
) -> None:
    """A server redirects to such a link, which answers GET alone; names have spaces, and letters beyond ASCII."""
    (tar,) = foreign.img2dataset(tmp_path, [3])
    server.files["/signed?key=a%2Fb"] = tar.read_bytes()
    server.moved["/data/die%20gr%C3%BCne/0.tar?download=true"] = f"{url}/signed?key=a%2Fb"
    there = f"{url}/data/die grüne/0.tar?download=true"
    made = foreign.indexed([there], tmp_path / "train", label="txt")
    assert made.samples == 3
    assert storage.size(made.shard_url(0)) == len(tar.read_bytes())
    assert verify(made.root, 1).problems == {}
    with pytest.raises(UserError, match="cannot look it up: InvalidURL: nonnumeric port"):
        storage.size("http://host:port/0.tar")
