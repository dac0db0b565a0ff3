"""A file that a shop hands in: streamed into the data directory, looked at, and given to the queue, which removes it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from flask import g, request
from flask_babel import gettext as _
from flask_babel import lazy_gettext
from werkzeug.datastructures import FileStorage
from werkzeug.formparser import FormDataParser

from crm_plugin.errors import CrmError, InvalidInput
from crm_plugin.jobs import uploads
from crm_plugin.jobs.asked import Jobs
from crm_plugin.store import audit
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import imports
from crm_plugin.web import formats
from crm_plugin.web.forms import Form
from crm_plugin.web.i18n import in_words
from crm_plugin.web.languages import sentences
from crm_plugin.web.reading import IMPORT
from crm_plugin.web.site import site

KINDS = ("order_lines", "orders", "members")
# The file of a large shop; what is larger is loaded from the command line.
LARGEST_FILE = 512 * 2**20
_LONGEST_MAPPING = 256 * 1024

# What an import counts, in the words of the page.
COUNTED = {
    "members": lazy_gettext("members"),
    "orders": lazy_gettext("orders"),
    "refunds": lazy_gettext("refunds"),
    "checkouts": lazy_gettext("checkouts"),
    "lines": lazy_gettext("order lines"),
    "skipped": lazy_gettext("left out"),
    "problems": lazy_gettext("not readable"),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an import came to, in words; `tone` is good, warn or bad."""

    tone: str
    text: str


# What the mapping of each kind may look like; the words after the colons are the file's columns.
EXAMPLES = {
    "order_lines": """\
kind: order_lines
order_id: Order
placed_at: Date
member_id: Customer
email: Email
country: Country
sku: SKU
title: Product
quantity: Quantity
unit_price: Price
# Lines that give money back, and lines that are no sale:
# refund_when: {order_id: {prefix: R}}
# skip_when: {order_id: {prefix: X}}
""",
    "orders": """\
kind: orders
order_id: Order
placed_at: Date
status: Status
total: Total
member_id: Customer
email: Email
phone: Phone
first_name: First name
last_name: Last name
country: Country
""",
    "members": """\
kind: members
member_id: Customer
email: Email
phone: Phone
first_name: First name
last_name: Last name
birthday: Birthday
locale: Language
country: Country
joined_at: Joined
email_consent: Newsletter
sms_consent: Text messages
tags: Tags
""",
}


def form(kind: str) -> Form:
    """An empty form with the example of a kind."""
    return Form({"file": "", "mapping": EXAMPLES.get(kind, EXAMPLES[KINDS[0]]), "mapping_file": ""})


def receive(shop: Shop) -> Form:
    """Take the posted file in and queue it; what is wrong stands at the form's fields, and nothing is kept then."""
    folder = uploads.folder_of(site().runtime)
    uploads.forget_old(folder)
    written: list[IO[bytes]] = []
    told = Form({"file": "", "mapping_file": "", "mapping": ""})
    queued: Path | None = None
    try:
        fields, files = _streamed(folder, written)
        told.values["mapping"] = str(fields.get("mapping", ""))
        queued = _queue(shop, told, files)
    except CrmError as error:
        told.refuse(error, "file")
    finally:
        for file in written:
            file.close()
            if Path(file.name) != queued:
                uploads.remove(Path(file.name))
    return told


def last(queue: Jobs, shop: Shop) -> Outcome | None:
    """What the last import of the shop came to; None before the first."""
    run = queue.last(shop.shop_id, IMPORT)
    if run is None:
        return None
    if run.error:
        return Outcome("bad", _("The last file was not loaded: %(why)s", why=in_words(run.error)))
    told = {key: int(run.result.get(key, 0)) for key in COUNTED}
    when = formats.moment(run.finished_at)
    counts = ", ".join(f"{COUNTED[key]} {formats.number(count)}" for key, count in told.items() if count)
    held = _("The file loaded at %(when)s held: %(counts)s.", when=when, counts=counts or _("nothing"))
    new, changed = int(run.result.get("new", 0)), int(run.result.get("changed", 0))
    came = _("New here: %(new)s, changed: %(changed)s.", new=formats.number(new), changed=formats.number(changed))
    return Outcome("warn" if told["problems"] else "good", sentences((held, came)))


def _queue(shop: Shop, told: Form, files: Any) -> Path:
    file: FileStorage | None = files.get("file")
    if file is None or not file.filename:
        raise InvalidInput(_("No file was chosen."), field="file", hint=_("Choose the CSV file that you exported."))
    mapping_file: FileStorage | None = files.get("mapping_file")
    if mapping_file is not None and mapping_file.filename:
        told.values["mapping"] = mapping_file.stream.read(_LONGEST_MAPPING).decode("utf-8", "replace")
    mapping = imports.parse_mapping(told.text("mapping"))
    file.stream.flush()
    path = Path(str(file.stream.name))
    imports.check_columns(shop, path, mapping)
    uploads.accept(path, uploads.Upload(shop.shop_id, told.text("mapping"), file.filename))
    runtime = site().runtime
    with runtime.db.write() as connection:
        detail = {"file": file.filename, "kind": str(mapping.get("kind", ""))}
        audit.note(connection, shop.shop_id, g.actor, "file.import", detail, runtime.clock.now())
        if not site().queue.enqueue(IMPORT, shop.shop_id, path=str(path), mapping=mapping):
            # The audit must not tell of a file that was not taken, so this is within its transaction.
            raise InvalidInput(
                _("Another file is being loaded."),
                field="file",
                hint=_("Wait until it is done, then choose this one again."),
            )
    return path


def _streamed(folder: Path, written: list[IO[bytes]]) -> tuple[Any, Any]:
    """The posted form with its files written straight into the folder, so that a large one is in memory or on disk once, never twice."""

    def into_folder(
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        written.append(uploads.new_path(folder).open("w+b"))
        return written[-1]

    request.max_content_length = LARGEST_FILE
    factory: Callable[..., IO[bytes]] = into_folder
    parser = FormDataParser(
        stream_factory=factory, max_form_memory_size=_LONGEST_MAPPING * 4, max_content_length=LARGEST_FILE
    )
    _stream, fields, files = parser.parse(
        request.stream, request.mimetype, request.content_length, request.mimetype_params
    )
    return fields, files
