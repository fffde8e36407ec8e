"""An HTTP hook for tests: writes every call down as NDJSON, and fails when it is told to.

Prints "ready: http://127.0.0.1:PORT" first. A line of --out is
{"method", "path", "headers", "body" | "body_base64", "status"}. A call of /echo that is answered with
200 gets {"said": its body}; one of /auth gets what {"answer": …} of the control has set. What it answers is set by the flags,
and while it runs by POST /_control with any of {"status", "delay", "fail_next", "answer"}:

  status     answer all calls with it (200)
  delay      seconds before each answer (0)
  fail_next  so many calls get 503, then `status` again (0)

GET /_calls gives what was written down so far.
"""

import argparse
import base64
import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer


class Behaviour:
    """What to answer; set by the test, read by every call."""

    def __init__(self, options):
        self.lock = threading.Lock()
        self.status = options.status
        self.delay = options.delay
        self.fail_next = options.fail_next
        self.answer = {}
        self.out = open(options.out, "a", encoding="utf-8") if options.out else None
        self.calls = []
        # Set at the end, so that a call that is being delayed does not hold the process.
        self.closing = threading.Event()

    def set(self, wanted):
        with self.lock:
            for name in ("status", "delay", "fail_next", "answer"):
                setattr(self, name, wanted.get(name, getattr(self, name)))

    def next_answer(self):
        with self.lock:
            if self.fail_next > 0:
                self.fail_next -= 1
                return 503, self.delay
            return self.status, self.delay

    def write_down(self, call):
        line = json.dumps(call, ensure_ascii=False)
        with self.lock:
            self.calls.append(line)
            if self.out:
                self.out.write(line + "\n")
                self.out.flush()


class Call(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def serve(self):
        behaviour = self.server.behaviour
        body = self.body()
        if self.path == "/_control":
            behaviour.set(json.loads(body or b"{}"))
            return self.answer(204)
        if self.path == "/_calls":
            with behaviour.lock:
                lines = "".join(line + "\n" for line in behaviour.calls)
            return self.answer(200, lines.encode())
        status, delay = behaviour.next_answer()
        call = {"method": self.command, "path": self.path, "headers": dict(self.headers.items())}
        try:
            call["body"] = json.loads(body)
        except ValueError:
            call["body_base64"] = base64.b64encode(body).decode("ascii")
        call["status"] = status
        behaviour.write_down(call)
        if delay:
            behaviour.closing.wait(delay)
        said = {"said": call.get("body")} if self.path == "/echo" else {}
        if self.path == "/auth":
            said = behaviour.answer
        return self.answer(status, json.dumps(said).encode() if status == 200 else b"")

    do_GET = do_POST = do_PUT = serve

    def log_message(self, *_):
        """Silent: the calls are written down."""


class HookServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A caller that hangs up early is part of the tests."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--out", help="file of the calls, NDJSON")
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--delay", type=float, default=0)
    parser.add_argument("--fail-next", type=int, default=0)
    options = parser.parse_args()
    server = HookServer(("127.0.0.1", options.port), Call)
    server.behaviour = Behaviour(options)

    def stop(*_):
        server.behaviour.closing.set()
        # From a thread: shutdown() waits for the loop that this signal has interrupted.
        threading.Thread(target=server.shutdown).start()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)
    print(f"ready: http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
