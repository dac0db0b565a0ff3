"""Levels and tags in the public metadata of accounts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.saleor import SaleorStorefront
from crm_plugin.errors import PermanentError
from crm_plugin.records import MemberRecord, Stream
from tests.adapters.storefronts.saleor.fake_saleor import FakeSaleor, user
from tests.contracts.storefront_tiers import GOLD, TierContract


class TestTiers(TierContract):
    @pytest.fixture
    def storefront(self, storefront: SaleorStorefront, saleor: FakeSaleor) -> StorefrontAdapter:
        saleor.rows["users"] = [user(1, metadata=[{"key": "other", "value": "x"}]), user(2)]
        return storefront

    @pytest.fixture
    def references(self) -> tuple[str, str]:
        return user(1)["id"], user(2)["id"]

    @pytest.fixture
    def missing(self) -> str:
        return str(user(99)["id"])

    @pytest.fixture
    def fail(self, saleor: FakeSaleor) -> Callable[[str], None]:
        def begin(how: str) -> None:
            faults = {
                "busy": (429, {"Retry-After": "40"}, ""),
                "down": (503, {}, ""),
                "silent": requests.ReadTimeout("slow"),
            }
            if how == "read_only":
                saleor.permissions.remove("MANAGE_USERS")
            else:
                saleor.faults = [faults[how]]  # type: ignore[list-item]

        return begin

    def test_entries_of_others_stay(self, storefront: StorefrontAdapter, saleor: FakeSaleor) -> None:
        storefront.write_tier(user(1)["id"], GOLD)
        assert saleor.rows["users"][0]["metadata"] == [
            {"key": "other", "value": "x"},
            {"key": "crm.tier.main", "value": "gold"},
        ]

    def test_tags_are_entries_of_their_own(self, storefront: StorefrontAdapter, saleor: FakeSaleor) -> None:
        reference = user(2)["id"]
        storefront.write_tags(reference, ["vip", "tea"], [])
        storefront.write_tags(reference, ["new"], ["vip", "never there"])
        record = storefront.reread(Stream.MEMBERS, reference)
        assert isinstance(record, MemberRecord)
        assert record.tags == ("new", "tea")
        with pytest.raises(PermanentError):
            storefront.write_tags(user(99)["id"], ["vip"], [])
