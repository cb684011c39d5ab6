"""Signals that end a process let the work at hand come to a safe point."""

import os
import pty
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vwtransfer.interrupts import deferred


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_deferred(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with deferred() as asked:
        assert not asked()
        signal.raise_signal(number)
        assert asked()
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_acts() -> None:
    with pytest.raises(KeyboardInterrupt), deferred():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_under_nohup_a_closed_terminal_says_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with deferred() as asked:
            signal.raise_signal(signal.SIGHUP)
            assert not asked()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_work_whose_terminal_is_closed_is_saved(tmp_path: Path) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from vwtransfer.interrupts import deferred

        with deferred() as asked:
            print("ready", flush=True)
            while not asked():
                time.sleep(0.01)
            print("stopping", flush=True)
            Path(sys.argv[1]).write_text("saved")
    """
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "word")]
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=lambda: os.login_tty(theirs),
    )
    os.close(theirs)
    assert os.read(ours, 100).startswith(b"ready")
    os.close(ours)
    assert process.wait(20) == 0
    assert (tmp_path / "word").read_text() == "saved"
