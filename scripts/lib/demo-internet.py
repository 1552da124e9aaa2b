"""The Internet of the story: an authority for example.com, and a web server at two addresses, which visits the host's
port N when it is asked for /visit/N.

demo-internet.py       in a network namespace that has the addresses below
"""

import http.client
import http.server
import socket
import struct
import threading

AUTHORITY = "192.0.2.2"
HOST = "192.0.2.1"
HOSTS = {"api.example.com": "203.0.113.7", "www.example.com": "198.51.100.9"}


def visit(port):
    """What a port of the host's answers to somebody outside."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2, source_address=(AUTHORITY, 0))
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    except OSError as error:
        return f"no answer: {error}\n".encode()
    finally:
        connection.close()


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        words = self.path.split("/")
        if words[1] == "visit" and words[-1].isdigit():
            body = visit(int(words[-1]))
        else:
            body = f"Hello from {self.headers.get('Host', 'nowhere')}.\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def answer(query):
    """The answer to a query (RFC 1035 section 4): addresses of the hosts, and that there is nothing else."""
    end, labels = 12, []
    while query[end]:
        labels.append(query[end + 1:end + 1 + query[end]].decode("ascii", "replace").lower())
        end += 1 + query[end]
    kind, = struct.unpack_from(">H", query, end + 1)
    address = HOSTS.get(".".join(labels))
    record = b""
    if address and kind == 1:
        # The owner is the name in the question; type A, class IN, a minute.
        record = struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(address)
    flags = 0x8580 if address else 0x8583
    return query[:2] + struct.pack(">HHHHH", flags, 1, len(record) // 16, 0, 0) + query[12:end + 5] + record


def main():
    for address in HOSTS.values():
        server = http.server.ThreadingHTTPServer((address, 80), Site)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((AUTHORITY, 53))
        while True:
            query, sender = sock.recvfrom(4096)
            try:
                sock.sendto(answer(query), sender)
            except (IndexError, struct.error):
                continue


if __name__ == "__main__":
    main()
