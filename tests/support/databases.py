"""Real database servers, each in a folder of its own and reached through a socket there: no port is taken."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["MissingServerError", "started_mariadb", "started_postgresql"]

_START_S = 60


class MissingServerError(Exception):
    """The server's programs are not installed."""


@contextmanager
def started_postgresql() -> Iterator[str]:
    """The address of an empty database on a PostgreSQL server, for SQLAlchemy; ``{name}`` is the database's."""
    initdb, postgres = _program("initdb"), _program("postgres")
    with _folder("pg") as folder:
        data = folder / "data"
        _run(folder, initdb, "-D", str(data), "-U", "tester", "--auth=trust", "-E", "UTF8", "--no-sync", "--locale=C")
        # The server's zone is not UTC, as on many machines.
        settings = ("-c", "listen_addresses=", "-c", "fsync=off", "-c", "timezone=America/Chicago")
        state = data / "postmaster.pid"
        command = (postgres, "-D", str(data), "-k", str(folder), *settings)
        with _serving(folder, lambda: state.exists() and "ready" in state.read_text().split(), *command):
            yield f"postgresql+psycopg://tester@/{{name}}?host={folder}"


@contextmanager
def started_mariadb() -> Iterator[str]:
    """The address of an empty database on a MariaDB server, as above.

    Its texts take one byte a character unless a database says otherwise: the keys of mlos_bench's schema are too long
    for it then.
    """
    install, server = _program("mariadb-install-db"), _program("mariadbd")
    with _folder("my") as folder:
        data, socket = folder / "data", folder / "socket"
        run = ["--no-defaults", f"--datadir={data}"]
        _run(folder, install, *run, "--auth-root-authentication-method=normal", "--skip-test-db")
        options = [f"--socket={socket}", "--skip-networking", "--character-set-server=latin1"]
        options += ["--innodb-flush-log-at-trx-commit=0", f"--pid-file={folder / 'pid'}"]
        with _serving(folder, socket.is_socket, server, *run, *options):
            yield f"mysql+pymysql://root@localhost/{{name}}?unix_socket={socket}"


def _program(name: str) -> str:
    places = [os.environ.get("PATH", ""), "/usr/sbin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise MissingServerError(f"{name} is not installed: bash .ci/servers.sh")
    return str(Path(found).resolve())


@contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    """A folder with a short path, since that of a socket is limited; it is the server's user's."""
    folder = Path(tempfile.mkdtemp(prefix=f"trialstore-{prefix}-"))
    try:
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(folder, user.pw_uid, user.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _command(command: Sequence[str]) -> list[str]:
    """The command as a user that is not root, which these servers refuse, ended with its parent."""
    if shutil.which("setpriv") is None:
        return list(command)
    group = str(pwd.getpwnam("nobody").pw_gid)
    as_user = ["--reuid=nobody", f"--regid={group}", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *as_user, "--pdeathsig", "KILL", *command]


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(
        _command(command), cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_START_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{(done.stdout + done.stderr).decode(errors='replace')[-2000:]}")


@contextmanager
def _serving(folder: Path, is_ready: Callable[[], bool], *command: str) -> Iterator[None]:
    log = folder.with_name(folder.name + ".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(command), cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        give_up_at = time.monotonic() + _START_S
        while not is_ready():
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()
        log.unlink()
