"""What we write into a Saleor: levels and tags as entries of an account's public metadata, and vouchers.

Metadata is merged key by key, so nothing of others is touched, and several accounts go in one request. The customer may read it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from crm_plugin.adapters.raw import UNREADABLE
from crm_plugin.adapters.storefronts.saleor.client import ADAPTER, SaleorClient
from crm_plugin.adapters.storefronts.saleor.mapping import MARK_PREFIX, TAG_PREFIX
from crm_plugin.errors import AdapterError, MalformedResponse, PermanentError
from crm_plugin.phrases import phrase
from crm_plugin.records import TierWrite, TierWritten

AT_ONCE = 20
_OPERATION = "metadata"
_GONE = frozenset({"NOT_FOUND", "GRAPHQL_ERROR", "INVALID"})
_ANSWERED = "item { ... on User { updatedAt } } errors { field code message }"


class Refusal(msgspec.Struct):
    """Why a mutation did nothing."""

    code: str = ""
    message: str | None = ""
    field: str | None = ""


class _Item(msgspec.Struct, rename="camel"):
    updated_at: datetime | None = None


class _Done(msgspec.Struct):
    item: _Item | None = None
    errors: list[Refusal] = []


class Metadata:
    """Changes of accounts' metadata: for each account what to set, and which keys to take away."""

    def __init__(self, client: SaleorClient) -> None:
        self._client = client

    def tiers(self, writes: Sequence[TierWrite]) -> list[TierWritten]:
        """See the contract; several programmes of one account are one change."""
        wanted: dict[str, dict[str, str]] = {}
        for write in writes:
            wanted.setdefault(write.reference, {})[f"{MARK_PREFIX}{write.mark.program}"] = write.mark.level
        done = self._bring({name: keys for name, keys in wanted.items() if is_account(name)})
        return [_outcome(write.reference, done.get(write.reference)) for write in writes]

    def tags(self, reference: str, add: Collection[str], remove: Collection[str]) -> None:
        """See the contract: one entry for each tag."""
        if not is_account(reference):
            raise _gone()
        keys = {f"{TAG_PREFIX}{tag}": "" for tag in remove} | {f"{TAG_PREFIX}{tag}": "yes" for tag in add}
        done = _outcome(reference, self._bring({reference: keys}).get(reference) if keys else [])
        if done.error is not None:
            raise done.error

    def _bring(self, wanted: Mapping[str, Mapping[str, str]]) -> dict[str, list[_Done]]:
        """What was answered for each account; an empty value takes its key away."""
        heads: list[str] = []
        parts: list[str] = []
        variables: dict[str, Any] = {}
        whose: dict[str, str] = {}
        for number, (name, keys) in enumerate(wanted.items()):
            heads.append(f"$i{number}: ID!")
            variables[f"i{number}"] = name
            told: list[Any] = [{"key": key, "value": value} for key, value in keys.items() if value]
            gone: list[Any] = [key for key, value in keys.items() if not value]
            for letter, kind, values, mutation in (
                ("s", "[MetadataInput!]!", told, "updateMetadata(id: $i{n}, input: $s{n})"),
                ("d", "[String!]!", gone, "deleteMetadata(id: $i{n}, keys: $d{n})"),
            ):
                if values:
                    heads.append(f"${letter}{number}: {kind}")
                    variables[f"{letter}{number}"] = values
                    parts.append(f"  {letter}{number}: {mutation.format(n=number)} {{ {_ANSWERED} }}")
                    whose[f"{letter}{number}"] = name
        if not parts:
            return {}
        text = f"mutation Metadata({', '.join(heads)}) {{\n" + "\n".join(parts) + "\n}\n"
        answered = self._client.change(_OPERATION, text, variables)
        done: dict[str, list[_Done]] = {}
        for alias, name in whose.items():
            done.setdefault(name, []).append(read(answered, alias, _Done, _OPERATION))
        return done


def is_account(reference: str) -> bool:
    """Whether this is an account's id, as Saleor writes it."""
    return is_id(reference, "User")


def is_id(reference: str, kind: str) -> bool:
    """Whether this is the id of a record of that type: the type and its key, in base64."""
    try:
        return base64.b64decode(reference, validate=True).startswith(f"{kind}:".encode())
    except (binascii.Error, ValueError):
        return False


def read(answered: Mapping[str, msgspec.Raw], alias: str, kind: type[Any], operation: str) -> Any:
    """What one mutation of a request answered. Raises: MalformedResponse."""
    try:
        return msgspec.json.decode(answered[alias], type=kind)
    except (KeyError, *UNREADABLE) as error:
        raise MalformedResponse(
            phrase("The store's answer has another form than asked for."),
            adapter=ADAPTER,
            operation=operation,
            path=f"$.data.{alias}",
        ) from error


def refused(refusal: Refusal, operation: str) -> PermanentError:
    """The error of a mutation that did nothing."""
    return PermanentError(
        phrase(
            "The store refused the request: %(message)s (%(code)s).", message=refusal.message or "", code=refusal.code
        ),
        adapter=ADAPTER,
        operation=operation,
    )


def _outcome(reference: str, done: Sequence[_Done] | None) -> TierWritten:
    if done is None:
        return TierWritten(reference, error=_gone())
    for one in done:
        for refusal in one.errors:
            error: AdapterError = refused(refusal, _OPERATION)
            if refusal.field == "id" and refusal.code in _GONE:
                error = _gone()
            return TierWritten(reference, error=error)
    times = [one.item.updated_at for one in done if one.item is not None and one.item.updated_at is not None]
    return TierWritten(reference, max(times).astimezone(UTC) if times else None)


def _gone() -> PermanentError:
    return PermanentError(
        phrase("This account is no longer in the store."), code="gone", adapter=ADAPTER, operation=_OPERATION
    )
