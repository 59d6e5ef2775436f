#!/usr/bin/env python3
"""A plain HTTP server for the repositories of generate.py, in a process of its own so that its CPU is nobody else's.

    serve.py DIR [--log FILE]

prints the port and serves until its standard input ends, so that it cannot outlive whoever started it. FILE gets the
path of each request, one a line.
"""

import argparse
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    # Connections stay open, as with any web server that is used in earnest.
    protocol_version = "HTTP/1.1"
    # Header and body are two writes: with Nagle's algorithm the second waits 40 ms for an acknowledgement.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        # As it was asked for: `%2F` in a role's name is no slash, and generate.py writes such a file under that name.
        path = self.path.split("?")[0]
        if self.server.log:
            self.server.log.write(path + "\n")
            self.server.log.flush()
        file = self.server.root / path.lstrip("/")
        body = None
        if ".." not in path.split("/") and file.is_file():
            body = file.read_bytes()
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # Three clients at once; the default of five is soon full.
    request_queue_size = 64


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dir", type=Path)
    parser.add_argument("--log", type=Path)
    arguments = parser.parse_args()
    server = Server(("127.0.0.1", 0), Handler)
    server.root = arguments.dir
    server.log = arguments.log.open("a") if arguments.log else None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
