"""Fixtures that all tests share."""

from databases import database_url, empty_url, postgresql, store

__all__ = ["database_url", "empty_url", "postgresql", "store"]
