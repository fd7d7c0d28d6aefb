"""What an answer of a store means, and how it is told: the same for every cloud."""

import re
import ssl


class OddAnswerError(Exception):
    """A good answer that lacks what it must have."""


def passes(status: int) -> bool:
    """Whether the same request may be answered otherwise later."""
    return status in (408, 429) or (status >= 500 and status not in (501, 505))  # these two: not implemented


def line(status: int, code: object, message: object, advice: str = "") -> str:
    """An error of HTTP in words: `HTTP 403 AccessDenied: Access Denied; check ...`.

    Code and message are the store's, as far as it has them (the answer to HEAD has no body).
    """
    said = [str(part).rstrip(". ") for part in (code, message) if part and str(part) != str(status)]
    return f"HTTP {status} {': '.join(dict.fromkeys(said))}".rstrip() + (f"; {advice}" if advice else "")


def advice(status: int, code: object, no_credentials: str | None) -> str:
    """What to do about it. `no_credentials` says how to give them, where the request went out without any."""
    if "Expired" in str(code):
        return "the credentials have expired: renew them"
    if code == "RequestTimeTooSkewed":
        return "set this machine's clock"
    if status in (401, 403):
        return no_credentials or "check the credentials and their rights"
    return ""


def is_distrust(error: BaseException | None) -> bool:
    """Whether a connection failed because of a certificate, which no patience mends."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


_USER = re.compile(
    r"""(?<=://)[^/\s"'<>]*@"""  # user:password@ of a URL
    r"""|(?<=://)[^/:\s"']*:(?!\d*/)[^\s"']*@"""  # with a slash in the password, which is wrong
    r"""|(?<![^\s"'])[^/:\s"'@]+:[^/\s"']+@(?=\w)"""  # of a URL that lacks its scheme
)
_SIGNATURE = re.compile(r"(?<=[?&]sig=)[^&\s\"')]+")


def without_secrets(text: str) -> str:
    """`text` without user names and passwords in URLs, and without the signatures of Azure's SAS tokens."""
    return _SIGNATURE.sub("...", _USER.sub("", text))
