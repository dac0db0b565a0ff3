"""Billed parts at every edge."""

from __future__ import annotations

import pytest

from crm_plugin.adapters.channels.sms_parts import SmsSize, sms_parts, sms_size


@pytest.mark.parametrize(
    ("text", "encoding", "units", "parts"),
    [
        ("", "GSM-7", 0, 1),
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("€" * 80, "GSM-7", 160, 1),
        ("€" * 81, "GSM-7", 162, 2),
        ("a" * 152 + "€" + "a" * 152, "GSM-7", 306, 3),
        ("会" * 70, "UCS-2", 70, 1),
        ("会" * 71, "UCS-2", 71, 2),
        ("会" * 134, "UCS-2", 134, 2),
        ("会" * 135, "UCS-2", 135, 3),
        ("😀" * 35, "UCS-2", 70, 1),
        ("😀" * 36, "UCS-2", 72, 2),
        ("会" * 66 + "😀" + "会" * 66, "UCS-2", 134, 3),
        ("Ç", "GSM-7", 1, 1),
        ("ç", "UCS-2", 1, 1),
        ("`", "UCS-2", 1, 1),
        ("【店】你好，拒收请回复R", "UCS-2", 12, 1),
    ],
)
def test_sizes(text: str, encoding: str, units: int, parts: int) -> None:
    assert sms_size(text) == SmsSize(encoding, units, parts)  # type: ignore[arg-type]
    assert sms_parts(text) == parts
