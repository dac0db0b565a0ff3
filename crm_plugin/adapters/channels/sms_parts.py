"""How many parts a text message is billed as (GSM 03.38)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("\f^{}\\[~]|€")


@dataclass(frozen=True, slots=True)
class SmsSize:
    """The alphabet a text needs, its length in that alphabet's units, and its billed parts.

    Units are septets for GSM-7 (an extended character such as € takes two) and UTF-16 code units for UCS-2 (an emoji takes two).
    """

    encoding: Literal["GSM-7", "UCS-2"]
    units: int
    parts: int


def sms_size(text: str) -> SmsSize:
    """Count a text as it will be billed: 160 or 70 units in one part, 153 or 67 in each of several; empty text is one part."""
    if all(character in _BASIC or character in _EXTENDED for character in text):
        widths = [2 if character in _EXTENDED else 1 for character in text]
        return SmsSize("GSM-7", sum(widths), _parts(widths, 160, 153))
    widths = [2 if ord(character) > 0xFFFF else 1 for character in text]
    return SmsSize("UCS-2", sum(widths), _parts(widths, 70, 67))


def sms_parts(text: str) -> int:
    """Billed parts of a text."""
    return sms_size(text).parts


def _parts(widths: list[int], alone: int, joined: int) -> int:
    """Parts are filled in order, for a character of two units is never split between two of them."""
    if sum(widths) <= alone:
        return 1
    parts, used = 1, 0
    for width in widths:
        if used + width > joined:
            parts, used = parts + 1, 0
        used += width
    return parts
