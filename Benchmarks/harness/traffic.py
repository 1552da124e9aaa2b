"""Rows on traffic: TCP between two endpoints, with and without the fabric."""

import json
import statistics
import subprocess

from .lab import Failure, run, stop, wait_until

SECONDS = 4
ROUNDS = 3


def throughput(lab):
    """iperf3 between two endpoints through policy, and between two namespaces on a plain bridge; interleaved."""
    lab.fresh()
    label = ["--network", "bench", "--label", "bench=yes"]
    server = lab.start_forge("run", *label, "--name", "server", "--", "iperf3", "-s")
    client = lab.start_forge("run", *label, "--name", "client", "--", "sleep", "600")
    bare = Bare()
    try:
        for name in ("server", "client"):
            wait_until(lambda: lab.forge("endpoint", "inspect", name, check=False).returncode == 0, name)
        address = json.loads(lab.forge("endpoint", "inspect", "server").stdout)[0]["addresses"][0]["address"]
        ours, others = [], []
        for _ in range(ROUNDS):
            ours.append(iperf(lambda *command, **more: lab.forge("exec", "client", "--", *command, **more), address))
            others.append(iperf(bare.run, bare.address))
        return statistics.median(ours), {"bare bridge": statistics.median(others)}
    finally:
        bare.close()
        for process in (client, server):
            stop(process)


def iperf(runner, address, port=5201):
    """Gbit/s that the receiver saw. The server may need a moment to come up."""
    for attempt in range(20):
        result = runner("iperf3", "-J", "-t", str(SECONDS), "-O", "1", "-c", address, "-p", str(port), check=False)
        document = json.loads(result.stdout or "{}")
        if "error" not in document and "end" in document:
            return document["end"]["sum_received"]["bits_per_second"] / 1e9
        subprocess.run(["sleep", "0.1"], check=True)
    raise Failure(f"iperf3: {document.get('error') or result.stderr.strip()}")


class Bare:
    """Two namespaces on a plain kernel bridge in a third, by the same kind of veth, without any rule."""

    address = "10.92.0.2"

    def __init__(self):
        for name in ("bare", "bare1", "bare2"):
            run(["ip", "netns", "add", name])
        commands = ["link add br0 type bridge mcast_snooping 0", "link set br0 up"]
        for number in (1, 2):
            commands += [
                f"link add p{number} numtxqueues 1 numrxqueues 1 type veth "
                f"peer name eth0 netns bare{number} numtxqueues 1 numrxqueues 1",
                f"link set p{number} master br0 up"]
        for command in commands:
            run(["ip", "-n", "bare", *command.split()])
        for number in (1, 2):
            for command in (f"addr add 10.92.0.{3 - number}/24 dev eth0", "link set eth0 up", "link set lo up"):
                run(["ip", "-n", f"bare{number}", *command.split()])
        self.server = subprocess.Popen(["ip", "netns", "exec", "bare1", "iperf3", "-s"],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self, *command, **more):
        return run(["ip", "netns", "exec", "bare2", *command], **more)

    def close(self):
        stop(self.server)
        for name in ("bare1", "bare2", "bare"):
            run(["ip", "netns", "del", name], check=False)
