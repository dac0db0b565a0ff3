"""Where a real WordPress comes from: the oldest that the companion plugin promises, from npm, and the newest that Debian has.

Neither is ours and neither is kept in the project: both lie in the cache folder.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.live.machine import cache_folder, run, say

_SECONDS = 1800
# GPL-2.0-or-later; WordPress 6.5.5 with its files that browsers load.
_PACKAGE, _SHA512 = (
    "@wp-playground/wordpress-builds@0.9.19",
    "765aaf87f3090e91395baf2f80f3ca523a62a7acccb81879f4bdc3d7c657fa9770bab0b8ab8c9dad3c30ff7b13315ebd0417281fa905f7762d02dba3342e4ca7",
)
_INNER = "package/public/wp-6.5/"
_ZIP = "package/src/wordpress/wp-6.5.zip"
# Debian takes parts of WordPress from packages of their own.
_DEBIAN = (
    "wordpress", "wordpress-theme-twentytwentyfive", "libphp-phpmailer", "php-getid3",
    "libjs-cropper", "libjs-jquery-ui", "libjs-lodash", "libjs-underscore",
)  # fmt: skip


@dataclass(frozen=True)
class Core:
    """A WordPress that is there: its version and the folder to copy."""

    version: str
    folder: Path


def oldest() -> Core:
    """The version that the companion plugin requires at least."""
    folder = cache_folder("wordpress-oldest")
    site = folder / "site"
    if not (site / "wp-load.php").exists():
        say(f"Fetching the oldest WordPress into {folder}, 160 MB ...")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run("npm", "pack", "--silent", _PACKAGE, folder=folder, seconds=_SECONDS)
        (packed,) = folder.glob("*.tgz")
        with packed.open("rb") as file:
            found = hashlib.file_digest(file, "sha512").hexdigest()
        assert found == _SHA512, f"{_PACKAGE} is another file than it was: {found}"
        _unpack(packed, site)
        packed.unlink()
    return Core(_version(site), site)


def newest() -> Core | None:
    """What Debian's unstable release has now; None on another system."""
    folder = cache_folder("wordpress-newest")
    site = folder / "unpacked" / "usr" / "share" / "wordpress"
    if not (site / "wp-load.php").exists():
        if (archive := _debian()) is None:
            return None
        say(f"Fetching the newest WordPress into {folder}, 30 MB ...")
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "sources.list").write_text(f"deb {archive} sid main\n", encoding="utf-8")
        # Lists of its own, so that the machine's packages stay what they are.
        options = {
            "Dir::Etc::SourceList": folder / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            # As root it would else fetch as somebody who may not write here.
            "APT::Sandbox::User": "root",
        }
        apt = ["apt-get", "-qq", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
        run(*apt, "update", folder=folder, seconds=_SECONDS)
        run(*apt, "download", *_DEBIAN, folder=folder, seconds=_SECONDS)
        for package in sorted(folder.glob("*.deb")):
            run("dpkg-deb", "-x", str(package), "unpacked", folder=folder, seconds=_SECONDS)
            package.unlink()
        shutil.rmtree(folder / "lists")
    return Core(_version(site), site)


def _debian() -> str | None:
    """The archive that this machine has its own packages from; None where that is not Debian's, or there is no apt."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return None
    told = run("apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(SITE)", folder=Path.cwd(), seconds=_SECONDS)
    lines = (line.split() for line in told.splitlines())
    return next((words[2] for words in lines if words[:2] == ["Debian", "Debian"] and len(words) == 3), None)


def put(core: Core, site: Path) -> None:
    """A copy of its own, without what came with it to begin with."""
    # Debian's is a link to what is for Apache alone.
    shutil.copytree(core.folder, site, ignore=shutil.ignore_patterns(".htaccess"))
    for name in ("plugins", "database", "mu-plugins"):
        shutil.rmtree(site / "wp-content" / name, ignore_errors=True)
    for name in ("plugins", "mu-plugins", "uploads"):
        (site / "wp-content" / name).mkdir(exist_ok=True)


def _unpack(packed: Path, site: Path) -> None:
    """What browsers load lies open in the package, the rest in an archive within."""
    with tarfile.open(packed) as archive:
        for member in archive:
            if member.name == _ZIP and (inner := archive.extractfile(member)):
                with zipfile.ZipFile(inner) as files:
                    files.extractall(site)
            elif member.isfile() and member.name.startswith(_INNER) and (file := archive.extractfile(member)):
                target = site / member.name.removeprefix(_INNER)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read())


def _version(site: Path) -> str:
    found = re.search(r"\$wp_version = '([^']+)'", (site / "wp-includes" / "version.php").read_text(encoding="utf-8"))
    assert found is not None
    return found[1]
