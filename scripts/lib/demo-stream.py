"""A stream that counts: numbered datagrams to an echo, and how many came back.

demo-stream.py echo PORT                       answers every datagram
demo-stream.py send ADDRESS PORT SECONDS       sends one each millisecond; exits 1 if any was lost
"""

import select
import socket
import sys
import time


def echo(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", port))
        while True:
            data, sender = sock.recvfrom(64)
            sock.sendto(data, sender)


def send(address, port, seconds):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((address, port))
    sock.setblocking(False)
    start = time.monotonic()
    sent, seen, longest, last = 0, set(), 0.0, start

    def collect(until):
        """Takes answers until the time has come, and those that are there then."""
        nonlocal longest, last
        while select.select([sock], [], [], max(0, until - time.monotonic()))[0]:
            seen.add(int.from_bytes(sock.recv(64), "big"))
            now = time.monotonic()
            longest, last = max(longest, now - last), now

    while time.monotonic() - start < seconds:
        sock.send(sent.to_bytes(8, "big"))
        sent += 1
        collect(start + sent * 0.001)
    deadline = time.monotonic() + 1
    while len(seen) < sent and time.monotonic() < deadline:
        collect(min(deadline, time.monotonic() + 0.05))
    print(f"{sent} datagrams sent, {len(seen)} answered, {sent - len(seen)} lost, "
          f"longest gap {longest * 1000:.0f} ms")
    return 0 if len(seen) == sent else 1


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        echo(int(sys.argv[2]))
    else:
        sys.exit(send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
