"""Uploaded files that wait to be loaded. Each has a note beside it that says whose it is and how it is read, so that it is found again
when the process ends before its turn.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from crm_plugin.errors import CrmError
from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import all_shops
from crm_plugin.sync import imports

JOB = "import_file"
_NOTE = ".json"
# What stays of a request that was killed is cleared away when the next file comes.
_FORGET_SECONDS = 48 * 3600
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """What a note says: the shop, the mapping as it was written, and the name that the file came with."""

    shop_id: int
    mapping: str
    name: str


def folder_of(runtime: Runtime) -> Path:
    """Where uploads lie, made when it is not there."""
    folder = runtime.config.data_dir / "uploads"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def new_path(folder: Path) -> Path:
    """A place for one more file."""
    return folder / f"{secrets.token_hex(8)}.part"


def accept(path: Path, upload: Upload) -> None:
    """Write the note of a file that is whole: from here on it is loaded, also after a restart."""
    _to_disk(path)
    written = path.with_suffix(".new")
    written.write_text(json.dumps(asdict(upload)), encoding="utf-8")
    _to_disk(written)
    written.replace(path.with_suffix(_NOTE))


def remove(path: Path) -> None:
    """Take away a file and its note."""
    # The note goes last: one without a file asks for nothing, a file without a note would only lie there.
    path.unlink(missing_ok=True)
    path.with_suffix(_NOTE).unlink(missing_ok=True)


def resume(runtime: Runtime, enqueue: Callable[..., bool]) -> int:
    """Ask a queue again for every file whose turn had not come or was cut off; answers how many were taken."""
    with runtime.db.read() as connection:
        known = {shop.shop_id for shop in all_shops(connection)}
    taken = 0
    for path, upload in list(_accepted(folder_of(runtime))):
        if upload.shop_id not in known or not path.exists():
            remove(path)
            continue
        try:
            mapping = imports.parse_mapping(upload.mapping)
        except CrmError as error:
            _log.error("the mapping of %s cannot be read: %s", upload.name, error)
            continue
        taken += enqueue(JOB, upload.shop_id, path=str(path), mapping=mapping)
        _log.info("%s of shop %s is loaded now", upload.name, upload.shop_id)
    return taken


def forget_old(folder: Path) -> None:
    """Clear away what was never accepted."""
    oldest = time.time() - _FORGET_SECONDS
    for path in folder.iterdir():
        accepted = path.suffix == _NOTE or path.with_suffix(_NOTE).exists()
        if not accepted and path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


def _accepted(folder: Path) -> Iterator[tuple[Path, Upload]]:
    """Oldest first."""
    for note in sorted(folder.glob(f"*{_NOTE}"), key=lambda path: path.stat().st_mtime):
        try:
            told = Upload(**json.loads(note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            _log.error("the note %s cannot be read: %s", note.name, error)
            continue
        yield note.with_suffix(".part"), told


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
