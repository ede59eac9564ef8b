"""The built-in server of the page: serves the files of one folder, to this machine only."""

from __future__ import annotations

import re
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cxr_edge.errors import OptionError

_HOST = "127.0.0.1"
#: Threads in WebAssembly require isolation from other origins.
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
        folder: the folder to serve.
        port: 0 for any free port.

    Raises:
        OptionError: the port is in use.
    """

    def __init__(self, folder: Path, port: int) -> None:
        # A worker is bound by its own response headers, not by the page's policy.
        policy = _POLICY.search((folder / "index.html").read_text(encoding="utf-8"))
        headers = _HEADERS | ({"Content-Security-Policy": policy[1]} if policy else {})

        class Handler(SimpleHTTPRequestHandler):
            extensions_map = {  # noqa: RUF012
                **SimpleHTTPRequestHandler.extensions_map,
                # The system's types for these differ between machines, and browsers are strict.
                **{".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"},
            }

            def __init__(self, *arguments: object) -> None:
                super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

            def end_headers(self) -> None:
                for name, value in headers.items():
                    self.send_header(name, value)
                super().end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                """Log nothing: which X-rays somebody views is private."""

        try:
            self._server = ThreadingHTTPServer((_HOST, port), Handler)
        except OSError as error:
            raise OptionError(f"--port {port}: {error.strerror}; name another, or 0 for any that is free") from None
        self.url = f"http://{_HOST}:{self._server.server_port}/"

    def serve(self) -> None:
        """Serve until `close` is called, or the process is interrupted."""
        self._server.serve_forever()

    def close(self) -> None:
        """End `serve`, and free the port."""
        self._server.shutdown()
        self._server.server_close()
