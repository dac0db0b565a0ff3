"""DKIM signatures (RFC 6376, rsa-sha256), relaxed in headers and body, for a sender whose mail server does not sign.

A mail server of a provider signs by itself; then this is left off, for two signatures say no more than one.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from crm_plugin.phrases import phrase

# What a forger could change to any effect; a name that a mail does not have is left out.
_SIGNED = (
    "from", "to", "subject", "date", "message-id", "reply-to", "mime-version", "content-type", "content-transfer-encoding",
    "list-unsubscribe", "list-unsubscribe-post",
)  # fmt: skip
_BLANKS = re.compile(rb"[ \t]+")
_FOLDED = re.compile(rb"\r\n(?=[ \t])")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs for one domain with one key; `selector` names the DNS record under which receivers find its public half."""

    domain: str
    selector: str
    key: RSAPrivateKey

    def sign(self, mail: bytes) -> bytes:
        """The mail with its signature before it; lines end with CRLF."""
        head, _, body = mail.partition(b"\r\n\r\n")
        fields = _fields(head)
        names = [name for name in _SIGNED if name in fields]
        digest = b64encode(sha256(_body(body)).digest()).decode()
        lines = (
            f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={self.domain}; s={self.selector};",
            f" h={':'.join(names)};",
            f" bh={digest};",
            " b=",
        )
        own = "\r\n".join(lines).encode()
        told = b"".join(fields[name] + b"\r\n" for name in names) + _header(own)
        return b"".join((own, _split(self.key.sign(told, PKCS1v15(), SHA256())), b"\r\n", mail))

    @property
    def record(self) -> tuple[str, str]:
        """Name and content of the DNS record (TXT) that the domain needs."""
        raw = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"{self.selector}._domainkey.{self.domain}", f"v=DKIM1; k=rsa; p={b64encode(raw).decode()}"


def signer(domain: str, selector: str, key: str) -> Signer:
    """A signer from what was typed: the key in PEM form, with or without its line breaks. Raises: ValueError saying what is wrong."""
    if not _LABEL.fullmatch(selector):
        raise ValueError(phrase("the selector is no part of a DNS name"))
    text = re.sub(r"-----[A-Z ]+-----", "", key)
    try:
        found = load_der_private_key(b64decode("".join(text.split()), validate=True), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(phrase("not a private key in PEM form without a password")) from error
    if not isinstance(found, RSAPrivateKey):
        raise ValueError(phrase("not an RSA key"))
    return Signer(domain, selector, found)


def _fields(head: bytes) -> dict[str, bytes]:
    """The headers in canonical form by their names; of a name that stands twice the last, as RFC 6376 counts from the end."""
    lines = _FOLDED.sub(b"", head).split(b"\r\n")
    return {line.partition(b":")[0].strip().lower().decode("ascii"): _header(line) for line in lines}


def _header(line: bytes) -> bytes:
    name, _, value = _FOLDED.sub(b"", line).partition(b":")
    return name.strip().lower() + b":" + _BLANKS.sub(b" ", value).strip(b" ")


def _body(body: bytes) -> bytes:
    """The body of a mail whose last line is whole, in canonical form."""
    text = _BLANKS.sub(b" ", body).replace(b" \r\n", b"\r\n")
    while text.endswith(b"\r\n\r\n"):
        text = text[:-2]
    return b"" if text == b"\r\n" else text


def _split(signature: bytes) -> bytes:
    """Base64 in lines that no server has to break."""
    text = b64encode(signature)
    return b"\r\n ".join(text[start : start + 72] for start in range(0, len(text), 72))
