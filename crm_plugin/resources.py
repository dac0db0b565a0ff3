"""Where the files beside the code are: in a checkout at the project's root, in an installed wheel inside the package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def migrations_dir() -> Path:
    """The folder of Alembic's `env.py` and `versions/`."""
    packed = _PACKAGE / "_migrations"
    return packed if packed.is_dir() else _PACKAGE.parent / "migrations"


def manifest_path() -> Path:
    """`plugin.yaml`."""
    packed = _PACKAGE / "_plugin.yaml"
    return packed if packed.is_file() else _PACKAGE.parent / "plugin.yaml"
