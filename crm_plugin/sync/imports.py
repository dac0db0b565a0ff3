"""Loading a CSV file into a shop: looked through once, then streamed page by page; loading it again changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.adapters.storefronts.base import FileStorefront
from crm_plugin.errors import InvalidInput
from crm_plugin.records import OrderRecord, Page, RefundRecord, Stream
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.pull import Progress, write_pages
from crm_plugin.sync.written import Written


@dataclass(slots=True)
class ImportReport:
    """What a file held (distinct members, orders, refunds, their lines), and how much of it was new or changed here."""

    members: int = 0
    orders: int = 0
    refunds: int = 0
    lines: int = 0
    skipped: int = 0
    problems: int = 0
    new: int = 0
    changed: int = 0
    same: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def load_mapping(path: Path) -> dict[str, Any]:
    """The mapping file's document. Raises: InvalidInput."""
    try:
        return parse_mapping(path.read_bytes(), f"The mapping file {path}")
    except OSError as error:
        raise InvalidInput(f"The mapping file {path} cannot be read: {error.strerror}.", field="mapping") from error


def parse_mapping(written: bytes | str, name: str = "The mapping") -> dict[str, Any]:
    """The document of a mapping as it was written. Raises: InvalidInput that calls it by `name`."""
    try:
        document = yaml.safe_load(written)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{name} is not valid YAML: {error}", field="mapping") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{name} holds no mapping.", field="mapping", hint="Begin with `kind: orders`.")
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
    progress: Callable[[Progress], None] | None = None,
) -> ImportReport:
    """Load a file. Raises: InvalidInput before anything is written, for a missing column, a broken encoding or no file at all."""
    file = _file(shop, path, mapping)
    file.look_through()
    report = ImportReport()
    seen: set[str] = set()

    def note(page: Page, written: Written) -> None:
        report.problems += len(page.problems)
        report.skipped += page.skipped
        report.new += written.new
        report.changed += written.changed
        report.same += written.same
        for record in page.records:
            if page.stream is Stream.MEMBERS:
                seen.add(record.external_id)
            elif isinstance(record, OrderRecord):
                report.orders += 1
                report.lines += len(record.lines)
                seen.add(record.member_external_id)
            elif isinstance(record, RefundRecord):
                report.refunds += 1
                seen.add(record.member_external_id)
        if progress is not None:
            progress(Progress(file.kind, int(page.next_cursor), file.rows))

    write_pages(db, shop, file.file_pages(), now=now, each=note)
    seen.discard("")
    report.lines += file.refund_lines
    report.members = len(seen)
    return report


def _file(shop: Shop, path: Path, mapping: Mapping[str, Any]) -> FileStorefront:
    told = {"path": str(path), "mapping": dict(mapping), "currency": shop.currency, "timezone": shop.timezone}
    file = storefront_class("csv")(told)
    assert isinstance(file, FileStorefront)
    return file
