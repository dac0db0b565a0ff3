"""Commands about what a platform is told of the app: manifest build, manifest diff."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crm_plugin.adapters.registry import installer_names
from crm_plugin.cli.common import answer, as_json_option, main, opened, say
from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.jobs.installing import installer_of

if TYPE_CHECKING:
    from crm_plugin.manifest import Manifest


@main.group()
def manifest() -> None:
    """What a platform is told of the app.

    Made from plugin.yaml, with the app's own settings (CRM_<PLATFORM>_…) and CRM_PUBLIC_URL in their places.
    """


@manifest.command("build")
@click.option("--platform", type=click.Choice(installer_names()), required=True, help="For which platform.")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write into; else it is printed.",
)
@as_json_option
def build(platform: str, folder: Path | None, as_json: bool) -> None:
    """Make the platform's own files.

    Such as shopify.app.toml, or Saleor's manifest.json.
    """
    # What checks the file is large, and every other command does without it.
    from crm_plugin.manifest import facts_of, load_manifest

    with opened() as runtime:
        installer = installer_of(runtime, platform)
        files = installer.manifest_files(facts_of(load_manifest(), platform, runtime.config.public_url))
    if not files:
        raise NotFound(f"{platform} wants to be told nothing: the merchant agrees in the store.")
    if folder is not None:
        for name, text in files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
    if as_json:
        answer(files if folder is None else {"files": [str(folder / name) for name in files]}, True)
    elif folder is None:
        say(text for name, text in files.items() for text in (f"# {name}", text))
    else:
        say(f"Written: {folder / name}" for name in files)


@manifest.command("diff")
@click.argument("before", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("after", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@as_json_option
def diff(before: Path, after: Path | None, as_json: bool) -> None:
    """Which changes ask merchants to agree again.

    BEFORE is the older file; AFTER is the one that came with this version, unless named.
    """
    from crm_plugin.manifest import load_manifest, read_manifest

    old = read_manifest(_text(before))
    new = load_manifest() if after is None else read_manifest(_text(after))
    found = [change for platform in sorted({*old.scopes, *new.scopes}) for change in _changes(platform, old, new)]
    if as_json:
        answer(found, True)
    elif found:
        answer(found, False)
        if any(one["asks again"] for one in found):
            say(["Merchants are asked to agree again, by the platform or when they open the app."])
    else:
        say(["No platform is asked for anything else than before."])


def _changes(platform: str, old: Manifest, new: Manifest) -> list[dict[str, Any]]:
    was = {one.scope: one.required for one in old.scopes.get(platform, [])}
    now = {one.scope: one.required for one in new.scopes.get(platform, [])}
    found = []
    for scope in sorted({*was, *now}):
        if scope not in was:
            change, again = "asked for" if now[scope] else "may be asked for", now[scope]
        elif scope not in now:
            change, again = "no longer asked for", False
        elif was[scope] != now[scope]:
            change, again = "needed now" if now[scope] else "no longer needed", now[scope]
        else:
            continue
        found.append({"platform": platform, "right": scope, "change": change, "asks again": again})
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}.", hint="Name a plugin.yaml.") from error
