"""Levels in the metadata of customers, and tags as groups."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.medusa import MedusaStorefront
from crm_plugin.errors import PermanentError
from crm_plugin.records import MemberRecord, Stream
from tests.adapters.storefronts.medusa.fake_medusa import FakeMedusa, customer
from tests.contracts.storefront_tiers import GOLD, TierContract


class TestTiers(TierContract):
    @pytest.fixture
    def storefront(self, storefront: MedusaStorefront, medusa: FakeMedusa) -> StorefrontAdapter:
        medusa.rows["customers"] = [customer(1, metadata={"other": "x"}), customer(2)]
        return storefront

    @pytest.fixture
    def references(self) -> tuple[str, str]:
        return "cus_0001", "cus_0002"

    @pytest.fixture
    def missing(self) -> str:
        return "cus_9999"

    @pytest.fixture
    def fail(self, medusa: FakeMedusa) -> Callable[[str], None]:
        faults = {
            "busy": (429, {"Retry-After": "40"}, ""),
            "down": (503, {}, ""),
            "silent": requests.ReadTimeout("slow"),
            "read_only": (403, {}, '{"type":"forbidden","message":"no"}'),
        }

        def begin(how: str) -> None:
            # Whoever may not write may not read either, so the probe meets the same.
            medusa.faults = [faults[how]] * (2 if how == "read_only" else 1)  # type: ignore[list-item]

        return begin

    def test_entries_of_others_stay(self, storefront: StorefrontAdapter, medusa: FakeMedusa) -> None:
        storefront.write_tier("cus_0001", GOLD)
        assert medusa.rows["customers"][0]["metadata"] == {"other": "x", "crm_tier_main": "gold"}

    def test_tags_are_groups(self, storefront: StorefrontAdapter, medusa: FakeMedusa) -> None:
        storefront.write_tags("cus_0002", ["vip", "tea"], [])
        storefront.write_tags("cus_0002", ["vip"], ["tea", "never there"])
        record = storefront.reread(Stream.MEMBERS, "cus_0002")
        assert isinstance(record, MemberRecord)
        assert record.tags == ("vip",)
        assert sorted(one["name"] for one in medusa.rows["customer_groups"]) == ["tea", "vip"]
        with pytest.raises(PermanentError):
            storefront.write_tags("../orders", ["vip"], [])
