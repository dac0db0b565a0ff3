"""Loading a CSV file into a shop: looked through once, then streamed page by page; loading it again changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.adapters.storefronts.base import FileStorefront
from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.plain_yaml import WordReader
from crm_plugin.records import CheckoutRecord, OrderRecord, Page, Record, RefundRecord
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.batch import groups, keep_group
from crm_plugin.sync.pull import Progress

LONGEST_MAPPING = 100_000
_MAPPING = phrase("The mapping")


@dataclass(slots=True)
class ImportReport:
    """What a file held (distinct members, guests among them, orders, refunds, their lines), and how much of it was new or changed here.

    `statuses` are the file's words for an order's state with what they were read as.
    """

    members: int = 0
    orders: int = 0
    refunds: int = 0
    checkouts: int = 0
    lines: int = 0
    skipped: int = 0
    problems: int = 0
    new: int = 0
    changed: int = 0
    same: int = 0
    statuses: dict[str, str] = field(default_factory=dict)

    def take(self, page: Page) -> None:
        """Count what a page of the file held."""
        self.problems += len(page.problems)
        self.skipped += page.skipped
        for record in page.records:
            self.orders += isinstance(record, OrderRecord)
            self.refunds += isinstance(record, RefundRecord)
            self.checkouts += isinstance(record, CheckoutRecord)
            self.lines += len(record.lines) if isinstance(record, OrderRecord) else 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def load_mapping(path: Path) -> dict[str, Any]:
    """The mapping file's document. Raises: InvalidInput."""
    try:
        return parse_mapping(path.read_bytes(), phrase("The mapping file %(path)s", path=path))
    except OSError as error:
        raise InvalidInput(
            phrase("The mapping file %(path)s cannot be read: %(why)s.", path=path, why=error.strerror),
            field="mapping",
        ) from error


def parse_mapping(written: bytes | str, name: str = _MAPPING) -> dict[str, Any]:
    """The document of a mapping as it was written. Raises: InvalidInput that calls it by `name`."""
    if len(written) > LONGEST_MAPPING:
        raise InvalidInput(
            phrase("%(name)s is longer than %(most)s characters.", name=name, most=LONGEST_MAPPING),
            field="mapping",
            hint=phrase("Is it the right file?"),
        )
    try:
        document = yaml.load(written, WordReader)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        told = getattr(error, "problem", None) or " ".join(str(error).split())
        if mark is None:
            what = phrase("%(name)s is not valid YAML: %(what)s.", name=name, what=told)
        else:
            what = phrase(
                "%(name)s is not valid YAML, line %(line)s, column %(column)s: %(what)s.",
                name=name,
                line=mark.line + 1,
                column=mark.column + 1,
                what=told,
            )
        raise InvalidInput(what, field="mapping", hint=phrase("Write one `key: column` on each line.")) from error
    if not isinstance(document, dict):
        raise InvalidInput(
            phrase("%(name)s holds no mapping.", name=name), field="mapping", hint=phrase("Begin with `kind: orders`.")
        )
    return document


def check_columns(shop: Shop, path: Path, mapping: Mapping[str, Any]) -> None:
    """Whether the file's first line has the columns that the mapping names. Raises: InvalidInput."""
    _file(shop, path, mapping).look_at_columns()


def import_file(
    db: Database,
    shop: Shop,
    path: Path,
    mapping: Mapping[str, Any],
    *,
    now: datetime,
    clock: Callable[[], datetime] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ImportReport:
    """Load a file; time stands still at `now` unless there is a `clock`, for it may take hours.

    Raises: InvalidInput before anything is written, for a missing column, a broken encoding or no file at all.
    """
    file = _file(shop, path, mapping)
    file.look_through()
    report = ImportReport()
    seen: set[str] = set()

    for group in groups(file.file_pages()):
        written, kept = keep_group(db, shop, group, clock() if clock else now)
        report.new += written.new
        report.changed += written.changed
        report.same += written.same
        for page in kept:
            report.take(page)
            seen |= _members_of(page)
        if progress is not None:
            progress(Progress(file.kind, int(group[-1].next_cursor), file.rows))
    seen.discard("")
    report.lines += file.refund_lines
    report.statuses = {word: ours or "set aside" for word, ours in file.statuses.items()}
    report.members = len(seen)
    return report


def _members_of(page: Page) -> set[str]:
    return {_person(record) for record in page.records}


def _person(record: Record) -> str:
    """What a record's person is known by in the file: their id, else what a guest left; empty for nobody."""
    if isinstance(record, OrderRecord):
        contact = record.contact
        left = "" if contact is None else contact.email.lower() or contact.phone
        return record.member_external_id or left
    if isinstance(record, CheckoutRecord):
        return record.member_external_id or record.email.lower()
    return record.member_external_id if isinstance(record, RefundRecord) else record.external_id


def _file(shop: Shop, path: Path, mapping: Mapping[str, Any]) -> FileStorefront:
    if storefront_class(shop.platform).streams:
        # A file's ids are its own: they would fall on the store's orders and members.
        raise InvalidInput(
            phrase("%(name)s is read from its store, so no file can be loaded into it.", name=shop.name),
            hint=phrase("Add a shop of files with `crm-plugin shop add NAME --platform csv` and load it there."),
        )
    told = {"path": str(path), "mapping": dict(mapping), "currency": shop.currency, "timezone": shop.timezone}
    file = storefront_class("csv")(told)
    assert isinstance(file, FileStorefront)
    return file
