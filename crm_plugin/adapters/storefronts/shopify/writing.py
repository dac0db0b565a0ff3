"""Tags and levels: what we put on accounts. A level is a metafield of the app's own name space, one key a programme."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from crm_plugin.adapters.base import Problem
from crm_plugin.adapters.storefronts.shopify import errors
from crm_plugin.adapters.storefronts.shopify.client import ShopifyClient
from crm_plugin.adapters.storefronts.shopify.errors import ADAPTER, UserError
from crm_plugin.adapters.storefronts.shopify.mapping import MARK_PREFIX
from crm_plugin.errors import AdapterError, PermanentError, UnsupportedFeature
from crm_plugin.phrases import phrase
from crm_plugin.records import TierMark, TierWrite, TierWritten

# What the shop takes in one request, all or none of it.
AT_ONCE = 25
WRITE_SCOPE = "write_customers"
_TYPE = "single_line_text_field"
# What says that the definition is there already.
_THERE = {"TAKEN", "UNSTRUCTURED_ALREADY_EXISTS"}


class _Scope(msgspec.Struct):
    handle: str


class _Installation(msgspec.Struct, rename="camel"):
    access_scopes: list[_Scope] = []


class _InstallationData(msgspec.Struct):
    row: _Installation


class _Done(msgspec.Struct):
    user_errors: list[UserError] = msgspec.field(name="userErrors", default_factory=list)


class Done(msgspec.Struct):
    """What a mutation answers, as far as only its refusals matter."""

    done: _Done


def granted(client: ShopifyClient) -> frozenset[str]:
    """The scopes that the shop gave us; one that writes lets us read as well."""
    told = {one.handle for one in client.query("installation", _InstallationData).row.access_scopes}
    return frozenset(told | {scope.replace("write_", "read_", 1) for scope in told if scope.startswith("write_")})


def account(reference: str) -> str:
    """An account's global id."""
    return f"gid://shopify/Customer/{reference}"


def write_tags(client: ShopifyClient, reference: str, add: Collection[str], remove: Collection[str]) -> None:
    """Both are sets to the shop, which takes no notice of case; twice is as once."""
    for tag in (*add, *remove):
        if "," in tag or not tag.strip():
            said = phrase("Shopify cannot keep the tag %(tag)r: it parts tags at commas.", tag=tag)
            raise UnsupportedFeature(said, adapter=ADAPTER, operation="write_tags")
    held = {tag.casefold() for tag in add}
    for operation, tags in (("tags_remove", [tag for tag in remove if tag.casefold() not in held]), ("tags_add", add)):
        if tags:
            done = client.change(operation, Done, {"id": _checked(reference), "tags": list(tags)}).done
            if done.user_errors:
                raise errors.for_user_errors(done.user_errors, operation)


class TierMarks:
    """Writes levels into one shop."""

    def __init__(self, client: ShopifyClient) -> None:
        self._client = client
        self._defined: set[str] = set()

    def check(self) -> list[Problem]:
        """Whether the shop lets us write to accounts."""
        try:
            if WRITE_SCOPE in granted(self._client):
                return []
        except AdapterError as error:
            return [Problem(error.code, error.message, error.hint)]
        said = phrase("The shop does not allow this: %(what)s", what=WRITE_SCOPE)
        return [Problem("scope", said, errors.SCOPES)]

    def write(self, writes: Sequence[TierWrite]) -> list[TierWritten]:
        """See the contract. One account that is gone keeps none of the others from being written."""
        failed: dict[int, PermanentError] = {
            at: _gone() for at, one in enumerate(writes) if not _is_number(one.reference)
        }
        self._define({one.mark.program for at, one in enumerate(writes) if at not in failed and one.mark.level})
        self._set([at for at, one in enumerate(writes) if at not in failed and one.mark.level], writes, failed)
        self._take_away(
            [at for at, one in enumerate(writes) if at not in failed and not one.mark.level], writes, failed
        )
        # The shop tells no time: writing a metafield does not count as a change of the account.
        return [TierWritten(one.reference, error=failed.get(at)) for at, one in enumerate(writes)]

    def _define(self, programs: set[str]) -> None:
        """Let the storefront and the shop's staff read these levels. Without it they are kept all the same, unseen."""
        for program in sorted(programs - self._defined):
            definition = {
                "name": f"Level ({program})",
                "namespace": "$app",
                "key": f"{MARK_PREFIX}{program}",
                "ownerType": "CUSTOMER",
                "type": _TYPE,
                "access": {"admin": "MERCHANT_READ", "storefront": "PUBLIC_READ", "customerAccount": "READ"},
            }
            done = self._client.change("tier_definition", Done, {"definition": definition}).done
            if not [error for error in done.user_errors if error.code not in _THERE]:
                self._defined.add(program)

    def _set(self, places: list[int], writes: Sequence[TierWrite], failed: dict[int, PermanentError]) -> None:
        """Write these; the shop writes none of them while one is refused, so the refused are left out until none is."""
        while places:
            fields = [{**_place(writes[at]), "type": _TYPE, "value": writes[at].mark.level} for at in places]
            done = self._client.change("metafields_set", Done, {"metafields": fields}).done
            if not done.user_errors:
                return
            refused = {
                places[error.element_index]: error
                for error in done.user_errors
                if error.element_index is not None and error.element_index < len(places)
            }
            if not refused:
                raise errors.for_user_errors(done.user_errors, "metafields_set")
            failed |= {at: errors.for_user_errors([error], "metafields_set") for at, error in refused.items()}
            places = [at for at in places if at not in refused]

    def _take_away(self, places: list[int], writes: Sequence[TierWrite], failed: dict[int, PermanentError]) -> None:
        """Take these away; where one is refused, each is asked for alone. An account that is gone has none."""
        if not places or not self._refused([writes[at] for at in places]):
            return
        for at in places:
            if refused := [error for error in self._refused([writes[at]]) if not errors.is_gone(error)]:
                failed[at] = errors.for_user_errors(refused, "metafields_delete")

    def _refused(self, writes: list[TierWrite]) -> list[UserError]:
        asked = {"metafields": [_place(one) for one in writes]}
        return self._client.change("metafields_delete", Done, asked).done.user_errors


def _place(one: TierWrite) -> dict[str, Any]:
    return {"ownerId": account(one.reference), "namespace": "$app", "key": _key(one.mark)}


def _key(mark: TierMark) -> str:
    return f"{MARK_PREFIX}{mark.program}"


def _is_number(reference: str) -> bool:
    return reference.isascii() and reference.isdigit()


def _checked(reference: str) -> str:
    if not _is_number(reference):
        raise _gone()
    return account(reference)


def _gone() -> PermanentError:
    said = phrase("This account is no longer in the store.")
    return PermanentError(said, code="gone", adapter=ADAPTER, operation="write")
