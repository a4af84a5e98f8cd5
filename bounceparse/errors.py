"""The exceptions of bounceparse.

::

    BounceparseError
    ├── RuleError          a rule file is wrong: file, rule id and remedy            (at start)
    ├── ConfigError        a configuration or a command's input is wrong             (at start)
    ├── InputError         a file or folder given as input cannot be opened
    ├── MailboxError       a mailbox cannot be polled; ``temporary`` says whether waiting helps
    │   └── MailboxLocked  another poller holds it (temporary)
    ├── AlertError         the command that tells a person cannot be run, or fails
    └── StoreError         the database cannot be used; ``temporary`` says whether waiting helps
        ├── SchemaError    its schema is older or newer than this version knows
        └── LockLost       another poller has taken the mailbox over (temporary)

A bad *message* is never an exception: ``parse`` answers for any bytes and notes what it would complain of in
``Report.defects``.
"""


class BounceparseError(Exception):
    """Root of all exceptions that bounceparse raises on purpose. Its text names the thing and the remedy."""

    temporary = False
    """True when the same call may succeed later without anybody changing anything."""


class RuleError(BounceparseError):
    """A rule file cannot be used: its text names the file, the rule's id and what is wrong."""


class ConfigError(BounceparseError):
    """The configuration cannot be used: its text names the file, the key and the remedy."""


class InputError(BounceparseError):
    """A path given as input cannot be opened or read."""


class MailboxError(BounceparseError):
    """A mailbox cannot be polled.

    ``temporary`` is True for faults that pass by themselves (network, throttling, server busy) and False where a
    person is needed (login refused, certificate, folder gone). ``retry_after`` holds the seconds that the server asked
    for, where it did.
    """

    def __init__(self, message: str, *, temporary: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.temporary = temporary
        self.retry_after = retry_after


class MailboxLocked(MailboxError):
    """Another poller holds the lock of this mailbox."""

    def __init__(self, message: str) -> None:
        super().__init__(message, temporary=True)


class AlertError(BounceparseError):
    """The operator's alert command cannot be run, has failed, or has not ended in time: it is run again later."""


class StoreError(BounceparseError):
    """The database cannot be used; ``temporary`` as in :class:`MailboxError`."""

    def __init__(self, message: str, *, temporary: bool = False) -> None:
        super().__init__(message)
        self.temporary = temporary


class SchemaError(StoreError):
    """The database's schema is not the one that this version needs: its text says what to run."""


class LockLost(StoreError):
    """Another poller has taken the mailbox over, since the connection that held its lock broke; nothing was written."""

    def __init__(self, message: str) -> None:
        super().__init__(message, temporary=True)
