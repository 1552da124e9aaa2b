"""Rows on local names: queries a second, and the time that each takes, by our resolver and by those of others.

A server has one processor, and dnsperf another. There dnsperf takes more of its own for a query than the faster servers
do of theirs, and says how fast it is itself. So beside what it sees stands what one processor answers that has always
something to do: dnsperf may run everywhere and goes first, so that up to 100 queries wait whenever the server runs, and
queries are counted for each second that the server's threads ran, the way of their answers to the client's socket
included.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time

from .lab import Failure, run, stop, wait_until

COUNT = 250
ROUNDS = 5
SECONDS = 2
# At most so many queries wait for an answer. More than 256 datagrams that wait at one of our sockets count as a flood.
OUTSTANDING = 100
# What all are offered where the time of a query is measured: less than any of them could answer, but for aardvark-dns.
OFFERED = 20000
# One processor answers, another asks.
SERVER, CLIENT = "0", "1"
UNBOUND = (".build/peers/unbound/usr/sbin/unbound", "/usr/sbin/unbound")
AARDVARK = "/usr/lib/podman/aardvark-dns"

measured = {}


def names():
    """Name and address of every record; ours have the addresses of their endpoints."""
    return [(f"host-{number}", f"10.91.7.{number}") for number in range(1, COUNT + 1)]


class Ours:
    """A network of 250 endpoints, whose names policy lets one more endpoint know."""

    name = "ours"

    def __init__(self, lab):
        self.lab = lab
        lab.fresh(dns=True)
        lab.attach_bench("attach", "--network", "bench", "--label", "bench=yes", "--keep", "--prefix", "host",
                         "--count", COUNT)
        self.asker = lab.start_forge("run", "--network", "bench", "--label", "bench=yes", "--name", "asker", "--",
                                     "sleep", "1000")
        wait_until(lambda: lab.forge("endpoint", "inspect", "asker", check=False).returncode == 0, "asker")
        self.address = gateway(json.loads(lab.forge("network", "inspect", "bench").stdout)[0])
        run(["taskset", "--all-tasks", "--cpu-list", "--pid", SERVER, str(self.pid())])

    def pid(self):
        return self.lab.proxy()

    def run(self, *command, **more):
        return self.lab.forge("exec", "asker", "--", *command, **more)

    def close(self):
        stop(self.asker)
        self.lab.forge("network", "rm", "bench", "--force", timeout=120)
        self.lab.attach_bench("forget")


class Pair:
    """Two namespaces with a link between them: a client, and the servers that are not ours, each at its address."""

    def __init__(self):
        for name in ("names", "asker"):
            run(["ip", "netns", "add", name])
        commands = ["-n names link add eth0 type veth peer name eth0 netns asker",
                    "-n asker addr add 10.93.0.1/24 dev eth0", "-n asker link set eth0 up", "-n names link set lo up"]
        commands += [f"-n names addr add {kind.address}/24 dev eth0" for kind in OTHERS]
        for command in (*commands, "-n names link set eth0 up"):
            run(["ip", *command.split()])

    def close(self):
        for name in ("asker", "names"):
            run(["ip", "netns", "del", name], check=False)


class Other:
    """A server in the pair, on one processor."""

    def __init__(self, lab):
        self.directory = f"{lab.directory}/{self.name}"
        os.makedirs(self.directory, exist_ok=True)
        self.log = open(f"{self.directory}/log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", "names", "taskset", "--cpu-list", SERVER, *self.command()],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)

    def pid(self):
        return self.process.pid

    def write(self, name, lines):
        path = f"{self.directory}/{name}"
        with open(path, "w", encoding="ascii") as file:
            file.write("".join(f"{line}\n" for line in lines))
        return path

    def run(self, *command, **more):
        return run(["ip", "netns", "exec", "asker", *command], **more)

    def close(self):
        stop(self.process)
        self.log.close()


class Dnsmasq(Other):
    name, address = "dnsmasq", "10.93.0.11"

    @staticmethod
    def program():
        return found("/usr/sbin/dnsmasq")

    def command(self):
        path = self.write("dnsmasq.conf", [
            "no-resolv", "no-hosts", "cache-size=10000", "bind-interfaces", f"listen-address={self.address}",
            "user=root", f"pid-file={self.directory}/pid",
            *(f"host-record={name},{address}" for name, address in names())])
        # Without real root it could not give up its groups, which it does as root unless it is debugged.
        mode = "--keep-in-foreground" if os.environ["FORGE_BENCH_ROOT"] else "--no-daemon"
        return [self.program(), mode, "--log-facility=-", f"--conf-file={path}"]


class Unbound(Other):
    name, address = "unbound", "10.93.0.12"

    @staticmethod
    def program():
        return found(*UNBOUND)

    def command(self):
        path = self.write("unbound.conf", [
            "server:", "num-threads: 1", f"interface: {self.address}", "access-control: 0.0.0.0/0 allow",
            'username: ""', 'chroot: ""', f"directory: {self.directory}", f"pidfile: {self.directory}/pid", "use-syslog: no",
            'module-config: "iterator"', *(f'local-data: "{name}. A {address}"' for name, address in names()),
            "remote-control:", "control-enable: no"])
        return [self.program(), "-d", "-c", path]


class Aardvark(Other):
    name, address = "aardvark-dns", "10.93.0.13"

    @staticmethod
    def program():
        return found(AARDVARK)

    def command(self):
        # As netavark writes it: where to listen, and one line for each container; who asks must be one of them.
        containers = [(f"{number:064x}", address, name) for number, (name, address) in enumerate(names())]
        containers.append(("f" * 64, "10.93.0.1", "asker"))
        os.makedirs(f"{self.directory}/networks", exist_ok=True)
        self.write("networks/bench", [
            self.address, *(f"{container} {address}  {name}" for container, address, name in containers)])
        return [self.program(), "--config", f"{self.directory}/networks", "--port", "53", "run"]

    def pid(self):
        """It serves from a child of its own."""
        with open(f"{self.directory}/networks/aardvark.pid", encoding="ascii") as file:
            return int(file.read())

    def close(self):
        try:
            os.kill(self.pid(), signal.SIGTERM)
        except (OSError, ValueError):
            # It has never come up.
            pass
        super().close()


class Mirror(Other):
    """No server: sends questions back unread. What dnsperf sees of it is the most that it can see of anybody."""

    name, address = "questions sent back unread", "10.93.0.14"

    def __init__(self, lab):
        self.lab = lab
        super().__init__(lab)

    @staticmethod
    def program():
        return "lookups"

    def command(self):
        return [self.lab.program("lookups"), "reflect", self.address]


OTHERS = (Dnsmasq, Unbound, Aardvark, Mirror)


def found(*paths):
    return next((os.path.abspath(path) for path in paths if os.access(path, os.X_OK)), None)


def gateway(network):
    return next(address for address in network["gateways"] if ":" not in address).split("/")[0]


def dnsperf(place, queries, *more, apart=True):
    """What dnsperf says, on a processor of its own or wherever it likes, once every query has been answered."""
    result = place.run(*(["taskset", "--cpu-list", CLIENT] if apart else []), "dnsperf", "-s", place.address, "-d",
                       queries, "-q", str(OUTSTANDING), *map(str, more), timeout=120)
    lines = [line for line in result.stdout.splitlines() if line.startswith("  ") and ":" in line]
    said = dict(line.strip().split(":", 1) for line in lines)
    codes = said.get("Response codes", "").split()
    completed = int(said["Queries completed"].split()[0])
    if codes[:1] != ["NOERROR"] or int(codes[1]) != completed or completed == 0:
        raise Failure(f"{place.name}: of {said['Queries sent'].strip()} queries {completed} were answered: {codes}")
    # A datagram may be lost on the way to anybody; more than that would be speed by shedding.
    if int(said["Queries lost"].split()[0]) > completed // 10000:
        raise Failure(f"{place.name}: {said['Queries lost'].strip()} queries were lost")
    return said, result.stdout


def processor_seconds(pid):
    """What the threads of a process have run."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def able(place, queries):
    """Queries for each second that the server's threads have run, while it always has some."""
    before = processor_seconds(place.pid())
    said, _ = dnsperf(place, queries, "-l", SECONDS, apart=False)
    return int(said["Queries completed"].split()[0]) / (processor_seconds(place.pid()) - before)


def seen(place, queries):
    """Queries a second, as dnsperf sees it."""
    return float(dnsperf(place, queries, "-l", SECONDS)[0]["Queries per second"])


def give_way(place):
    """Lets all others go before the server."""
    run(["renice", "-n", "19", "-p", *os.listdir(f"/proc/{place.pid()}/task")])


def p99(place, queries):
    """Milliseconds that 99 of 100 queries took at most."""
    _, text = dnsperf(place, queries, "-l", SECONDS, "-Q", OFFERED, "-v")
    times = sorted(float(line.split()[-1]) for line in text.splitlines() if line.startswith("> NOERROR"))
    if len(times) < OFFERED * SECONDS * 9 // 10:
        raise Failure(f"{place.name}: only {len(times)} queries in {SECONDS} s, not {OFFERED} in one")
    return times[len(times) * 99 // 100] * 1e3


def measure(lab):
    """Medians of all servers, by name, taken in turns; what is not installed is not among them."""
    if measured:
        return measured
    queries = f"{lab.directory}/home/queries"
    with open(queries, "w", encoding="ascii") as file:
        file.write("".join(f"{name} A\n" for name, _ in names()))
    os.chmod(queries, 0o644)
    places, pair = [], Pair()
    try:
        places.append(Ours(lab))
        places.extend(kind(lab) for kind in OTHERS if kind.program())
        time.sleep(2)
        figures = {}
        for place in list(places):
            try:
                dnsperf(place, queries, "-n", 4)
            except (Failure, KeyError, subprocess.TimeoutExpired) as problem:
                if place.name == "ours":
                    raise
                print(f"bench: {place.name} does not answer: {problem}", file=sys.stderr)
                places.remove(place)
                place.close()
        in_turns(places, queries, figures, seen, p99)
        for place in places:
            give_way(place)
        in_turns(places, queries, figures, able)
    finally:
        for place in places:
            place.close()
        pair.close()
    measured.update({key: statistics.median(all) for key, all in figures.items()})
    return measured


def in_turns(places, queries, figures, *measures):
    for number in range(ROUNDS):
        # To and fro, so that what came before favours nobody.
        for place in places if number % 2 == 0 else places[::-1]:
            for one in measures:
                if one is not p99 or place.name in ("ours", "dnsmasq"):
                    figures.setdefault((place.name, one.__name__), []).append(one(place, queries))


def against(kind):
    def row(lab):
        medians = measure(lab)
        return medians["ours", "seen"], {
            kind.name: medians.get((kind.name, "seen")), "a second of its processor: ours": medians["ours", "able"],
            f"a second of its processor: {kind.name}": medians.get((kind.name, "able")),
            Mirror.name: medians.get((Mirror.name, "seen"))}
    return row


def dnsmasq_p99(lab):
    medians = measure(lab)
    return medians["ours", "p99"], {"dnsmasq": medians.get(("dnsmasq", "p99"))}


dnsmasq, unbound, aardvark = (against(kind) for kind in (Dnsmasq, Unbound, Aardvark))
