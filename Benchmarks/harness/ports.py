"""Rows on published ports: a client outside of the host, and a server behind our forwarder and those of others."""

import json
import os
import shutil
import socket
import statistics
import subprocess
import time

from .lab import Failure, run, stop, wait_until
from .traffic import iperf

HOST = "192.0.2.1"
CLIENT = "192.0.2.77"
ROUNDS = 3
SECONDS = 3
AT_ONCE = 8
# What the servers listen on; what leads there on the host, by forwarder.
BULK, SHORT = 5201, 9000
PORTS = {"ours": (5201, 9000), "slirp4netns": (5301, 9001), "pasta": (5401, 9002)}

POLICY = f"""\
policy: published
endpoints: {{labels: {{bench: "yes"}}}}
ingress:
  - from: [{{cidr: {CLIENT}/32}}]
    ports: [{BULK}/tcp, {SHORT}/tcp]
"""


class Outside:
    """A namespace beyond a link of the host's, with the client in it."""

    name = "outside"

    def __enter__(self):
        run(["ip", "netns", "add", self.name])
        for command in (
                f"link add up0 type veth peer name eth0 netns {self.name}", f"addr add {HOST}/24 dev up0",
                "link set up0 up", f"route add default via {CLIENT}", f"-n {self.name} addr add {CLIENT}/24 dev eth0",
                f"-n {self.name} link set eth0 up"):
            run(["ip", *command.split()])
        return self

    def __exit__(self, *_):
        # The pair goes with either end; the namespace may live a little longer than its name.
        run(["ip", "link", "del", "up0"], check=False)
        run(["ip", "netns", "del", self.name], check=False)

    def run(self, *command, **more):
        return run(["ip", "netns", "exec", self.name, *command], **more)


class Ours:
    """An endpoint with published ports, which policy opens to the client alone."""

    name = "ours"

    def __init__(self, lab):
        lab.fresh()
        path = f"{lab.directory}/home/published.yaml"
        with open(path, "w", encoding="utf-8") as file:
            file.write(POLICY)
        os.chmod(path, 0o644)
        lab.forge("policy", "apply", "-f", path)
        bulk, short = PORTS[self.name]
        label = ["--network", "bench", "--label", "bench=yes"]
        self.processes = [
            lab.start_forge("run", *label, "--name", "bulk", "-p", f"{bulk}:{BULK}", "--", "iperf3", "-s"),
            lab.start_forge("run", *label, "--name", "short", "-p", f"{short}:{SHORT}", "--",
                            lab.program("connections"), "serve", str(SHORT))]

    def close(self):
        for process in self.processes:
            stop(process)


class Other:
    """A network namespace of the user's with one of the usual ways out, and its ports led in by that."""

    def __init__(self, lab):
        self.lab = lab
        self.processes = []
        # The user namespace is made in the same step; what enters it later has its root.
        self.holder = self.start("unshare", "--user", "--map-root-user", "--net", "--", "sleep", "1000")
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{self.pid()}/ns/net") != own, "a namespace")
        self.attach()
        for command in (["iperf3", "-s"], [lab.program("connections"), "serve", str(SHORT)]):
            self.start("nsenter", "--user", "--preserve-credentials", "--net", "--target", str(self.pid()), "--",
                       *command)

    def pid(self):
        return self.holder.pid

    def start(self, *command):
        process = subprocess.Popen(
            [*self.lab.drop, *command], env=self.lab.environment(), cwd=f"{self.lab.directory}/home",
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def close(self):
        for process in reversed(self.processes):
            stop(process)


class Slirp(Other):
    name = "slirp4netns"

    def attach(self):
        api = f"{self.lab.directory}/run/slirp.sock"
        if os.path.exists(api):
            os.unlink(api)
        self.start("slirp4netns", "--configure", "--mtu=65520", f"--api-socket={api}", str(self.pid()), "tap0")
        wait_until(lambda: os.path.exists(api), "slirp4netns")
        for port, inner in zip(PORTS[self.name], (BULK, SHORT)):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(api)
                connection.sendall(json.dumps({"execute": "add_hostfwd", "arguments": {
                    "proto": "tcp", "host_addr": "0.0.0.0", "host_port": port, "guest_addr": "10.0.2.100",
                    "guest_port": inner}}).encode())
                answer = json.loads(connection.recv(4096))
            if "error" in answer:
                raise Failure(f"slirp4netns: {answer['error']}")


class Pasta(Other):
    name = "pasta"

    def attach(self):
        ports = ",".join(f"{port}:{inner}" for port, inner in zip(PORTS[self.name], (BULK, SHORT)))
        self.start("pasta", "--foreground", "--config-net", "-t", ports, "-u", "none", "-T", "none", "-U", "none",
                   str(self.pid()))


def measured(lab, figure, others):
    """Medians of `figure(outside, name)` for ours and for each of `others`, taken in turns; None for one that is missing."""
    with Outside() as outside:
        places = []
        try:
            places.append(Ours(lab))
            places += [kind(lab) for kind in others if shutil.which(kind.name)]
            time.sleep(2)
            figures = {place.name: [] for place in places}
            for _ in range(ROUNDS):
                for place in places:
                    figures[place.name].append(figure(outside, place.name))
        finally:
            for place in places:
                place.close()
    medians = {name: statistics.median(all) for name, all in figures.items()}
    return medians["ours"], {kind.name: medians.get(kind.name) for kind in others}


def short(outside, name):
    """Connections a second. Ours count only where the server has seen the client's own address and port."""
    result = json.loads(outside.run(os.path.join(outside.binaries, "connections"), HOST, str(PORTS[name][1]),
                                    str(SECONDS), str(AT_ONCE)).stdout)
    if name == "ours" and (result["failed"] or result["mistaken"]):
        raise Failure(f"of our connections {result['failed']} failed, {result['mistaken']} had another source")
    return result["per_second"]


def bulk(outside, name):
    """Gbit/s from the client to the server."""
    return iperf(outside.run, HOST, PORTS[name][0])


def of(figure, *others):
    def measure(lab):
        Outside.binaries = lab.binaries
        return measured(lab, figure, others)
    return measure


port_bulk = of(bulk, Slirp, Pasta)
port_bulk_pasta = of(bulk, Pasta)
port_connections = of(short, Slirp, Pasta)
