"""A Ceph cluster of one monitor, one disk in memory and one object gateway: a production S3 server, in a second."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
KEY, SECRET = "test", "testsecret"
_START_S = 60
_END_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
"""A test session that is killed stops nothing itself."""


def missing_programs() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program) is None]


class Ceph:
    """A cluster whose files are under `folder`; `stop` ends the processes that `start` started.

    The gateway holds no state: killed and started again, it serves the same objects.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._monitor_port, self.port = _free_ports(2)
        self._running: list[subprocess.Popen[bytes]] = []
        self._gateway: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        cluster, disk = str(uuid.uuid4()), str(uuid.uuid4())
        for name in ("mon", "osd", "log"):
            (self._folder / name).mkdir(parents=True)
        (self._folder / "ceph.conf").write_text(self._config(cluster))
        address = f"[v2:127.0.0.1:{self._monitor_port}/0]"
        monitor_map = str(self._folder / "monmap")
        self._run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", address, monitor_map)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monitor_map)
        self._spawn("ceph-mon", "-f", "-i", "a")
        self._run("ceph", "osd", "new", disk)  # waits for the monitor
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._spawn("ceph-osd", "-f", "-i", "0")
        self._run(
            "radosgw-admin", "user", "create", "--uid=test", "--display-name=test",
            f"--access-key={KEY}", f"--secret-key={SECRET}",
        )  # fmt: skip
        self.start_gateway()

    def start_gateway(self) -> None:
        self._gateway = self._spawn("radosgw", "-f", "-n", "client.rgw")
        give_up_at = time.monotonic() + _START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self._gateway.poll() is not None or time.monotonic() > give_up_at:
                    raise RuntimeError(f"the gateway did not start; see {self._folder}/log") from None
                time.sleep(0.02)

    def kill_gateway(self) -> None:
        assert self._gateway is not None
        self._gateway.kill()
        self._gateway.wait()
        self._running.remove(self._gateway)

    def stop(self) -> None:
        for process in reversed(self._running):
            process.kill()
        for process in self._running:
            process.wait()
        self._running.clear()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CEPH_CONF": str(self._folder / "ceph.conf")}

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_S,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr.decode(errors='replace')[-2000:]}")

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log" / f"{command[0]}.out").open("ab") as output:
            process = subprocess.Popen(
                (*_END_WITH_PARENT, *command),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._running.append(process)
        return process

    def _config(self, cluster: str) -> str:
        folder = self._folder
        settings: dict[str, object] = {
            "fsid": cluster,
            "mon host": f"[v2:127.0.0.1:{self._monitor_port}/0]",
            "public addr": "127.0.0.1",
            "cluster addr": "127.0.0.1",
            "ms bind ipv6": "false",
            # no keys between the parts: they listen on the loopback only
            "auth cluster required": "none",
            "auth service required": "none",
            "auth client required": "none",
            "ms mon client mode": "crc",
            # a start in a second
            "paxos propose interval": 0.01,
            "paxos min wait": 0.01,
            # one disk, in memory, holds everything once
            "osd objectstore": "memstore",
            "memstore device bytes": 2 << 30,
            "osd crush chooseleaf type": 0,
            "osd pool default size": 1,
            "osd pool default min size": 1,
            "osd pool default pg num": 1,
            "osd pool default pgp num": 1,
            "osd pool default pg autoscale mode": "off",
            "mon allow pool size one": "true",
            "mon max pg per osd": 1000,
            "mon data avail warn": 1,
            "mon data avail crit": 1,
            # few threads
            "osd op num shards": 1,
            "osd op num threads per shard": 2,
            "ms async op threads": 1,
            "rgw thread pool size": 16,
            # where things are
            "mon data": folder / "mon",
            "osd data": folder / "osd",
            "rgw data": folder / "rgw",
            "run dir": folder,
            "crash dir": folder / "log",
            "admin socket": folder / "$name.asok",
            "log file": folder / "log" / "$name.log",
            "mon cluster log file": folder / "log" / "cluster.log",
            "log to stderr": "false",
            # the gateway
            "rgw frontends": f"beast endpoint=127.0.0.1:{self.port} tcp_nodelay=1",
            "rgw enable apis": "s3, admin",
            "rgw enable usage log": "false",
            "rgw enable ops log": "false",
            "rgw enable quota threads": "false",
            "rgw run sync thread": "false",
            "rgw gc max objs": 1,
            "rgw override bucket index max shards": 1,
        }  # fmt: skip
        return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports
