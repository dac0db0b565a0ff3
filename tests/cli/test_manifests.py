"""What platforms are told of the app, and which of its changes ask merchants again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crm_plugin.resources import manifest_path
from tests.cli.conftest import Run


def test_saleors_manifest_names_our_addresses(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, told = run("manifest", "build", "--platform", "saleor")
    assert code == 1
    assert "CRM_PUBLIC_URL" in told["error"]["message"]
    monkeypatch.setenv("CRM_PUBLIC_URL", "https://crm.example")
    assert run("manifest", "build", "--platform", "saleor", "--to", str(tmp_path / "out"))[0] == 0
    told = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert told["tokenTargetUrl"] == "https://crm.example/install/saleor/token"
    assert "MANAGE_USERS" in told["permissions"]


@pytest.mark.slow
def test_changes_that_ask_again_are_told(run: Run, tmp_path: Path) -> None:
    ours, old = manifest_path(), tmp_path / "old.yaml"
    text = ours.read_text(encoding="utf-8")
    asked = text.replace("    - scope: write\n      required: false", "    - scope: write\n      required: true", 1)
    assert asked != text
    old.write_text(asked, encoding="utf-8")
    assert run("manifest", "diff", str(ours)) == (0, [])
    change = {"platform": "woocommerce", "right": "write"}
    dropped = {**change, "change": "no longer needed", "asks again": False}
    assert run("manifest", "diff", str(old)) == (0, [dropped])
    raised = {**change, "change": "needed now", "asks again": True}
    assert run("manifest", "diff", str(ours), str(old)) == (0, [raised])
