"""The command line: answers on stdout (`--json` for machines), progress on stderr, errors that say what to do and exit code 1."""

from __future__ import annotations

from crm_plugin.cli import (
    asking,
    duties,
    events,
    guarding,
    journeys,
    keeping,
    manifests,
    messages,
    privacy,
    publishing,
    recipes,
    rehearsing,
    rounds,
    rules,
    scaling,
    segments,
    sending,
    serving,
    stores,
    tiers,
    writeback,
)
from crm_plugin.cli.common import main

__all__ = [
    "asking",
    "duties",
    "events",
    "guarding",
    "journeys",
    "keeping",
    "main",
    "manifests",
    "messages",
    "privacy",
    "publishing",
    "recipes",
    "rehearsing",
    "rounds",
    "rules",
    "scaling",
    "segments",
    "sending",
    "serving",
    "stores",
    "tiers",
    "writeback",
]
