"""Which errors are one record's fault: what the database or the arithmetic cannot take, as against a database that is away."""

from __future__ import annotations

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from crm_plugin.errors import CrmError
from crm_plugin.phrases import phrase

# Classes of SQLSTATE: a value that does not fit, and a rule of the table that it breaks.
_OF_A_VALUE = ("22", "23")


def is_of_a_record(error: Exception) -> bool:
    """Whether another record may well be stored where this one could not."""
    if not isinstance(error, DBAPIError):
        return not isinstance(error, (CrmError, OSError, MemoryError))
    told = error.orig.args[0] if error.orig is not None and error.orig.args else None
    if isinstance(told, dict):
        return str(told.get("C", "")).startswith(_OF_A_VALUE)
    return isinstance(error, (DataError, IntegrityError))


def reason(error: Exception) -> str:
    """Why a record could not be stored, in one sentence."""
    told: object = error.orig if isinstance(error, DBAPIError) else error
    args = getattr(told, "args", ())
    if args and isinstance(args[0], dict):
        told = args[0].get("M", told)
    return phrase("It cannot be stored: %(what)s.", what=" ".join(str(told).split())[:200].rstrip("."))
