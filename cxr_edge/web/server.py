"""The built-in server of the page: files of one folder, to this machine alone."""

from __future__ import annotations

import re
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cxr_edge.errors import OptionError

_HOST = "127.0.0.1"
#: Isolation from other origins is what threads in WebAssembly need.
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}
_POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]+)"')


class PageServer:
    """Serves a folder of `write_page` at `url`.

    Args:
        folder: to be served.
        port: 0 for any that is free.

    Raises:
        OptionError: something else has the port.
    """

    def __init__(self, folder: Path, port: int) -> None:
        # A worker is held by the headers that it comes with, and not by the policy in the page.
        policy = _POLICY.search((folder / "index.html").read_text(encoding="utf-8"))
        headers = _HEADERS | ({"Content-Security-Policy": policy[1]} if policy else {})

        class Handler(SimpleHTTPRequestHandler):
            extensions_map = {  # noqa: RUF012
                **SimpleHTTPRequestHandler.extensions_map,
                # What the system says of these differs from machine to machine, and browsers insist.
                **{".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"},
            }

            def __init__(self, *arguments: object) -> None:
                super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

            def end_headers(self) -> None:
                for name, value in headers.items():
                    self.send_header(name, value)
                super().end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                """Nothing: which X-rays somebody looks at is nobody's business."""

        try:
            self._server = ThreadingHTTPServer((_HOST, port), Handler)
        except OSError as error:
            raise OptionError(f"--port {port}: {error.strerror}; name another, or 0 for any that is free") from None
        self.url = f"http://{_HOST}:{self._server.server_port}/"

    def serve(self) -> None:
        """Until `close` is called, or the process is interrupted."""
        self._server.serve_forever()

    def close(self) -> None:
        """End `serve`, and free the port."""
        self._server.shutdown()
        self._server.server_close()
