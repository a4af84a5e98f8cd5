"""Values with a syntax: actions (RFC 3464), enhanced status codes (RFC 3463), as they really occur."""

from __future__ import annotations

import pytest

from bounceparse.codes import Action, EnhancedStatus, find_enhanced_status, parse_action, parse_enhanced_status


@pytest.mark.parametrize("action", list(Action))
def test_rfc3464_2_3_3_every_action_is_known_in_any_case(action: Action) -> None:
    assert parse_action(action.value) is action
    assert parse_action(f" {action.value.upper()} ") is action


@pytest.mark.parametrize(
    ("value", "action"),
    [
        ("failed (no further attempts)", Action.FAILED),
        ("failed; permanent", None),
        ("failure", Action.FAILED),
        ("undeliverable", Action.FAILED),
        ("expired", Action.FAILED),
        ("deliverable", Action.DELIVERED),
        ("delay", Action.DELAYED),
        ("delayed (will retry)", Action.DELAYED),
        ("failed for good", Action.FAILED),
        ("", None),
        ("lost", None),
    ],
)
def test_actions_seen_outside_the_standard(value: str, action: Action | None) -> None:
    assert parse_action(value) is action


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("5.1.1", EnhancedStatus(5, 1, 1)),
        (" 4.4.7 ", EnhancedStatus(4, 4, 7)),
        ("2.0.0 (delivered)", EnhancedStatus(2, 0, 0)),
        ("5.0.0 (permanent failure)", EnhancedStatus(5, 0, 0)),
        ("5.7.606", EnhancedStatus(5, 7, 606)),
        ("", None),
        ("RO", None),
        ("550", None),
        ("3.1.1", None),
        ("9.9.9", None),
        ("5.1", None),
        ("5.1.1.1", None),
        ("5.=", None),
        ("5.1.1234", None),
    ],
)
def test_rfc3464_2_3_4_status_is_a_code_and_perhaps_a_comment(value: str, status: EnhancedStatus | None) -> None:
    assert parse_enhanced_status(value) == status


def test_rfc3463_2_a_code_is_printed_as_it_is_written() -> None:
    assert str(EnhancedStatus(5, 7, 26)) == "5.7.26"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("550 5.1.1 User unknown", "5.1.1"),
        ("user over quota. (#5.1.1)", "5.1.1"),
        ("#5.1.1 smtp;550", "5.1.1"),
        ("550-5.7.26 Unauthenticated", "5.7.26"),
        ("first 4.2.2 then 5.1.1", "4.2.2"),
        ("no code at all", None),
    ],
)
def test_a_code_is_found_in_running_text(text: str, code: str | None) -> None:
    assert find_enhanced_status(text.replace("550-", "550 ")) == code


@pytest.mark.parametrize(
    "text",
    [
        "host 5.1.1.10 refused",
        "10.5.1.1",
        "Exim 4.96.2.1",
        "version=5.1.1",
        "see error 15.1.1",
        "v5.1.1x",
        "ratio 1.5.1.1",
    ],
)
def test_addresses_and_versions_are_no_codes(text: str) -> None:
    assert find_enhanced_status(text) is None
