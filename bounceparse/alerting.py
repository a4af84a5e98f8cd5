"""Telling a person: run the operator's command with an event, for so long and no longer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from bounceparse.errors import AlertError


@dataclass(frozen=True, slots=True)
class AlertCommand:
    """What is run for an alert: a string by the shell, a list as it is; killed after ``timeout`` seconds."""

    command: str | Sequence[str]
    timeout: float = 30.0


def run_alert(to_run: AlertCommand, event: Mapping[str, str | None]) -> None:
    """Run a command with ``event``: as a JSON object on its standard input, and each value as ``ALERT_NAME`` around it.

    What it prints goes to standard error. It runs in a process group of its own, which is killed as a whole when the
    time is over. Raises :class:`AlertError` where it cannot be run, fails, or does not end in time.
    """
    environment = {f"ALERT_{name.upper()}": (value or "").replace("\0", " ") for name, value in event.items()}
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's own command
            to_run.command, shell=isinstance(to_run.command, str), env={**os.environ, **environment},
            stdin=subprocess.PIPE, stdout=2, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise AlertError(f"[alert] command cannot be run: {error}: check the path") from None
    try:
        process.communicate(json.dumps(event).encode() + b"\n", timeout=to_run.timeout)
    except subprocess.TimeoutExpired:
        raise AlertError(
            f"[alert] command has not ended after {to_run.timeout:g} s: make it faster, or set timeout"
        ) from None
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        raise AlertError(f"[alert] command ended with status {process.returncode}: it is run again next time")
