"""Fixtures that all tests share, and the rule of the gate: with BOUNCEPARSE_TEST_ALL set, a skip is a failure."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from databases import database_url, empty_url, new_url, postgresql, store

__all__ = ["database_url", "empty_url", "new_url", "postgresql", "store"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where every part must be there, a test that skips itself has failed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("BOUNCEPARSE_TEST_ALL"):
        report.outcome = "failed"
        report.longrepr = f"skipped although BOUNCEPARSE_TEST_ALL is set: {report.longrepr}"
    return report
