"""What may be the name of a sample, for those who write shards and those who read them."""

# A ustar header holds 100 bytes of name, and the longer member is called `<key>.mjpeg`.
MAX_KEY_BYTES = 100 - len(".mjpeg")


def key_fault(key: str) -> str | None:
    """What forbids `key` as the name of a sample, or None.

    A reader splits a member's name at the first dot, and an extraction must stay in its folder.
    """
    if not key:
        return "is empty"
    if "/" in key or "\\" in key:
        return "contains a path separator"
    if "." in key:
        return "contains a dot"
    if not key.isprintable():
        return "contains a control character"
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        return f"is longer than {MAX_KEY_BYTES} bytes"
    return None


MOST_FOREIGN_BYTES = 1024


def foreign_key_fault(key: str) -> str | None:
    """What forbids `key` as the name of a sample of a tar that others made, or None: nothing is extracted from it."""
    if not key:
        return "is empty"
    if not key.isprintable():
        return "contains a control character, or is not UTF-8"
    if len(key.encode("utf-8", "surrogatepass")) > MOST_FOREIGN_BYTES:
        return f"is longer than {MOST_FOREIGN_BYTES} bytes"
    return None
