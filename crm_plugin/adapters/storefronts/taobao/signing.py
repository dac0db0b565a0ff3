"""How TOP signs a request: all parameters but `sign` in the order of their names, each name and value, hashed with the app's secret.

`sign_method` is itself signed, so the text that is hashed differs between the three ways.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

METHODS = ("hmac-sha256", "hmac", "md5")
_DIGESTS = {"hmac": "md5", "hmac-sha256": "sha256"}


def sign(params: Mapping[str, str], secret: str, method: str) -> str:
    """The signature in upper-case hexadecimal digits. `method` is one of `METHODS`."""
    text = "".join(f"{name}{params[name]}" for name in sorted(params) if name != "sign").encode()
    key = secret.encode()
    if method == "md5":
        # TOP's choice; nothing of ours rests on it, and `hmac-sha256` is the default.
        return hashlib.md5(key + text + key, usedforsecurity=False).hexdigest().upper()
    return hmac.new(key, text, _DIGESTS[method]).hexdigest().upper()
