"""Asks the network's resolver for addresses, and says what it was told.

demo-names.py ask NAME...                      exits 1 if there is no such name
demo-names.py count NAME SECONDS               asks every other millisecond; exits 1 if any question was not answered
"""

import select
import socket
import struct
import sys
import time

CODES = {0: "no address of this kind", 2: "no answer from outside", 3: "there is no such name (NXDOMAIN)",
         5: "refused (REFUSED)"}


def resolver():
    with open("/etc/resolv.conf", encoding="ascii") as file:
        server = next(line.split()[1] for line in file if line.startswith("nameserver"))
    sock = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((server, 53))
    return sock


def question(number, name):
    """A question for the IPv4 addresses of a name (RFC 1035 section 4.1)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def addresses(reply, asked):
    """Those of an answer whose records all belong to the name in the question, as the fabric's do."""
    found, at = [], len(asked)
    for _ in range(struct.unpack_from(">H", reply, 6)[0]):
        kind, _, _, length = struct.unpack_from(">HHIH", reply, at + 2)
        if kind == 1:
            found.append(socket.inet_ntoa(reply[at + 12:at + 16]))
        at += 12 + length
    return found


def ask(names):
    sock = resolver()
    sock.settimeout(5)
    missing = 0
    for number, name in enumerate(names):
        asked = question(number, name)
        sock.send(asked)
        reply = sock.recv(4096)
        found = addresses(reply, asked)
        code = reply[3] & 15
        print(f"{name}: {' '.join(found) or CODES.get(code, f'code {code}')}")
        missing += not found
    return 1 if missing else 0


def count(name, seconds):
    sock = resolver()
    sock.setblocking(False)
    start = time.monotonic()
    sent, waiting, wrong, slowest = 0, {}, 0, 0.0

    def collect(until):
        """Takes answers until the time has come, and those that are there then."""
        nonlocal wrong, slowest
        while select.select([sock], [], [], max(0, until - time.monotonic()))[0]:
            reply = sock.recv(4096)
            asked = waiting.pop(struct.unpack_from(">H", reply)[0], None)
            if asked is None or not addresses(reply, question(0, name)):
                wrong += 1
            else:
                slowest = max(slowest, time.monotonic() - asked)

    while time.monotonic() - start < seconds:
        waiting[sent] = time.monotonic()
        sock.send(question(sent, name))
        sent += 1
        collect(start + sent * 0.002)
    deadline = time.monotonic() + 5
    while waiting and time.monotonic() < deadline:
        collect(min(deadline, time.monotonic() + 0.05))
    print(f"{sent} questions asked, {sent - len(waiting) - wrong} answered, {len(waiting) + wrong} lost, "
          f"longest wait {slowest * 1000:.0f} ms")
    return 0 if not waiting and not wrong else 1


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        sys.exit(ask(sys.argv[2:]))
    sys.exit(count(sys.argv[2], float(sys.argv[3])))
