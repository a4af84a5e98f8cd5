"""bounceparse reads what mail servers send back: bounces, complaints, unsubscribe requests.

The core is pure: :func:`parse` tells what a message says, :func:`classify` what to conclude from it. The database is
``bounceparse.db.Store``; polling is ``bounceparse.mailboxes`` and ``bounceparse.ingest``.

    >>> from bounceparse import classify, parse
    >>> report = parse(b"Subject: hello\\n\\nJust a mail.\\n")
    >>> report.kind
    <Kind.OTHER: 'other'>
    >>> classify(report)
    ()
"""

from bounceparse.classify import classify
from bounceparse.codes import Action, Phase
from bounceparse.headers import Limits
from bounceparse.outcomes import Evidence, Fault, Outcome, Status
from bounceparse.parse import parse
from bounceparse.reports import Kind, Report

__version__ = "0.1.0"

__all__ = [
    "Action",
    "Evidence",
    "Fault",
    "Kind",
    "Limits",
    "Outcome",
    "Phase",
    "Report",
    "Status",
    "__version__",
    "classify",
    "parse",
]
