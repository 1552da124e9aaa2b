"""Rows on names outside: the first packet to their addresses, their memory, and what an attach pays for such names."""

import json
import os
import statistics
import subprocess
import time

from . import ports
from .lab import Failure, run, stop
from .names import gateway
from .process import resident_kb

ROUNDS = 9
BATCH = 40
# Each client asks for as many new names as the resolver puts to the manager for one, and no faster.
CLIENTS = 25
EACH = 400
PER_SECOND = 180
PORT = 9000
# Numbers from here on no client asks for.
UNASKED = 60000
# Names in the cache before and after the measurement; there is room for 20,000.
WARM, CACHED = 1000, 16000

DOMAINS = f"""\
policy: domains
endpoints: {{labels: {{bench: "yes"}}}}
egress:
  - toFQDNs: ["*.example.com"]
    ports: [{PORT}/udp]
"""

ANYWHERE = f"""\
policy: anywhere
endpoints: {{labels: {{bench: "yes"}}}}
egress:
  - ports: [{PORT}/udp]
"""


class Internet:
    """A namespace beyond a link of the host's, which answers every name and has every address of 198.18.0.0/16."""

    address = "192.0.2.153"

    def __init__(self, lab):
        self.lab = lab
        run(["ip", "netns", "add", "internet"])
        for command in (
                "link add up1 type veth peer name eth0 netns internet", "addr add 192.0.2.129/25 dev up1",
                "link set up1 up", f"route add 198.18.0.0/16 via {self.address}",
                f"-n internet addr add {self.address}/25 dev eth0", "-n internet link set eth0 up",
                "-n internet link set lo up", "-n internet route add local 198.18.0.0/16 dev lo"):
            run(["ip", *command.split()])
        self.server = subprocess.Popen(
            ["ip", "netns", "exec", "internet", lab.program("lookups"), "serve", self.address, str(PORT)],
            stdout=subprocess.PIPE, text=True)

    def result(self):
        """What has come, once the server has ended."""
        self.server.terminate()
        return json.loads(self.server.communicate(timeout=10)[0])

    def close(self):
        stop(self.server)
        run(["ip", "link", "del", "up1"], check=False)
        run(["ip", "netns", "del", "internet"], check=False)


class HostFabric:
    """A fabric in the lab's own network namespace, whose routes are its way out, as root has it."""

    def __init__(self, lab):
        self.lab = lab
        self.environment = dict(
            lab.environment(), FORGE_RUNTIME_DIR=f"{lab.directory}/host/run",
            FORGE_STATE_DIR=f"{lab.directory}/host/state")
        self.forge("up", "--host")

    def command(self, *arguments):
        return [self.lab.program("forge"), *arguments]

    def forge(self, *arguments, **more):
        return run(self.command(*arguments), env=self.environment, **more)

    def start(self, *arguments):
        return subprocess.Popen(self.command(*arguments), env=self.environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def prepare(self, policy):
        return prepare(self.lab, self.forge, policy)

    def close(self):
        self.forge("down", check=False)


def prepare(lab, forge, policy):
    """A network with NAT and names, whose upstream is our internet; returns its resolver's address."""
    path = f"{lab.directory}/home/outside.yaml"
    with open(path, "w", encoding="utf-8") as file:
        file.write(policy)
    os.chmod(path, 0o644)
    forge("network", "create", "outside", "--subnet", "10.94.0.0/16", "--nat", "--dns", "--dns-upstream",
          Internet.address)
    forge("policy", "apply", "-f", path)
    return gateway(json.loads(forge("network", "inspect", "outside").stdout)[0])


def first_packets(lab):
    """Of so many new names, those whose first datagram, sent the moment its address was known, has arrived."""
    internet, fabric, clients = Internet(lab), None, []
    try:
        fabric = HostFabric(lab)
        resolver = fabric.prepare(DOMAINS)
        # Without an answer there is no way: else the row would say nothing.
        fabric.forge("run", "--network", "outside", "--label", "bench=yes", "--", lab.program("lookups"), "send",
                     str(UNASKED), "100", str(PORT))
        for number in range(CLIENTS):
            clients.append(fabric.start(
                "run", "--network", "outside", "--label", "bench=yes", "--", lab.program("lookups"), "ask", resolver,
                str(1 + number * EACH), str(EACH), str(PER_SECOND), str(PORT)))
        sent = 0
        for client in clients:
            said, complaint = client.communicate(timeout=60)
            if client.returncode != 0:
                raise Failure(f"a client failed: {complaint.strip()[-300:]}")
            sent += json.loads(said)["sent"]
        time.sleep(0.5)
        result = internet.result()
    finally:
        for client in clients:
            stop(client)
        if fabric:
            fabric.close()
        internet.close()
    if result["unasked"]:
        raise Failure(f"{result['unasked']} datagrams arrived for whose address nobody had asked")
    return result["arrived"], {"sent": sent}


def cached_name(lab):
    """Bytes of the proxy's resident memory for each name that it caches, from 1,000 names on."""
    internet = Internet(lab)
    try:
        lab.forge("down", check=False)
        lab.forge(*lab.up)
        resolver = prepare(lab, lab.forge, ANYWHERE)
        proxy = lab.proxy()
        figures = []
        for first, count in ((1, WARM), (1 + WARM, CACHED - WARM)):
            answer = json.loads(lab.forge(
                "run", "--network", "outside", "--label", "bench=yes", "--", lab.program("lookups"), "ask", resolver,
                str(first), str(count), "0", "0", timeout=120).stdout)
            if answer["answered"] != count:
                raise Failure(f"of {count} names {answer['answered']} were answered")
            figures.append(resident_kb(proxy))
        if internet.result()["answered"] < CACHED:
            raise Failure("not every name was new")
        return (figures[1] - figures[0]) * 1024 / (CACHED - WARM), {}
    finally:
        lab.forge("network", "rm", "outside", "--force", check=False)
        lab.forge("policy", "rm", "anywhere", check=False)
        internet.close()


def attach_names(lab):
    """What an attach takes longer in a network with NAT and names than in one without, in most rounds."""
    with ports.Outside():
        lab.fresh()
        lab.forge("network", "rm", "named", "--force", check=False)
        lab.forge("network", "create", "named", "--subnet", "10.95.0.0/16", "--nat", "--dns")
        lab.proxy()
        medians = {"bench": [], "named": []}
        try:
            for number in range(ROUNDS):
                for network in sorted(medians, reverse=number % 2 == 1):
                    times = lab.attach_bench(
                        "attach", "--network", network, "--count", BATCH, "--label", "bench=yes")["attach_us"]
                    medians[network].append(statistics.median(times) / 1e3)
        finally:
            lab.forge("network", "rm", "named", "--force", check=False)
    # Rounds that lie next to each other saw the same machine.
    more = [named - without for named, without in zip(medians["named"], medians["bench"])]
    return statistics.median(more), {
        "with": statistics.median(medians["named"]), "without": statistics.median(medians["bench"])}
