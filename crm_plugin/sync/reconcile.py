"""What a store holds beside what is here, once a night: deletions that it told nobody of, and records that no list of changes showed.

Nothing is believed gone because a list left it out: each is asked for by itself, and where much would be gone at once nothing is touched
and the merchant is told, for a store that answers in part must not empty what is kept here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Table, func, select

from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.records import OrderStatus, Page, Stream
from crm_plugin.store import members, orders, products
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import believed, costs
from crm_plugin.sync.batch import groups, keep_group
from crm_plugin.sync.gone import gone
from crm_plugin.sync.pull import Progress
from crm_plugin.sync.reread import Reread, reread, shown
from crm_plugin.sync.silent import differing, held
from crm_plugin.sync.written import Written

_TABLES: dict[Stream, Table] = {Stream.MEMBERS: members, Stream.ORDERS: orders, Stream.PRODUCTS: products}
# So many at once may be gone on any day; above that, more than this share is not believed.
_FEW, _SHARE = 20, 0.2
# Asked for one by one in a night; the rest comes the next, or at once where the merchant said that so much is gone.
_MOST = 2_000
_AT_ONCE = 200
# So many of each kind are told by name.
_SHOWN = 5
# A second pass reads over the last one, for clocks differ and lists lag.
_OVERLAP = timedelta(hours=6)


@dataclass(slots=True)
class Compared:
    """One stream: how many there are in the store and here, and what differed.

    `added` were missing here, `gone` there, `changed` told by no list; all three are mended. `held_back` were too many to believe, `left`
    too many for one night, `unread` could not be read. `names` has the first of each, as people know them; `silent` those of `changed`,
    each with what differed. `believed` is how many were looked for because the merchant said that they are gone.
    """

    there: int | None
    here: int
    gone: int = 0
    added: int = 0
    changed: int = 0
    held_back: int = 0
    left: int = 0
    unread: int = 0
    believed: int = 0
    names: dict[str, list[str]] = field(default_factory=dict)
    silent: dict[str, list[str]] = field(default_factory=dict)

    @property
    def differences(self) -> int:
        return self.gone + self.added + self.changed + self.held_back + self.left + self.unread

    @property
    def goes_on(self) -> bool:
        """Whether more is to be looked for at once, as the merchant said."""
        return self.believed > _MOST and self.gone > 0

    def note(self, kind: str, names: Iterable[str]) -> None:
        """Keep the first of them to be shown."""
        kept = self.names.setdefault(kind, [])
        kept.extend(islice(names, max(0, _SHOWN - len(kept))))


@dataclass(slots=True)
class ReconcileReport:
    """What one night's comparison found, by stream."""

    streams: dict[str, Compared] = field(default_factory=dict)
    repaired: Written = field(default_factory=Written)

    @property
    def differences(self) -> int:
        return sum(one.differences for one in self.streams.values())

    def as_dict(self) -> dict[str, Any]:
        streams = {name: asdict(one) for name, one in self.streams.items()}
        again = any(one.goes_on for one in self.streams.values())
        return {"differences": self.differences, "streams": streams, "repaired": self.repaired.rows, "again": again}


def reconcile(
    db: Database,
    shop: Shop,
    storefront: StorefrontAdapter,
    since: datetime,
    now: datetime,
    progress: Callable[[Progress], None] | None = None,
) -> ReconcileReport:
    """Compare all streams, and repair what changed after `since` without telling so.

    Raises: as the storefront does; what is repaired by then stays.
    """
    report = ReconcileReport()
    changed: Counter[Stream] = Counter()
    silent: defaultdict[Stream, dict[str, list[str]]] = defaultdict(dict)
    for group in groups(storefront.second_pass(since - _OVERLAP)):
        for stream in {page.stream: None for page in group}:
            written = _read_again(
                db, shop, stream, [page for page in group if page.stream is stream], silent[stream], now
            )
            report.repaired.add(written)
            changed[stream] += written.new + written.changed + written.removed
        if progress is not None:
            progress(Progress("second_pass", report.repaired.rows, None))
    changed[Stream.ORDERS] += _costs(db, shop, storefront, silent[Stream.ORDERS], now)
    for stream in storefront.streams:
        if stream in _TABLES:
            found = _compare(db, shop, storefront, stream, now)
            found.changed, found.silent = changed[stream], silent[stream]
            report.streams[stream.value] = found
            if progress is not None:
                progress(Progress(stream.value, found.here, None))
    return report


def _read_again(
    db: Database, shop: Shop, stream: Stream, pages: list[Page], silent: dict[str, list[str]], now: datetime
) -> Written:
    """Write what no list told, and see what differs in the first of it; the rest is not looked at twice."""
    room = _SHOWN - len(silent)
    if room <= 0:
        return keep_group(db, shop, pages, now)[0]
    with db.read() as connection:
        before = held(connection, shop.shop_id, stream, pages)
    written, kept = keep_group(db, shop, pages, now)
    if written.rows:
        with db.read() as connection:
            after = held(connection, shop.shop_id, stream, kept)
        silent |= differing(stream, kept, before, after, room)
    return written


def _costs(db: Database, shop: Shop, storefront: StorefrontAdapter, silent: dict[str, list[str]], now: datetime) -> int:
    """Give lines the cost that has become known since; how many orders that is."""
    with db.read() as connection:
        names = costs.become_known(connection, shop, now, _MOST)
    changed = 0
    for some in _parts(names):
        read = reread(storefront, Stream.ORDERS, some)
        page = Page(Stream.ORDERS, tuple(read.records), "")
        changed += _read_again(db, shop, Stream.ORDERS, [page], silent, now).changed
    return changed


def _compare(db: Database, shop: Shop, storefront: StorefrontAdapter, stream: Stream, now: datetime) -> Compared:
    there = storefront.external_ids(stream)
    if there is None:
        with db.read() as connection:
            return Compared(storefront.count(stream), _counted(connection, shop, stream))
    told = set(there)
    # Read after the store's: what came meanwhile is not missing there.
    with db.read() as connection:
        known, here = _names(connection, shop, stream)
        word = believed.words(connection, shop.shop_id, now).get(stream.value)
    found = Compared(len(told), len(here))
    lost = sorted(here - told)
    if len(lost) > max(_FEW, len(here) * _SHARE, 0 if word is None else word.count):
        found.held_back = len(lost)
        found.note("held_back", lost)
        lost = []
    missing_here = sorted(told - known)
    found.left = max(0, len(lost) - _MOST) + max(0, len(missing_here) - _MOST)
    for names in _parts(lost[:_MOST]):
        # What is there after all is written as it is now.
        _keep(db, shop, reread(storefront, stream, names), stream, found, now)
    for names in _parts(missing_here[:_MOST]):
        _keep(db, shop, reread(storefront, stream, names), stream, found, now)
    if word is not None and not found.held_back:
        found.believed = len(lost)
        # Where nothing was gone after all, the rest is not asked for either.
        if not found.goes_on:
            with db.write() as connection:
                believed.spend(connection, shop.shop_id, stream.value, now)
    return found


def _keep(db: Database, shop: Shop, read: Reread, stream: Stream, found: Compared, now: datetime) -> None:
    """Write what was read, and the end of what is gone."""
    with db.read() as connection:
        lost = list(gone(connection, shop.shop_id, stream, read.missing, now))
    written, kept = keep_group(db, shop, [Page(stream, (*read.records, *lost), "", tuple(read.problems))], now)
    unread = [one.external_id for page in kept for one in page.problems]
    found.gone += written.removed
    found.added += written.new
    found.unread += len(unread)
    found.note("unread", unread)
    if written.removed:
        found.note("gone", map(shown, lost))
    if written.new:
        found.note("added", map(shown, read.records))


def _parts(names: list[str]) -> list[list[str]]:
    return [names[at : at + _AT_ONCE] for at in range(0, len(names), _AT_ONCE)]


def _is_here(stream: Stream) -> Any:
    if stream is Stream.MEMBERS:
        return (members.c.state == "active") & members.c.external_id.is_not(None)
    return orders.c.status != OrderStatus.TRASH if stream is Stream.ORDERS else products.c.product_id.is_not(None)


def _counted(connection: Connection, shop: Shop, stream: Stream) -> int:
    table = _TABLES[stream]
    own = (table.c.shop_id == shop.shop_id, _is_here(stream))
    return connection.execute(select(func.count()).select_from(table).where(*own)).scalar() or 0


def _names(connection: Connection, shop: Shop, stream: Stream) -> tuple[set[str], set[str]]:
    """Ids of all that is known of the store, and of what is still held for there."""
    table = _TABLES[stream]
    rows = connection.execute(
        select(table.c.external_id, _is_here(stream)).where(table.c.shop_id == shop.shop_id)
    ).all()
    return {name for name, _ in rows if name}, {name for name, is_here in rows if name and is_here}
