"""The companion plugin for WordPress: PHP reads it, its pure functions hold, its hooks keep what they should, its zip is the same."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from crm_plugin import __version__
from crm_plugin.adapters.storefronts.woocommerce import packing, webhooks
from crm_plugin.cli import main
from crm_plugin.records import RawRequest

SCRIPTS = Path(__file__).parent / "php"
SECRET = "cs_" + "b" * 40


@pytest.fixture(scope="module")
def php() -> str:
    found = shutil.which("php")
    if found is None and os.environ.get("CI"):
        pytest.fail("php is missing: apt-get install php-cli", pytrace=False)
    if found is None:
        pytest.skip("php is missing: apt-get install php-cli")
    return found


def _run(php: str, script: str, *arguments: str) -> Any:
    command = [php, "-d", "display_errors=stderr", "-d", "error_reporting=-1", str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_every_file_is_php(php: str) -> None:
    files = [str(file) for file in packing.files() if file.suffix == ".php"]
    assert len(files) >= 8
    # Newer versions of PHP check many files at once, older ones the first alone.
    for file in files:
        done = subprocess.run([php, "-l", file], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout


def test_pure_functions_and_a_proof_that_we_believe(php: str) -> None:
    told = _run(php, "pure.php", str(packing.FOLDER), webhooks.signing_secret(SECRET))
    request = RawRequest("POST", "", {"x-crm-proof": told["proof"]}, told["body"].encode())
    assert webhooks.shopper(request, SECRET, 1780000000.0) == "7"


def test_hooks_keep_and_show_what_they_should(php: str) -> None:
    told = _run(php, "hooks.php", str(packing.FOLDER))
    assert "Enter the address" in told["unconnected"]
    assert told["no inbox"] == ""
    assert "https://crm.example/install/woocommerce?url=https%3A%2F%2Fshop.example" in told["to connect"]
    assert "https://crm.example/s/my-shop/today" in told["connected"]
    assert '<script src="https://crm.example/static/inapp.js" data-token="t">' in told["inbox"]
    assert 'href="https://crm.example/u/x"' in told["inbox"]
    assert told["asked"] == ["https://crm.example/hooks/my-shop/woocommerce/shopper"] * 2
    assert (told["still"], told["not"]) == ("[crm_marketing_opt_in=1]", "[crm_marketing_opt_in=]")
    assert told["block field"] == ["crm-plugin/marketing-opt-in", "order"]
    assert told["ticked"] == told["block"] == {"marketing_opt_in": "yes"}
    assert told["empty"] == []
    assert told["birthdays"] == [[[], "1984-02-29"], [["crm_birthday"], "1984-02-29"], [[], None]]
    assert told["may"] == ["read", "crm_tier_gold", "crm_tier_main_gold"]
    assert told["others"] == ["read"]
    assert told["exported"] == {"Birthday": "1984-02-29", "Level (main)": "gold"}
    assert told["erased"] == [True, []]
    assert (told["answers"], told["answers left"]) == (2, ["crm_plugin_shopper_3_7"])
    label = "Consent to news by e-mail"
    assert told["of orders"] == [{"marketing_opt_in": label}, {"marketing_opt_in": "text"}, "", "[deleted]"]
    assert told["nobody"] == [[], False]
    assert list(told["links"]) == ["crm-plugin", "deactivate"]
    assert (
        'href="https://shop.example/wp-admin/admin.php?page=wc-settings&amp;tab=crm_plugin"'
        in told["links"]["crm-plugin"]
    )
    assert (told["tier"], told["if"], told["function"]) == ("gold", ["in", ""], "gold")
    kinds = ("\\_transient\\_", "\\_transient\\_timeout\\_")
    names = [f"{kind}crm\\_plugin\\_shopper\\_%" for kind in kinds]
    assert told["uninstalled"] == [f"DELETE FROM wp_options WHERE option_name LIKE '{name}'" for name in names]
    assert told["options left"] == []


def test_every_sentence_is_there_in_chinese(php: str) -> None:
    told = set[str]()
    for name, text in packing.texts().items():
        if name.startswith("languages/") or not name.endswith(".php"):
            continue
        told |= {one.replace("\\'", "'") for one in re.findall(r"__\( '((?:[^'\\]|\\.)+)', 'crm-plugin' \)", text)}
        told |= set(re.findall(r"^ \* (?:Plugin Name|Description): (.+)$", text, re.MULTILINE))
    assert told == set(_run(php, "messages.php", str(packing.FOLDER)))


def test_zip_is_the_same_each_time_and_knows_its_version(tmp_path: Path) -> None:
    made = tmp_path / "made" / "plugin.zip"
    done = CliRunner().invoke(main, ["woocommerce", "build-plugin", str(made)])
    assert done.exit_code == 0, done.output
    assert made.read_bytes() == packing.pack()
    with zipfile.ZipFile(io.BytesIO(packing.pack())) as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert {name.partition("/")[0] for name in names} == {"crm-plugin"}
        assert len(names) == len(packing.files())
        assert f"Version: {__version__}\n".encode() in archive.read("crm-plugin/crm-plugin.php")
        assert f"Stable tag: {__version__}\n".encode() in archive.read("crm-plugin/readme.txt")
    assert {file.relative_to(packing.FOLDER) for file in packing.FOLDER.rglob("*") if file.is_file()} == {
        file.relative_to(packing.FOLDER) for file in packing.files()
    }
