"""All cases of a storefront that is asked over the network."""

from __future__ import annotations

from crm_plugin.adapters.testing.bad_days import BadDayCases
from crm_plugin.adapters.testing.errors import ErrorCases
from crm_plugin.adapters.testing.hearing import HearingCases
from crm_plugin.adapters.testing.paging import PagingCases
from crm_plugin.adapters.testing.reading import ReadingCases
from crm_plugin.adapters.testing.rereading import RereadingCases
from crm_plugin.adapters.testing.sheet import SheetKit
from crm_plugin.adapters.testing.writing import TierCases, WritingCases


class StorefrontKit(
    SheetKit,
    PagingCases,
    ReadingCases,
    RereadingCases,
    HearingCases,
    WritingCases,
    TierCases,
    ErrorCases,
    BadDayCases,
):
    """Subclass it as `class TestKit(StorefrontKit)`; `cases.py` says what to fill."""
