"""Commands about WooCommerce alone: build-plugin."""

from __future__ import annotations

from pathlib import Path

import click

from crm_plugin.cli.common import main, say


@main.group()
def woocommerce() -> None:
    """What WooCommerce stores alone need."""


@woocommerce.command("build-plugin")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default="crm-plugin-woocommerce.zip")
def build_plugin(file: Path) -> None:
    """Make the companion plugin for WordPress.

    FILE is uploaded in WordPress under Plugins > Add new > Upload.
    """
    # It comes with all that speaks to a store over HTTP, which no other command begins with.
    from crm_plugin.adapters.storefronts.woocommerce.packing import pack

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pack())
    say([f"Written: {file}"])
