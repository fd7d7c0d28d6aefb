"""How a user's mistake ends, whichever command it is made in."""

import pytest

from launch import cli


def assert_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`blvnet-launch` with these words ends with status 2 and one line that has `message`, and says nothing else."""
    try:
        status = cli.main(words)
    except SystemExit as end:  # argparse's
        status = int(str(end.code))
    assert status == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not out
