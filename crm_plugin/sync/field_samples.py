"""Values of a store's records as they may be shown: whose they are stays hidden, and what is long is cut."""

from __future__ import annotations

import re

from crm_plugin.adapters.storefronts.birthday_texts import DAY_FIRST, read_birthday
from crm_plugin.adapters.storefronts.metadata import plain_key, read_consent

_LONGEST, _OPAQUE = 40, 20
_EMAIL = re.compile(r"([^\s@])[^\s@]*@(\S+)")
_PHONE = re.compile(r"\+?[\d\s()./-]{7,}")
_AMOUNT = re.compile(r"-?\d{1,7}(\.\d+)?")
# Parts of keys under which something of a person stands, and those under which something opens a door.
_PERSONAL = frozenset(
    {"name", "firstname", "lastname", "first", "last", "nickname", "address", "street", "city", "postcode", "zip"}
    | {"phone", "mobile", "tel", "email", "mail", "company", "ip", "user", "vat", "iban", "passport"}
)
_SECRET = frozenset({"token", "tokens", "session", "secret", "password", "pass", "hash", "nonce", "auth", "apikey"})


def shown(key: str, text: str) -> str:
    """The value as a merchant may see it beside others of its key."""
    parts = set(re.split(r"[^a-z0-9]+", plain_key(key)))
    if parts & _SECRET:
        return "••••"
    if found := _EMAIL.fullmatch(text):
        return f"{found[1]}•••@{found[2]}"
    if read_consent(text) is not None or read_birthday(text, DAY_FIRST) is not None:
        return text
    if _PHONE.fullmatch(text) and not _AMOUNT.fullmatch(text):
        return f"•••• {text.strip()[-2:]}"
    if parts & _PERSONAL and len(text) > 1:
        return f"{text[0]}•••"
    if len(text) > _OPAQUE and " " not in text:
        return f"{text[:8]}…"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
