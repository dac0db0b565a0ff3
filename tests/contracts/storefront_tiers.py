"""The contract of levels is part of the published kit; this is its name among the other contracts of the tests."""

from crm_plugin.adapters.testing.tiers import CLUB, GOLD, NOTHING, SILVER, NoTiersContract, TierContract

__all__ = ["CLUB", "GOLD", "NOTHING", "SILVER", "NoTiersContract", "TierContract"]
