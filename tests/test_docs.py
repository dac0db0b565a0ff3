"""What can be set, written or seen is in the documentation, and what the documentation shows works."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jinja2.filters import FILTERS

import crm_plugin
from crm_plugin.adapters.base import Adapter
from crm_plugin.adapters.registry import channel_class, channel_names, storefront_class, storefront_names
from crm_plugin.cli import main
from crm_plugin.config import ENVIRONMENT
from crm_plugin.rules import trigger_reference
from crm_plugin.rules.catalogue.common import SPAN
from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.operators import CALCULATIONS, MATCHES, OPERATORS
from crm_plugin.rules.triggers import KINDS as TRIGGERS
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import documents
from crm_plugin.touchpoints.journey import CHANNELS, KINDS
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.program import load
from crm_plugin.touchpoints.program_file import SECTIONS
from crm_plugin.touchpoints.recipes import recipes
from crm_plugin.touchpoints.sandbox import Sandbox
from crm_plugin.touchpoints.scene import VARIABLES, VIEWS
from crm_plugin.touchpoints.settings import ROW_SETTINGS, SETTINGS
from crm_plugin.touchpoints.states import TRANSITIONS, Reason, State
from crm_plugin.touchpoints.steps.document import walk
from crm_plugin.touchpoints.steps.kinds import KINDS as STEP_KINDS
from tests.factories import NOON, make_shop

PACKAGE = Path(crm_plugin.__file__).parent
PROJECT = PACKAGE.parent
TOUCHPOINTS = (PACKAGE / "touchpoints" / "README.md").read_text(encoding="utf-8")
RULES = (PACKAGE / "rules" / "README.md").read_text(encoding="utf-8")
MESSAGES = (PACKAGE / "templates" / "messages" / "README.md").read_text(encoding="utf-8")


def _documents() -> list[Path]:
    folders = (PACKAGE, PROJECT / "migrations", PROJECT / "benchmarks", PROJECT / "requirements")
    return [PROJECT / "README.md", *(file for folder in folders for file in sorted(folder.rglob("README.md")))]


def _table(text: str, heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its head."""
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _codes(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_every_environment_setting_is_described() -> None:
    known = {setting.name for setting in ENVIRONMENT}
    # What the code reads beside it, such as an option of a command.
    code = "\n".join(file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py"))
    read = set(re.findall(r"\bCRM_[A-Z_]+[A-Z]\b", code))
    files = (*_documents(), PROJECT / "plugin.yaml")
    described = "\n".join(file.read_text(encoding="utf-8") for file in files)
    assert known <= read
    assert sorted(name for name in read if name not in described) == []


def test_states_and_their_steps_are_the_table() -> None:
    told = {_codes(row[0])[0]: (row[1], set(_codes(row[2]))) for row in _table(TOUCHPOINTS, "States")}
    assert {state: steps for state, (_, steps) in told.items()} == {
        state.value: {to.value for to in TRANSITIONS[state]} for state in State
    }
    assert all(meaning for meaning, _ in told.values())


def test_reasons_are_described_with_their_states() -> None:
    rows = _table(TOUCHPOINTS, "Reasons")
    assert [_codes(row[0])[0] for row in rows] == [reason.value for reason in Reason]
    states = {state.value for state in State}
    for row in rows:
        assert set(row[1].split(", ")) <= states
        assert row[2]


def test_triggers_and_their_occasions_are_described() -> None:
    assert [_codes(row[0])[0] for row in _table(TOUCHPOINTS, "Keys")] == list(TRIGGERS)
    # Made by `trigger_reference`.
    assert trigger_reference.markdown() in TOUCHPOINTS
    assert trigger_reference.occasions() in TOUCHPOINTS


def test_files_of_the_package_are_named() -> None:
    told = set(_codes(TOUCHPOINTS.split("\n## Files\n")[1]))
    assert told == {file.stem for file in (PACKAGE / "touchpoints").glob("*.py")} - {"__init__"}


@pytest.mark.slow
def test_programme_of_the_readme_can_be_loaded(db: Database) -> None:
    document = documents.read(TOUCHPOINTS.split("```yaml\n", 1)[1].split("```", 1)[0], "README.md")
    assert tuple(document) == SECTIONS
    with db.write() as connection:
        report = load(connection, make_shop(connection, currency="GBP"), document, NOON)
    assert report.switched_on == ("birthday", "week_after")
    assert report.rates_changed


def test_journey_of_steps_of_the_readme_can_be_read() -> None:
    told = documents.read(
        TOUCHPOINTS.split("## Journeys of several steps", 1)[1].split("```yaml\n", 1)[1].split("```", 1)[0], "README.md"
    )
    flow = read_draft(told[0]).flow
    assert {step.kind for step in walk(flow.steps)} == set(STEP_KINDS)


def test_files_of_the_steps_are_named() -> None:
    line = TOUCHPOINTS.split("## Journeys of several steps", 1)[1].split("\nFiles: ", 1)[1].split("\n", 1)[0]
    assert set(_codes(line)) == {file.stem for file in (PACKAGE / "touchpoints" / "steps").glob("*.py")} - {"__init__"}


def _blocks_of_the_readme() -> dict[str, str]:
    """The README's examples by the file they are to be written into; the commands without a name."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8").split("Files: any export will do", 1)[1]
    orders, mapping, program, commands = re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[:4]
    return {"orders.csv": orders, "mapping.yaml": mapping, "program.yaml": program, "": commands}


@pytest.mark.slow
def test_readme_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file of orders to a round, by the very commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRM_DATA_DIR", str(tmp_path / "data"))
    for name in ("CRM_DATABASE_URL", "CRM_SECRET_KEY", "CRM_PUBLIC_URL", "CRM_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    blocks = _blocks_of_the_readme()
    for name, text in blocks.items():
        if name:
            Path(name).write_text(text, encoding="utf-8")
    told: dict[str, Any] = {}
    for line in blocks[""].splitlines():
        words = shlex.split(re.split(r"\s{3,}", line.removeprefix("./dev run "))[0])
        done = CliRunner().invoke(main, [*words, "--json"])
        assert done.exit_code == 0, (line, done.output)
        told[" ".join(words[:2])] = json.loads(done.stdout)
    loaded = told["import my-shop"]
    assert {key: loaded[key] for key in ("members", "orders", "lines", "problems", "statuses")} == {
        "members": 3,
        "orders": 3,
        "lines": 4,
        "problems": 0,
        "statuses": {"Shipped": "shipped", "Returned": "refunded"},
    }
    assert told["rule count"]["count"] == 1
    assert told["program load"]["switched_on"] == ["birthday", "thanks"]
    assert told["tiers apply"]["changed"] == 2
    assert told["doctor"]["shops"] == ["my-shop"]


def test_words_of_a_programme_are_described() -> None:
    for word in (
        *(setting.key for setting in (*ROW_SETTINGS, *SETTINGS)),
        *SECTIONS,
        *CHANNELS,
        *KINDS,
        *(recipe.key for recipe in recipes()),
    ):
        assert re.search(rf"\b{word}\b", TOUCHPOINTS), word


def test_recipes_are_the_table() -> None:
    told = [[_codes(row[0])[0], *row[1:]] for row in _table(TOUCHPOINTS, "Recipes")]
    assert told == [[one.key, ", ".join(one.stages), one.description["en"]] for one in recipes()]


def test_fields_and_operators_are_the_tables() -> None:
    fields, operators = RULES.split("### Operators")
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.*)$", fields, re.MULTILINE))
    assert list(rows) == list(FIELDS)
    told = re.findall(r"^\| `([^`]+)` \|", operators, re.MULTILINE)
    assert told == [*OPERATORS, "in", "not in", *MATCHES, "known", *CALCULATIONS]
    for spec in FIELDS.values():
        for parameter in spec.parameters:
            in_a_span = spec.windowed and parameter.key in {one.key for one in SPAN}
            assert parameter.positional or in_a_span or f"`{parameter.key}=`" in rows[spec.key], (
                spec.key,
                parameter.key,
            )
    assert all(f"`{one.key}=" in RULES for one in SPAN)


def test_variables_of_a_text_are_the_table() -> None:
    rows = {_codes(row[0])[0]: row[1] for row in _table(MESSAGES, "What a text may use") if row[0] != "filters"}
    assert set(rows) == set(VARIABLES)
    loops = {"line": "order", "answer": "answers"}
    for view, called in VIEWS.items():
        name = loops.get(called, called)
        public = {word for word in dir(view) if not word.startswith("_")}
        assert sorted(word for word in public if f"`{word}`" not in rows[name]) == []
    filters = next(row[1] for row in _table(MESSAGES, "What a text may use") if row[0] == "filters")
    # What is no name cannot be written in a text: the sandbox asks for it itself.
    own = {name for name in set(Sandbox(autoescape=False).filters) - set(FILTERS) if name.isidentifier()}
    assert own <= set(_codes(filters))


ADAPTERS: list[type[Adapter]] = [
    *(storefront_class(name) for name in storefront_names()),
    *(channel_class(name) for name in channel_names()),
]


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_adapter_has_a_readme_with_its_settings(adapter: type[Adapter]) -> None:
    folder = PACKAGE.joinpath(*adapter.__module__.split(".")[1:-1])
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert [setting.key for setting in adapter.settings if f"`{setting.key}`" not in text] == []


def test_links_and_paths_in_documents_exist() -> None:
    """A file that is named with its folder is there."""
    missing = []
    for file in _documents():
        for told in _codes(file.read_text(encoding="utf-8")):
            if re.fullmatch(
                r"(?:crm_plugin|tests|benchmarks|migrations|requirements)/[\w/.-]+\.(?:py|md|yaml|html|txt)", told
            ):
                missing += [] if (PROJECT / told).exists() else [f"{file.name}: {told}"]
            if re.fullmatch(r"\.\./[\w/.-]+", told):
                missing += [] if (file.parent / told).exists() else [f"{file}: {told}"]
    assert missing == []
