"""A file system as containers and units have it: a root that cannot be written, and what is mounted in it.

Needs to be root, in a mount namespace of its own.
"""

import os
import subprocess
from pathlib import Path


def mount(*words: object) -> None:
    subprocess.run(["mount", *[str(word) for word in words]], check=True)


class Place:
    """One root: the machine's programs and libraries, the program that is tested, and what is put there before it is sealed."""

    def __init__(self, work: Path, binary: str, user: int) -> None:
        self.root, self.user = work / f"root-{len(list(work.iterdir()))}", user
        self.root.mkdir()
        mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", self.root)
        self.bind("/usr", Path("/usr"))
        for name in ("bin", "lib", "lib64"):
            self.path(f"/{name}").symlink_to(f"usr/{name}")
        programs = self.path("/.programs")
        programs.mkdir()
        (programs / "keyledger").touch()
        mount("--bind", binary, programs / "keyledger")
        mount("--rbind", programs, self.path("/usr/local/bin"))
        self.file("/etc/hosts", b"127.0.0.1 localhost keys.example.com\n", 0o644)

    def path(self, inside: str) -> Path:
        """Where a path of the inside is."""
        return self.root / inside.lstrip("/")

    def bind(self, inside: str, source: Path) -> None:
        """Mounts a directory of the machine, in the place of what was mounted there."""
        target = self.path(inside)
        if target.is_mount():
            subprocess.run(["umount", target], check=True)
        target.mkdir(parents=True, exist_ok=True)
        mount("--bind", source, target)

    def temporary(self, inside: str) -> None:
        """Mounts an empty directory that everybody may write."""
        self.path(inside).mkdir(parents=True)
        mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", self.path(inside))

    def file(self, inside: str, data: bytes, mode: int) -> None:
        """Puts a file of root's there, which the user's group may read if the mode says so."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.chown(path, 0, self.user)
        path.chmod(mode)

    def projected(self, inside: str, files: dict[str, bytes], mode: int) -> None:
        """Mounts files as the kubelet does: links to a directory that is replaced whole."""
        for name, data in files.items():
            self.file(f"{inside}/..2026_11_29/{name}", data, mode)
            self.path(f"{inside}/{name}").symlink_to(f"..data/{name}")
        self.path(f"{inside}/..data").symlink_to("..2026_11_29")

    def project_anew(self, inside: str, files: dict[str, bytes], mode: int) -> None:
        """Replaces what was projected there, as the kubelet does when a Secret has changed."""
        mount("-o", "remount,rw", self.root)
        for name, data in files.items():
            self.file(f"{inside}/..2026_11_30/{name}", data, mode)
            if not self.path(f"{inside}/{name}").is_symlink():
                self.path(f"{inside}/{name}").symlink_to(f"..data/{name}")
        self.path(f"{inside}/..data_tmp").symlink_to("..2026_11_30")
        self.path(f"{inside}/..data_tmp").rename(self.path(f"{inside}/..data"))
        self.seal()

    def seal(self) -> None:
        """Nothing can be written from here on but what is mounted to be."""
        mount("-o", "remount,ro", self.root)

    def command(self, *words: str) -> list[str]:
        """A command inside, as the user, who has no privilege and can get none."""
        return [
            "/usr/sbin/chroot", str(self.root), "/usr/bin/setpriv", f"--reuid={self.user}", f"--regid={self.user}",
            "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", *words,
        ]
