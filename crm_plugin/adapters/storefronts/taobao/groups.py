"""Groups of members as tags: their names, and members put into them and taken out.

Some changes of a group go on behind the scenes for a while. As long as Taobao still works at one, nothing else is written into it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from crm_plugin.adapters.raw import read_record
from crm_plugin.adapters.storefronts.taobao.client import TopClient
from crm_plugin.adapters.storefronts.taobao.envelope import ADAPTER
from crm_plugin.adapters.storefronts.taobao.errors import Act
from crm_plugin.adapters.storefronts.taobao.paging import SIZE
from crm_plugin.adapters.storefronts.taobao.payloads import GROUP
from crm_plugin.adapters.storefronts.taobao.values import whole
from crm_plugin.errors import ActionRequired, AdapterError, PermanentError, TransientError
from crm_plugin.phrases import phrase

LIST = "taobao.crm.groups.get"
ADD = "taobao.crm.group.add"
TASK = "taobao.crm.grouptask.check"
PUT = "taobao.crm.members.group.batchadd.privy"
TAKE = "taobao.crm.members.groups.batchdelete.privy"
MOST = 100
# A list that never ends is none.
_MOST_PAGES = 10
_POLLS, _PAUSE = 3, 2.0
# A task of a large group takes minutes.
_LATER = 60.0


class Groups:
    """The groups of one shop, by name. Their list is read once, and again when a name is missing."""

    def __init__(self, client: TopClient) -> None:
        self._client = client
        self._ids: dict[str, str] | None = None
        # Groups that Taobao was still counting when they were listed.
        self._counted: set[str] = set()

    def name(self, group_id: str) -> str:
        """What a group is called; its number where it is not listed, and where the app may not read groups."""
        try:
            listed = self._listed()
        except ActionRequired as error:
            if error.code != Act.PERMISSION:
                raise
            listed = self._ids = {}
        return next((name for name, number in listed.items() if number == group_id), group_id)

    def write(self, ouid: str, add: Collection[str], remove: Collection[str]) -> None:
        """Put a member into groups, which are made where they are missing, and take them out of others."""
        put = [self._id(name) or self._made(name) for name in sorted(set(add))]
        take = [number for name in sorted(set(remove) - set(add)) if (number := self._id(name))]
        for number in (*put, *take):
            self._settled(number)
        for method, numbers in ((PUT, put), (TAKE, take)):
            if numbers:
                asked = {"ouids": ouid, "group_ids": ",".join(numbers)}
                if not self._client.call(method, asked, attempts=1).flag("is_success"):
                    raise self._refused(phrase("Taobao did not take the group."), method)

    def _listed(self, *, anew: bool = False) -> dict[str, str]:
        if self._ids is None or anew:
            found: dict[str, str] = {}
            for page in range(1, _MOST_PAGES + 1):
                rows = self._client.call(LIST, {"current_page": page, "page_size": SIZE}).rows("groups", "group")
                for group in (read_record(GROUP, raw, adapter=ADAPTER) for raw in rows):
                    found[group.group_name] = str(group.group_id)
                    if (whole(group.member_count) or 0) < 0:
                        self._counted.add(str(group.group_id))
                if len(rows) < SIZE:
                    break
            self._ids = found
        return self._ids

    def _id(self, name: str) -> str | None:
        return self._listed().get(name) or self._listed(anew=True).get(name)

    def _made(self, name: str) -> str:
        if "|" in name or ":" in name or not name.strip():
            raise self._refused(phrase("Taobao takes no group of the name %(name)r.", name=name), ADD)
        if len(self._listed()) >= MOST:
            raise ActionRequired(
                phrase("The shop has %(most)s groups of members, and Taobao allows no more.", most=MOST),
                hint=phrase("Delete one in the seller's console."),
                adapter=ADAPTER,
                operation=ADD,
                code="too_many_groups",
            )
        number = self._client.call(ADD, {"group_name": name}, attempts=1).text("group_id")
        if not number:
            raise self._refused(phrase("Taobao did not take the group."), ADD)
        self._listed()[name] = number
        return number

    def _settled(self, number: str) -> None:
        """Wait a moment for what Taobao still does with a group. Raises: TransientError when it takes longer."""
        if number not in self._counted:
            return
        for poll in range(_POLLS):
            if self._client.call(TASK, {"group_id": number}, attempts=1).flag("is_finished"):
                self._counted.discard(number)
                return
            if poll < _POLLS - 1:
                self._client.sleep(_PAUSE)
        context: dict[str, Any] = {"adapter": ADAPTER, "operation": TASK}
        raise TransientError(phrase("Taobao is still busy with this group."), retry_after=_LATER, **context)

    @staticmethod
    def _refused(message: str, operation: str) -> AdapterError:
        return PermanentError(message, adapter=ADAPTER, operation=operation)
