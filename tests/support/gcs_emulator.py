"""Run as a script: an emulator of Google Cloud Storage, whose uploads honour ``ifGenerationMatch``.

It serves one request at a time, so that looking and storing are one step. Prints its port, and ends with its standard
input: a test session that is killed stops nothing itself.
"""

from __future__ import annotations

import json
import sys
import threading
from functools import partial
from http.server import HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.server import RequestHandler, Router
from gcp_storage_emulator.storage import Storage


class ConditionNotMet(Exception):  # noqa: N818 - the service's own word for it
    pass


class ConditionalStorage(Storage):
    """Stores only where the object has the generation that the request asks for; 0 stands for no object."""

    wanted_generation: str | None = None

    def create_file(self, bucket_name: str, file_name: str, *rest: Any, **named: Any) -> Any:
        if self.wanted_generation is not None:
            try:
                generation = str(self.get_file_obj(bucket_name, file_name)["generation"])
            except NotFound:
                generation = "0"
            if generation != self.wanted_generation:
                raise ConditionNotMet
        return super().create_file(bucket_name, file_name, *rest, **named)

    def _write_config_to_file(self) -> None:
        """Nothing is kept for another run."""


def handle(self: Router, method: str, handle_request: Any = Router.handle) -> None:
    handler = self._request_handler
    query = parse_qs(urlparse(handler.path).query)
    if method == "DELETE" and "upload_id" in query:
        return _answer(handler, 499, {})  # what the service says of an upload that is given up
    handler.storage.wanted_generation = query.get("ifGenerationMatch", [None])[0]
    try:
        return handle_request(self, method)
    except ConditionNotMet:
        message = "At least one of the pre-conditions you specified did not hold."
        reasons = [{"reason": "conditionNotMet", "domain": "global"}]
        return _answer(handler, 412, {"error": {"code": 412, "message": message, "errors": reasons}})


def _answer(handler: RequestHandler, status: int, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


class PatientServer(HTTPServer):
    request_queue_size = 128  # a full queue makes clients wait a second


if __name__ == "__main__":
    Router.handle = handle  # type: ignore[method-assign]
    server = PatientServer(("127.0.0.1", 0), partial(RequestHandler, ConditionalStorage(use_memory_fs=True)))
    print(server.server_port, flush=True)
    sys.stdout.close()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
