"""The companion plugin for WordPress as a zip: the same bytes for the same version, whenever and wherever it is packed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from crm_plugin import __version__

FOLDER = Path(__file__).parent / "companion"
_TOP = "crm-plugin"
# What stands for the version in its files.
_UNVERSIONED = (b"Version: 0.0.0\n", b"Stable tag: 0.0.0\n")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o100644 << 16


def pack() -> bytes:
    """The zip as WordPress takes it under Plugins > Add new > Upload."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in files():
            entry = zipfile.ZipInfo(f"{_TOP}/{file.relative_to(FOLDER).as_posix()}", _EPOCH)
            # Not compressed: how that is done differs between versions of zlib.
            entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_STORED, _READABLE, 3
            archive.writestr(entry, _versioned(file.read_bytes()))
    return packed.getvalue()


def texts() -> dict[str, str]:
    """The plugin's files by name, as they are packed."""
    return {file.relative_to(FOLDER).as_posix(): _versioned(file.read_bytes()).decode() for file in files()}


def files() -> list[Path]:
    """The plugin's files, by name."""
    return sorted(file for file in FOLDER.rglob("*") if file.is_file() and file.suffix in (".php", ".txt"))


def _versioned(content: bytes) -> bytes:
    for told in _UNVERSIONED:
        content = content.replace(told, told.replace(b"0.0.0", __version__.encode()))
    return content
