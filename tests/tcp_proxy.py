"""A TCP proxy that misbehaves on demand: it cuts connections, refuses new ones, swallows answers or lets them wait.

Before an S3 service it can also play one that is full.
"""

import select
import socket
import threading
import time

FULL = b"""<?xml version="1.0" encoding="UTF-8"?><Error><Code>QuotaExceeded</Code></Error>"""


class TcpProxy:
    """Forwards loopback connections to `target`; use as a context manager."""

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs = set()
        self._threads = []
        self.refusing = False
        self.swallowing = False
        """Whether bytes from the target are thrown away."""
        self.answers_to_lose = 0
        """How many answers are thrown away together with their connections."""
        self.when_lost = lambda: None
        """What happens between an answer that is lost and the end of its connection."""
        self.answers_to_break = 0
        """How many answers break off after their first kilobyte."""
        self.delay_s = 0.0
        """Seconds that every piece of an answer waits."""
        self.full = False
        """Whether every PUT is answered as RadosGW does when a quota is used up."""
        self.puts_refused = 0
        self._closed = False

    def __enter__(self):
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        self._threads.append(thread)
        return self

    def __exit__(self, *_):
        self._closed = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self.cut()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def cut(self):
        """Break every connection."""
        with self._lock:
            for pair in self._pairs:
                for end in pair:
                    _shut(end)

    def _accept(self):
        while not self._closed:
            client, _ = self._listener.accept()
            if self._closed or self.refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(self._target)
            except OSError:  # who refuses us is refused by us
                client.close()
                continue
            with self._lock:
                self._pairs.add((client, server))
            thread = threading.Thread(target=self._forward, args=(client, server), daemon=True)
            thread.start()
            self._threads = [*(thread for thread in self._threads if thread.is_alive()), thread]

    def _ask(self, client, server, data):
        """Pass on a piece of a question; False ends the connection."""
        if self.full and data.startswith(b"PUT "):
            self.puts_refused += 1
            client.sendall(_http(b"403 Forbidden", FULL))
            return False
        server.sendall(data)
        return True

    def _answer(self, client, data):
        """Pass on a piece of an answer; False ends the connection."""
        if self.answers_to_lose > 0:
            self.answers_to_lose -= 1
            self.when_lost()
            return False
        if self.answers_to_break > 0:
            self.answers_to_break -= 1
            client.sendall(data[:1024])
            return False
        if not self.swallowing:
            time.sleep(self.delay_s)
            client.sendall(data)
        return True

    def _forward(self, client, server):
        try:
            while True:
                readable, _, _ = select.select([client, server], [], [])
                for end in readable:
                    data = end.recv(65536)
                    passed = data and (self._ask(client, server, data) if end is client else self._answer(client, data))
                    if not passed:
                        return
        except OSError:
            return
        finally:
            with self._lock:
                self._pairs.discard((client, server))
                for end in (client, server):
                    _shut(end)
                    end.close()


def _http(status, body):
    head = f"Content-Type: application/xml\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return b"HTTP/1.1 " + status + b"\r\n" + head.encode() + body


def _shut(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
