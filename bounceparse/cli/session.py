"""What commands share: the configuration, read once when first asked for, and the database it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from bounceparse.config import Settings
    from bounceparse.db import Store
    from bounceparse.rules import RuleSet


class Session:
    """One run of a command; ``config`` is the file named on the command line."""

    def __init__(self, config: str | None) -> None:
        self.config = config
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """The settings in force; raises ``ConfigError``."""
        if self._settings is None:
            from bounceparse.config import load_settings
            from bounceparse.logs import set_up

            self._settings = load_settings(self.config)
            log = self._settings.log
            set_up(log.format, log.level, addresses=log.addresses)
        return self._settings

    @property
    def rule_files(self) -> tuple[Path, ...]:
        """The operator's rule files, none where there is no configuration; raises ``ConfigError``."""
        from bounceparse.config import has_config

        return self.settings.rules.files if has_config(self.config) else ()

    @property
    def rules(self) -> RuleSet | None:
        """The packaged rules with the operator's; raises ``ConfigError`` or ``RuleError``.

        None means the packaged ones alone, which are loaded when there is a message to judge: a poll that finds nothing
        new does without them.
        """
        from bounceparse.config import has_config

        files = self.rule_files
        own_header = self.settings.rules.own_header if has_config(self.config) else None
        if not files and not own_header:
            return None
        from bounceparse.rules import load_rules

        return load_rules(files, own_header)

    @property
    def database_name(self) -> str:
        """The database's URL as it may be shown: without a password."""
        from bounceparse.db.engine import shown_url

        return shown_url(self.settings.database.url)

    def store(self) -> Store:
        """The database of the configuration, opened, for a ``with``; raises ``ConfigError`` or ``StoreError``."""
        from bounceparse.config import build_health, build_policy, build_request_settings
        from bounceparse.db import Store

        settings = build_request_settings(self.settings)
        raw_limit = self.settings.retention.raw_limit
        store = Store(
            self.settings.database.url,
            policy=build_policy(self.settings),
            request_settings=settings,
            health=build_health(self.settings),
            keep_raw=raw_limit > 0,
            raw_limit=raw_limit,
        )
        if self.settings.webhook:  # from now on whoever writes to this database writes events
            from bounceparse.db.webhook_store import WebhookStore

            try:
                WebhookStore(store).register(list(self.settings.webhook))
            except BaseException:
                store.close()
                raise
        return store
