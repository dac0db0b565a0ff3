"""Signed tokens in links: they say who and what, cannot be made by others, and hold no address.

A token for one purpose is worthless for another (each has its own salt). One signed with an older key stays good as long as that key is
kept.
"""

from __future__ import annotations

import hmac
from binascii import b2a_base64
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1

from itsdangerous import BadData, Signer, URLSafeSerializer, URLSafeTimedSerializer

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.store.base import to_json
from crm_plugin.store.secrets import SecretBox

_UNSUBSCRIBE = "crm-plugin unsubscribe"
_ANSWER = "crm-plugin answer"
_LINK = "crm-plugin link"
_PICTURE = "crm-plugin picture"
_MEMBER = "crm-plugin storefront member"
# A storefront makes its page anew long before this; a link in a mail must work for years.
MEMBER_TOKEN_SECONDS = 30 * 24 * 3600
# In bytes: anything longer may become shorter when it is packed.
_SHORT = 160


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """What an unsubscribe link speaks of; `touchpoint_id` is the message it stood in, 0 for none."""

    shop_id: int
    member_id: int
    channel: str
    topic: str
    touchpoint_id: int = 0


def unsubscribe(box: SecretBox, about: Unsubscribe) -> str:
    """The token of an unsubscribe link; it never runs out."""
    return _signed(box, _UNSUBSCRIBE, (about.shop_id, about.member_id, about.channel, about.topic, about.touchpoint_id))


def read_unsubscribe(box: SecretBox, token: str) -> Unsubscribe:
    """What the link speaks of. Raises: InvalidInput for a token that is not ours."""
    return Unsubscribe(*_linked(box, _UNSUBSCRIBE, token))


@dataclass(frozen=True, slots=True)
class Answered:
    """What a link that answers a question says, and in which message it stood (0 for none)."""

    shop_id: int
    member_id: int
    question: str
    answer: str
    touchpoint_id: int = 0


def answer(box: SecretBox, told: Answered) -> str:
    """The token of a link that answers a question; it never runs out."""
    return _signed(box, _ANSWER, (told.shop_id, told.member_id, told.question, told.answer, told.touchpoint_id))


def read_answer(box: SecretBox, token: str) -> Answered:
    """What the link says. Raises: InvalidInput for a token that is not ours."""
    return Answered(*_linked(box, _ANSWER, token))


def _linked(box: SecretBox, salt: str, token: str) -> tuple[int, int, str, str, int]:
    """What a link holds, in the order of its fields. Raises: InvalidInput for a token that is not ours."""
    try:
        shop_id, member_id, about, said, touchpoint_id = URLSafeSerializer(box.signing_keys, salt=salt).loads(token)
        return int(shop_id), int(member_id), str(about), str(said), int(touchpoint_id)
    except (BadData, ValueError, TypeError) as error:
        raise _incomplete() from error


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a message and where it leads; an empty `url` is the picture that tells that the message was opened."""

    shop_id: int
    touchpoint_id: int
    url: str = ""


def link(box: SecretBox, about: Link) -> str:
    """The token of a link that is counted; it never runs out."""
    return _signed(box, _LINK, (about.shop_id, about.touchpoint_id, about.url))


def read_link(box: SecretBox, token: str) -> Link:
    """What the link speaks of. Raises: InvalidInput for a token that is not ours."""
    try:
        shop_id, touchpoint_id, url = URLSafeSerializer(box.signing_keys, salt=_LINK).loads(token)
        return Link(int(shop_id), int(touchpoint_id), str(url))
    except (BadData, ValueError, TypeError) as error:
        raise _incomplete() from error


def picture(box: SecretBox, shop_id: int, touchpoint_id: int) -> str:
    """The token of the picture that tells that a message was opened; it never runs out."""
    return _signed(box, _PICTURE, (shop_id, touchpoint_id))


def read_picture(box: SecretBox, token: str) -> Link:
    """The message whose picture it is. Raises: InvalidInput for a token that is not ours."""
    try:
        shop_id, touchpoint_id = URLSafeSerializer(box.signing_keys, salt=_PICTURE).loads(token)
        return Link(int(shop_id), int(touchpoint_id))
    except (BadData, ValueError, TypeError) as error:
        raise _incomplete() from error


def _incomplete() -> InvalidInput:
    return InvalidInput(
        phrase("This link is not complete."),
        field="token",
        hint=phrase("Open it from the message again, or write to the shop."),
    )


def member(box: SecretBox, shop_id: int, member_id: int) -> str:
    """The token by which a storefront reads and marks one member's in-app messages; it runs out after 30 days."""
    return str(URLSafeTimedSerializer(box.signing_keys, salt=_MEMBER).dumps((shop_id, member_id)))


def _signed(box: SecretBox, salt: str, payload: tuple[int | str, ...]) -> str:
    """What `URLSafeSerializer` makes of it and reads again, with the key for the purpose derived once: every mail holds several."""
    told = to_json(payload).encode()
    if len(told) > _SHORT:
        return URLSafeSerializer(box.signing_keys, salt=salt).dumps(payload)
    body = _in_base64(told)
    mac = _keyed(box.signing_keys, salt).copy()
    mac.update(body)
    return (body + b"." + _in_base64(mac.digest())).decode("ascii")


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def _in_base64(told: bytes) -> bytes:
    return b2a_base64(told, newline=False).rstrip(b"=").translate(_URL_SAFE)


@lru_cache(maxsize=64)
def _keyed(keys: tuple[bytes, ...], salt: str) -> hmac.HMAC:
    key = Signer(keys, salt=salt).derive_key()
    return hmac.new(key, digestmod=sha1)


def read_member(box: SecretBox, token: str) -> tuple[int, int]:
    """Shop and member of a storefront's token. Raises: InvalidInput for one that is not ours or has run out."""
    try:
        shop_id, member_id = URLSafeTimedSerializer(box.signing_keys, salt=_MEMBER).loads(
            token, max_age=MEMBER_TOKEN_SECONDS
        )
        return int(shop_id), int(member_id)
    except (BadData, ValueError, TypeError) as error:
        raise InvalidInput(
            phrase("This member token is not valid or has run out."), field="token", hint=phrase("Make a new one.")
        ) from error
