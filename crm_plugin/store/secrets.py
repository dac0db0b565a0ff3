"""Encryption of credentials at rest (Fernet), and the keys that sign links: two live keys allow rotation.

What holds no secret is signed and not encrypted: the cipher takes 6 MB of each process that opens something with it.
"""

from __future__ import annotations

import json
import os
import tempfile
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itsdangerous import BadData, Serializer

from crm_plugin.errors import ConfigError
from crm_plugin.phrases import phrase

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

_KEY_BYTES = 32
_SIGNED = "crm-plugin settings"


class SecretBox:
    """Seals, signs and opens JSON documents. The first key seals and signs, all keys open."""

    def __init__(self, *keys: str | bytes) -> None:
        if not keys or not all(map(_is_key, keys)):
            raise ConfigError(
                phrase("The encryption key is not a Fernet key."),
                hint=phrase(
                    "CRM_SECRET_KEY must be 32 bytes in url-safe base64; leave it unset to use the key file in the data directory."
                ),
            )
        self._keys = keys
        self._signing_keys = tuple(key if isinstance(key, bytes) else key.encode() for key in reversed(keys))

    def seal(self, document: dict[str, Any]) -> bytes:
        """The document, encrypted."""
        return self._fernet.encrypt(json.dumps(document).encode())

    def sign(self, document: dict[str, Any]) -> bytes:
        """The document as whoever has the database can read it, and nobody else can write it: for what holds no secret."""
        return self._signer.dumps(document).encode()

    def open(self, sealed: bytes) -> dict[str, Any]:
        """The document that was sealed or signed. Raises: ConfigError when that was done with another key."""
        told = bytes(sealed)
        # What is encrypted begins with a letter.
        document = self._believed(told) if told.startswith(b"{") else json.loads(self._decrypted(told))
        assert isinstance(document, dict)
        return document

    def _believed(self, signed: bytes) -> Any:
        try:
            return self._signer.loads(signed)
        except BadData as error:
            raise _other_key() from error

    def _decrypted(self, sealed: bytes) -> bytes:
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            raise _other_key() from error

    @cached_property
    def _fernet(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        return MultiFernet([Fernet(key) for key in self._keys])

    @cached_property
    def _signer(self) -> Serializer[str]:
        how = {"key_derivation": "hmac", "digest_method": sha256}
        return Serializer(list(self._signing_keys), salt=_SIGNED, signer_kwargs=how)

    @property
    def signing_keys(self) -> tuple[bytes, ...]:
        """Keys for signed links and tokens (itsdangerous): the last signs, all are believed; salted per purpose by the caller."""
        return self._signing_keys


def _other_key() -> ConfigError:
    return ConfigError(
        phrase("Stored credentials cannot be read with the present key."),
        hint=phrase("Put back the key file or CRM_SECRET_KEY they were saved with, or connect the store again."),
    )


def _is_key(key: str | bytes) -> bool:
    try:
        return len(urlsafe_b64decode(key)) == _KEY_BYTES
    except ValueError:
        return False


def new_key() -> bytes:
    """A key such as Fernet takes: 32 bytes in url-safe base64."""
    return urlsafe_b64encode(os.urandom(_KEY_BYTES))


def key_file_box(path: Path) -> SecretBox:
    """The box of the key file, made (mode 0600) when there is none."""
    try:
        return SecretBox(path.read_bytes().strip())
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.") as file:
        file.write(new_key())
        file.flush()
        # What is sealed with it may be on the disk a moment later.
        os.fsync(file.fileno())
        # It comes into its place whole. Where another process was quicker, its key is the one.
        with suppress(FileExistsError):
            os.link(file.name, path)
    return SecretBox(path.read_bytes().strip())
