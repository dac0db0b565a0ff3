"""Encryption of credentials at rest (Fernet), and the keys that sign links: two live keys allow rotation."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from crm_plugin.errors import ConfigError
from crm_plugin.phrases import phrase


class SecretBox:
    """Seals and opens JSON documents. The first key seals, all keys open."""

    def __init__(self, *keys: str | bytes) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError as error:
            raise ConfigError(
                phrase("The encryption key is not a Fernet key."),
                hint=phrase(
                    "CRM_SECRET_KEY must be 32 bytes in url-safe base64; leave it unset to use the key file in the data directory."
                ),
            ) from error
        self._signing_keys = tuple(key if isinstance(key, bytes) else key.encode() for key in reversed(keys))

    def seal(self, document: dict[str, Any]) -> bytes:
        """The document, encrypted."""
        return self._fernet.encrypt(json.dumps(document).encode())

    def open(self, sealed: bytes) -> dict[str, Any]:
        """The document again. Raises: ConfigError when it was sealed with another key."""
        try:
            document = json.loads(self._fernet.decrypt(bytes(sealed)))
        except InvalidToken as error:
            raise ConfigError(
                phrase("Stored credentials cannot be read with the present key."),
                hint=phrase(
                    "Put back the key file or CRM_SECRET_KEY they were saved with, or connect the store again."
                ),
            ) from error
        assert isinstance(document, dict)
        return document

    @property
    def signing_keys(self) -> tuple[bytes, ...]:
        """Keys for signed links and tokens (itsdangerous): the last signs, all are believed; salted per purpose by the caller."""
        return self._signing_keys


def key_file_box(path: Path) -> SecretBox:
    """The box of the key file, made (mode 0600) when there is none."""
    try:
        return SecretBox(path.read_bytes().strip())
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.") as file:
        file.write(Fernet.generate_key())
        file.flush()
        # What is sealed with it may be on the disk a moment later.
        os.fsync(file.fileno())
        # It comes into its place whole. Where another process was quicker, its key is the one.
        with suppress(FileExistsError):
            os.link(file.name, path)
    return SecretBox(path.read_bytes().strip())
