"""Which version of the Admin API is spoken: pinned here and nowhere else, with what an older one calls otherwise."""

from __future__ import annotations

VERSION = "2026-10"
# Newest first. Each answers for at least a year; a dead one is answered by the oldest that lives, which the client notices.
SUPPORTED = (VERSION, "2026-07")

# What has to be asked in other words of an older version: (as the operation has it, as it is sent).
FALLBACKS: dict[str, tuple[tuple[str, str], ...]] = {
    "2026-07": (
        # Consent to texts became an object of its own with 2026-10.
        ("smsMarketingConsent { state optInLevel updatedAt }", "marketingState marketingOptInLevel marketingUpdatedAt"),
    ),
}


def worded(text: str, version: str) -> str:
    """An operation as this version understands it."""
    for new, old in FALLBACKS.get(version, ()):
        text = text.replace(new, old)
    return text
