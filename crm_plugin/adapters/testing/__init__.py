"""The test kit of adapters: what every storefront keeps to, as pytest cases that an adapter's tests subclass. Needs pytest.

`../README.md` says how it is run. A subclass of `StorefrontKit` brings a `Store`, a made-up store in the platform's own form; which cases
apply follows from the adapter's capabilities and the store's traits, and one that is left out says why.
"""

import pytest

# Before they are imported: what an assertion compared is told also outside of a test file.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{name}"
        for name in ("bad_days", "errors", "hearing", "paging", "reading", "rereading", "sheet", "tiers", "writing")
    )
)

from crm_plugin.adapters.testing.edge import Answered, Asked, NoAnswer, Trouble  # noqa: E402
from crm_plugin.adapters.testing.faults import Faults  # noqa: E402
from crm_plugin.adapters.testing.kit import StorefrontKit  # noqa: E402
from crm_plugin.adapters.testing.samples import BEGIN, GivenBack, Person, Sale, Sample, State, Thing  # noqa: E402
from crm_plugin.adapters.testing.served import serve  # noqa: E402
from crm_plugin.adapters.testing.sheet import SheetKit  # noqa: E402
from crm_plugin.adapters.testing.store import Store, Told, Trait  # noqa: E402
from crm_plugin.adapters.testing.tiers import NoTiersContract, TierContract  # noqa: E402

__all__ = [
    "BEGIN",
    "Answered",
    "Asked",
    "Faults",
    "GivenBack",
    "NoAnswer",
    "NoTiersContract",
    "Person",
    "Sale",
    "Sample",
    "SheetKit",
    "State",
    "Store",
    "StorefrontKit",
    "Thing",
    "TierContract",
    "Told",
    "Trait",
    "Trouble",
    "serve",
]
