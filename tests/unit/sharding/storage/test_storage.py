import gc
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sharding import storage
from sharding.errors import UserError
from sharding.storage import patience
from tests.broken_disk import BrokenFile
from tests.conftest import need
from tests.stores import fresh_clients, upload

STORES = [pytest.param(store, marks=pytest.mark.store) for store in ("s3", "gs", "azure")]


@pytest.fixture(params=["local", *STORES])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder of each kind of store."""
    if request.param == "local":
        return str(tmp_path / "set")
    return str(request.getfixturevalue(request.param))


def test_join_puts_one_slash_between() -> None:
    assert storage.join("s3://bucket/", "/a/", "b.json") == "s3://bucket/a/b.json"
    assert storage.join("/data/set", "train", "manifest.json") == "/data/set/train/manifest.json"
    assert storage.join(Path("data"), "x") == "data/x"
    assert storage.join("/", "x") == "/x"
    assert storage.join("data/") == "data/"


def test_round_trip(root: str) -> None:
    url = storage.join(root, "train", "a.bin")
    assert not storage.exists(url)
    data = os.urandom(3000)
    storage.write_bytes(url, data)
    assert storage.exists(url)
    assert storage.size(url) == len(data)
    assert storage.read_bytes(url) == data
    storage.write_bytes(url, b"")
    assert storage.read_bytes(url) == b""
    assert storage.size(url) == 0


def test_folders_are_listed_apart_from_files(root: str) -> None:
    assert storage.list_folders(root) == []
    for name in ("val/a.json", "train/a.json", "train/deep/b.json", "c.json"):
        storage.write_bytes(storage.join(root, name), b"x")
    assert storage.list_folders(root) == ["train", "val"]
    assert storage.list_folders(storage.join(root, "train/")) == ["deep"]
    assert storage.list_names(root) == ["c.json"]


def test_reading_starts_at_the_offset(root: str) -> None:
    url = storage.join(root, "a.bin")
    data = os.urandom(1_000_003)
    storage.write_bytes(url, data)
    for offset in (0, 1, 512, len(data) - 1, len(data), len(data) + 7):
        with storage.open_read(url, offset) as stream:
            assert stream.read() == data[offset:]
    with storage.open_read(url, 999) as stream:
        assert stream.read(10) == data[999:1009]
        assert stream.read(400_000) == data[1009:401_009]
        rest = bytearray(599_000)
        assert stream.readinto(rest) == len(data) - 401_009  # type: ignore[attr-defined]
        assert stream.read(1) == b""


def test_reading_stops_at_the_end_asked_for(root: str) -> None:
    url = storage.join(root, "a.bin")
    data = os.urandom(700_001)
    storage.write_bytes(url, data)
    for offset, end in ((0, 1), (0, 300_000), (5, 512), (1000, 600_000), (699_990, 700_001)):
        with storage.open_read(url, offset, end) as stream:
            assert stream.read() == data[offset:end]
            assert stream.read(1) == b""
    for offset in (0, 699_990, 700_001, 700_500):  # an object that is too short gives what it has
        with storage.open_read(url, offset, 800_000) as stream:
            assert stream.read() == data[offset:]
    storage.write_bytes(url, b"")
    with storage.open_read(url, 0, 10) as stream:
        assert stream.read() == b""
    with pytest.raises(UserError, match=r"missing\.bin: no such file"):
        storage.open_read(storage.join(root, "missing.bin"), 3, 10)


def test_listing_names_files_directly_below(root: str) -> None:
    assert storage.list_names(storage.join(root, "nothing")) == []
    for name in ("b.tar", "a.json", "deeper/c.tar", "deeper/still/d.tar"):
        storage.write_bytes(storage.join(root, "train", name), b"x")
    storage.write_bytes(storage.join(root, "train-2"), b"x")
    assert storage.list_names(storage.join(root, "train")) == ["a.json", "b.tar"]
    assert storage.list_names(storage.join(root, "train") + "/") == ["a.json", "b.tar"]


def test_removing_a_missing_file_is_fine(root: str) -> None:
    url = storage.join(root, "a")
    storage.remove(url)
    storage.write_bytes(url, b"x")
    storage.remove(url)
    assert not storage.exists(url)


def test_published_when_the_block_ends(root: str) -> None:
    url = storage.join(root, "train", "a.tar")
    with storage.publish(url) as stream:
        assert stream.write(b"one") == 3
        stream.write(memoryview(bytearray(b"two")))
        assert stream.tell() == 6
        assert not storage.exists(url)
        assert storage.list_names(storage.join(root, "train")) == []
    assert storage.read_bytes(url) == b"onetwo"


def test_publishing_many_parts(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PART_BYTES", 5 << 20)
    url = storage.join(root, "big.bin")
    data = os.urandom(1 << 20)
    with storage.publish(url) as stream:
        for _ in range(12):
            stream.write(data)
    assert storage.read_bytes(url) == data * 12


def test_publishing_nothing_is_an_empty_file(root: str) -> None:
    url = storage.join(root, "empty")
    with storage.publish(url):
        pass
    assert storage.read_bytes(url) == b""


@pytest.mark.parametrize("parts", [0, 2])
def test_an_error_while_publishing_leaves_what_was_there(
    root: str, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PART_BYTES", 5 << 20)
    new, old = storage.join(root, "new"), storage.join(root, "old")
    storage.write_bytes(old, b"before")
    for url in (new, old):
        with pytest.raises(ZeroDivisionError), storage.publish(url) as stream:
            stream.write(b"x" * (parts * (5 << 20) + 7))
            raise ZeroDivisionError
    gc.collect()  # a forgotten stream would be closed, and thereby published, by the collector
    assert storage.list_names(root) == ["old"]
    assert storage.read_bytes(old) == b"before"
    assert not [p for p in Path(root).rglob("*") if p.name != "old"]


def test_uploading_a_file(root: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(100_000))
    upload(source, storage.join(root, "target"))
    assert storage.read_bytes(storage.join(root, "target")) == source.read_bytes()
    with pytest.raises(UserError, match="missing-file: no such file"):
        upload(tmp_path / "missing-file", storage.join(root, "target"))


def test_a_missing_file_is_named(root: str) -> None:
    url = storage.join(root, "no", "such.json")
    for read in (storage.read_bytes, storage.open_read, storage.size):
        with pytest.raises(UserError) as caught:
            read(url)
        assert str(caught.value).startswith(f"{url}: no such file")
        assert "\n" not in str(caught.value)


def test_an_unknown_scheme_is_an_error() -> None:
    with pytest.raises(UserError, match=r"ftp://host/x: unknown kind of store ftp://"):
        storage.read_bytes("ftp://host/x")
    with pytest.raises(UserError, match=r"s3://bucket/path"):
        storage.read_bytes("s3:///key")


def test_importing_loads_no_cloud_client() -> None:
    program = (
        "import sys, sharding.storage; print([m for m in ('boto3', 'google', 'azure') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_client_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3.session", None)
    monkeypatch.delitem(sys.modules, "sharding.storage.s3", raising=False)
    monkeypatch.delattr("sharding.storage.s3", raising=False)
    with pytest.raises(UserError, match=r"pip install 'blvnet-pipeline\[s3\]'"):
        storage.exists("s3://bucket/key")


# Local files


def test_a_local_file_gets_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        storage.write_bytes(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_file_url_is_a_local_path(tmp_path: Path) -> None:
    storage.write_bytes(f"file://{tmp_path}/a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from sharding import storage
with storage.publish(sys.argv[1]) as stream:
    stream.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    url = tmp_path / "a.tar"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program, str(url)], check=False)
        assert len(list(tmp_path.iterdir())) == 1
        assert storage.list_names(tmp_path) == []
    with storage.publish(url) as mine, storage.publish(url) as other:
        mine.write(b"mine")
        other.write(b"other")
    assert url.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [url]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(small)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    need(mounted, "mounting a small file system takes root")
    try:
        url = small / "a.tar"
        storage.write_bytes(url, b"before")
        with pytest.raises(UserError, match=r"a\.tar: cannot write .*No space left on device"):
            storage.write_bytes(url, bytes(5 << 20))
        for piece in (1 << 10, 3 << 20):
            with pytest.raises(UserError) as caught, storage.publish(url) as stream:
                for _ in range((5 << 20) // piece + 1):
                    stream.write(bytes(piece))
            assert str(caught.value).startswith(f"{url}: cannot write at byte ")
            assert "No space left on device" in str(caught.value)
            assert [p.name for p in small.iterdir()] == ["a.tar"]
            assert url.read_bytes() == b"before"
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize("end", [None, 900_000])
def test_a_disk_that_fails_in_the_middle_of_a_file_is_told_with_its_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: int | None
) -> None:
    url = tmp_path / "a.tar"
    data = os.urandom(1_000_000)
    url.write_bytes(data)
    monkeypatch.setattr(Path, "open", lambda self, mode, buffering: BrokenFile(self, 600_000))
    with storage.open_read(url, 1000, end) as stream:
        assert stream.read(500_000) == data[1000:501_000]
        told = rf"^{url}: cannot read on at byte (5|6)\d+ of 1000000: Input/output error$"
        with pytest.raises(UserError, match=told):
            stream.read()


def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read it: Is a directory"):
        storage.read_bytes(tmp_path)


# Buckets


def _read(url: str) -> bytes:
    return storage.read_bytes(url)


def _use(environment: dict[str, str]) -> None:
    os.environ.update(environment)


@pytest.mark.store
@pytest.mark.parametrize("start", ["fork", "forkserver"])
def test_a_child_process_makes_its_own_client(s3: str, start: str) -> None:
    storage.write_bytes(f"{s3}/a", b"shared")
    # A fork server that other tests have started has the environment of its own start.
    here = (dict(os.environ),)
    with multiprocessing.get_context(start).Pool(2, initializer=_use, initargs=here) as pool:
        assert pool.map(_read, [f"{s3}/a"] * 8) == [b"shared"] * 8
        pool.close()  # a fork server that loaders have started lends its processes a deaf ear to SIGTERM
        pool.join()
    assert storage.read_bytes(f"{s3}/a") == b"shared"


@pytest.mark.store
def test_wrong_credentials_are_told_at_once(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with fresh_clients():
        start = time.monotonic()
        for call in (
            lambda: storage.read_bytes(f"{s3}/a"),
            lambda: storage.write_bytes(f"{s3}/a", b"x"),
            lambda: storage.list_names(s3),
            lambda: storage.exists(f"{s3}/a"),
            lambda: storage.remove(f"{s3}/a"),
            lambda: upload(Path(__file__), f"{s3}/a"),
        ):
            with pytest.raises(UserError, match=r"HTTP 403 .*check the credentials") as caught:
                call()
            assert f"{s3}" in str(caught.value)
            assert "\n" not in str(caught.value)
        assert time.monotonic() - start < 60


@pytest.mark.store
def test_no_credentials_are_told(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with fresh_clients(), pytest.raises(UserError, match=r"no credentials; set AWS_ACCESS_KEY_ID"):
        storage.read_bytes(f"{s3}/a")


@pytest.mark.store
def test_a_missing_bucket_is_named(s3: str) -> None:
    with pytest.raises(UserError, match="NoSuchBucket"):
        storage.write_bytes("s3://no-such-bucket/a", b"x")
    with pytest.raises(UserError, match="NoSuchBucket"):
        storage.read_bytes("s3://no-such-bucket/a")
    with pytest.raises(UserError, match="NoSuchBucket"), storage.publish("s3://no-such-bucket/a"):
        pass


def test_nobody_at_the_endpoint_is_told_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setattr(patience, "TOTAL_S", 0.5)
    with fresh_clients(), pytest.raises(UserError, match=r"s3://bucket/a: cannot read it: .*127\.0\.0\.1:9"):
        storage.read_bytes("s3://bucket/a")
