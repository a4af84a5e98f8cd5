"""The promises of ``fuzz.py`` under atheris, which mutates towards code that no mail has reached yet.

    pip install atheris            # into an environment of its own: it is needed for nothing else
    python benchmarks/atheris_target.py [-max_total_time=600] [-max_len=20000] WORK corpus/dsn corpus/prose

The options are libFuzzer's; new mails go to the first folder. A mail that makes the reader raise is written to ``crash-*``
and ends the run; of other promises that are not kept each is told once, and its mails are among the new ones.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["bounceparse"]):
    from fuzz import Failure, check

_TOLD: set[str] = set()


def one_mail(data: bytes) -> None:
    """What libFuzzer calls."""
    try:
        check(data)
    except Failure as failure:
        if str(failure) not in _TOLD:
            _TOLD.add(str(failure))
            print(f"not kept: {failure}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_mail)
    atheris.Fuzz()
