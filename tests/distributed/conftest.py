"""The object stores, for the tests on several processes."""

from tests.stores import s3, s3_server

__all__ = ["s3", "s3_server"]
