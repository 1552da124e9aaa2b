"""The same job by others: bare netlink, CNI's bridge with host-local, netavark. Times in microseconds."""

import json
import os
import subprocess
import time

from .lab import Failure, run, settle

CNI = "/usr/lib/cni"
NETAVARK = "/usr/lib/podman/netavark"


def floor(lab, count):
    """`count` attaches by bare netlink from one process, in a user and network namespace of its own as ours are."""
    settle()
    result = lab.as_user("unshare", "--user", "--map-root-user", "--net", lab.program("floor"), str(count))
    return json.loads(result.stdout)["attach_us"]


def new_namespace(name):
    """A network namespace as a container runtime hands it over: new and untouched, as for ours."""
    run(["ip", "netns", "add", name])


def cni(count, ipv6=True):
    """One ADD of the bridge plugin for each of `count` namespaces, its executable started anew as runtimes do."""
    if not os.path.exists(f"{CNI}/bridge"):
        return None
    ranges = [[{"subnet": "10.88.0.0/16"}]] + ([[{"subnet": "fd00:88::/64"}]] if ipv6 else [])
    routes = [{"dst": "0.0.0.0/0"}] + ([{"dst": "::/0"}] if ipv6 else [])
    configuration = json.dumps({
        "cniVersion": "1.0.0", "name": "bench", "type": "bridge", "bridge": "cni0", "isGateway": True,
        "ipam": {"type": "host-local", "dataDir": "/run/cni-bench", "ranges": ranges, "routes": routes}})

    def once(number, command):
        environment = {"CNI_COMMAND": command, "CNI_CONTAINERID": f"cni{number}", "CNI_IFNAME": "eth0",
                       "CNI_NETNS": f"/run/netns/cni{number}", "CNI_PATH": CNI, "PATH": os.environ["PATH"]}
        start = time.perf_counter()
        result = subprocess.run([f"{CNI}/bridge"], input=configuration, text=True, capture_output=True,
                                env=environment, timeout=30)
        taken = (time.perf_counter() - start) * 1e6
        if result.returncode != 0:
            raise Failure(f"CNI bridge {command}: {result.stdout.strip()[:300]}")
        return taken

    return series(count, "cni", once, "ADD", "DEL")


def netavark(count, firewall=True):
    """One `netavark setup` for each of `count` namespaces.

    As podman asks for it, netavark sets rules of its own for each container, with the firewall driver that it chooses;
    a network that is internal has none.
    """
    if not os.path.exists(NETAVARK):
        return None

    def once(number, command):
        configuration = json.dumps({
            "container_id": f"{number:064x}", "container_name": f"netavark{number}",
            "networks": {"bench": {"interface_name": "eth0", "static_ips":
                                   [f"10.89.{number >> 8}.{number & 255}", f"fd00:89::{number:x}"]}},
            "network_info": {"bench": {
                "name": "bench", "id": "be" * 32, "driver": "bridge", "network_interface": "netavark0",
                "subnets": [{"subnet": "10.89.0.0/16", "gateway": "10.89.0.1"},
                            {"subnet": "fd00:89::/64", "gateway": "fd00:89::1"}],
                "ipv6_enabled": True, "internal": not firewall, "dns_enabled": False,
                "ipam_options": {"driver": "host-local"}}}})
        start = time.perf_counter()
        result = subprocess.run(
            [NETAVARK, "--config", "/run/netavark-bench", command, f"/run/netns/netavark{number}"],
            input=configuration, text=True, capture_output=True, timeout=30)
        taken = (time.perf_counter() - start) * 1e6
        if result.returncode != 0:
            raise Failure(f"netavark {command}: {(result.stdout + result.stderr).strip()[:300]}")
        return taken

    return series(count, "netavark", once, "setup", "teardown")


def series(count, name, once, add, remove):
    """Times `add` in `count` new namespaces; the first, which also makes the bridge, is not counted."""
    numbers = range(2, count + 3)
    settle()
    for number in numbers:
        new_namespace(f"{name}{number}")
    try:
        return [once(number, add) for number in numbers][1:]
    finally:
        for number in numbers:
            try:
                once(number, remove)
            except Failure:
                # What was never added cannot be removed; the namespace goes in any case.
                pass
            run(["ip", "netns", "del", f"{name}{number}"], check=False)
