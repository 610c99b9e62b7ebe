"""Where the configuration of an experiment comes from: the git repository, its commit, and the file in it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import Any

__all__ = ["Repository"]


@dataclass(frozen=True, slots=True)
class Repository:
    """What is known of where a configuration file is.

    Attributes:
        git_repo: URL of the remote ``origin``; the folder as a ``file://`` URL where there is none; empty outside of a
            repository.
        git_commit: The commit that is checked out; empty where there is none.
        path: The file, relative to the repository, or as it was given outside of one.
    """

    git_repo: str
    git_commit: str
    path: str

    @classmethod
    def of(cls, path: str) -> Repository:
        """What can be found out, which may be nothing; a missing remote, commit, repository or git is no error."""
        folder = os.path.dirname(path) or os.curdir
        root = _git(folder, "rev-parse", "--show-toplevel")
        if not root:
            return cls("", "", path)
        inside = os.path.relpath(os.path.realpath(path), os.path.realpath(root)).replace(os.sep, "/")
        repo = _git(folder, "remote", "get-url", "origin") or f"file://{root}"
        return cls(repo, _git(folder, "rev-parse", "--verify", "--quiet", "HEAD"), inside)

    @classmethod
    def from_metadata(cls, metadata: Any) -> Repository:
        """What an experiment was created with."""
        known = {name: str(metadata.get(name) or "") for name in ("git_repo", "git_commit", "root_env_config")}
        return cls(known["git_repo"], known["git_commit"], known["root_env_config"])

    def to_metadata(self) -> dict[str, str]:
        """What an experiment is created with."""
        return {"git_repo": self.git_repo, "git_commit": self.git_commit, "root_env_config": self.path}


def _git(folder: str, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
