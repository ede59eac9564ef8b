"""Debian packages without being root, and without a change to the system."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cxr_edge.errors import CxrEdgeError

#: The Debian release that the packages come from, whatever runs here.
RELEASE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class SetupError(CxrEdgeError):
    """Something that is needed is not on this machine, or could not be fetched."""


def output_of(command: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Standard output of a command. Raises SetupError with its first error, or else its last line."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        words = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        last = words[-1] if words else f"exit status {done.returncode}"
        # As apt-get and pip mark theirs.
        cause = next((line for line in words if line.startswith(("E:", "ERROR:"))), last)
        raise SetupError(f"{' '.join(command[:4])} ... failed: {cause}")
    return done.stdout


def debian_mirror(repositories: str) -> str | None:
    """The first Debian mirror among repositories' addresses, one line each."""
    return next((line for line in repositories.splitlines() if line.rstrip("/").endswith("/debian")), None)


class Apt:
    """apt-get with sources, lists and state of its own, for amd64 and arm64.

    Args:
        folder: where they are kept.
        mirror: address of a Debian mirror; None for the one this system uses.

    Raises:
        SetupError: no mirror is known, or Debian's keys are not here.
    """

    def __init__(self, folder: Path, mirror: str | None = None) -> None:
        folder = folder.resolve()
        if mirror is None:
            targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"]
            mirror = debian_mirror(output_of(targets))
        if mirror is None:
            raise SetupError("apt's sources here name no Debian mirror; name one with --mirror")
        if not KEYRING.is_file():
            raise SetupError(f"{KEYRING} is missing; the package debian-archive-keyring brings it")
        self._archives = folder / "cache" / "archives"
        for needed in (self._archives / "partial", folder / "state" / "lists" / "partial", folder / "sources"):
            needed.mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        (folder / "sources" / "debian.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {RELEASE} main\n")
        self._environment = {**os.environ, "APT_CONFIG": str(_configuration(folder))}
        self._get("update", "--error-on=any")

    def fetch(self, *packages: str) -> list[Path]:
        """The .deb files of packages, by themselves."""
        for package in packages:
            self._get("download", package)
        return [file for package in packages for file in self._archives.glob(f"{package.partition(':')[0]}_*.deb")]

    def fetch_with_dependencies(self, *packages: str) -> list[Path]:
        """The .deb files of arm64 packages and of all they depend on."""
        qualified_names = [f"{package}:arm64" for package in packages]
        self._get("install", "--yes", "--download-only", "--no-install-recommends", *qualified_names)
        return [file for file in self._archives.glob("*.deb") if file.stem.endswith(("_arm64", "_all"))]

    def _get(self, *arguments: str) -> None:
        output_of(["apt-get", "--quiet", *arguments], self._archives, self._environment)


def _configuration(folder: Path) -> Path:
    """A configuration of apt's: the system's, which may name a proxy, but with places of its own and no hooks."""
    parts = folder / "conf"
    parts.mkdir(exist_ok=True)
    for file in Path("/etc/apt/apt.conf.d").glob("*"):
        if not (parts / file.name).is_symlink():
            (parts / file.name).symlink_to(file)
    hooks = ("APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success", "DPkg::Post-Invoke")
    places = {
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": folder / "sources",
    }
    lines = [f"#clear {name};" for name in (*hooks, "APT::Architectures")]
    lines += [f'{name} "{place}";' for name, place in places.items()]
    lines += ['APT::Architectures { "amd64"; "arm64"; };', 'APT::Sandbox::User "root";', 'Acquire::Languages "none";']
    (parts / "zz-own").write_text("\n".join(lines) + "\n")
    (folder / "apt.conf").write_text(f'Dir::Etc::parts "{parts}";\n')
    return folder / "apt.conf"


def unpack(files: list[Path], folder: Path) -> None:
    """Unpack .deb files into a root folder. Their scripts are not run."""
    for name in ("bin", "lib", "sbin"):
        # In Debian's own base-files; programs look for the dynamic loader in /lib.
        (folder / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"usr/{name}")
    for file in files:
        output_of(["dpkg-deb", "--extract", str(file), str(folder)])
