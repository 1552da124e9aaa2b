"""The rows, in the order of the table."""

import statistics

from . import names, outside, peers, policy, ports, process, traffic
from .report import Row

ROUNDS = 5
BATCH = 60
# Peers take tens of milliseconds each.
PEER_BATCH = 8


def interleaved(lab, *others):
    """Medians in milliseconds of our attach and of each of `others`, taken in turns; None for one that is missing."""
    ours, theirs = [], [[] for _ in others]
    lab.fresh()
    for _ in range(ROUNDS):
        ours += lab.attach_bench("attach", "--network", "bench", "--count", BATCH, "--label", "bench=yes")["attach_us"]
        for times, other in zip(theirs, others):
            times += other() or []
    return [statistics.median(times) / 1e3 if times else None for times in (ours, *theirs)]


def attach_floor(lab):
    ours, floor = interleaved(lab, lambda: peers.floor(lab, BATCH))
    return ours, {"bare netlink": floor}


def attach_cni(lab):
    ours, both, v4 = interleaved(lab, lambda: peers.cni(PEER_BATCH), lambda: peers.cni(PEER_BATCH, ipv6=False))
    return ours, {"bridge+host-local": both, "the same, IPv4 alone": v4}


def attach_netavark(lab):
    ours, whole, internal = interleaved(
        lab, lambda: peers.netavark(PEER_BATCH), lambda: peers.netavark(PEER_BATCH, firewall=False))
    return ours, {"netavark": whole, "the same, without its rules": internal}


def first_packet(family):
    def measure(lab):
        lab.fresh()
        attach, first = [], []
        for _ in range(ROUNDS):
            result = lab.attach_bench("first-packet", "--network", "bench", "--count", 20, "--label", "bench=yes",
                                      "--family", family)
            attach += result["attach_us"]
            first += result["first_us"]
        return statistics.median(first) / 1e3, {"attach + 1 ms": statistics.median(attach) / 1e3 + 1}
    return measure


def attach_scale(lab):
    early, late = [], []
    for _ in range(3):
        lab.fresh()
        times = lab.attach_bench("attach", "--network", "bench", "--count", 1000, "--label", "bench=yes")["attach_us"]
        early.append(statistics.median(times[4:15]))
        late.append(statistics.median(times[989:1000]))
    lab.forge("network", "rm", "bench", "--force")
    return statistics.median(late) / 1e3, {"attach number 10": statistics.median(early) / 1e3}


ROWS = [
    Row("attach-floor", "one attach over gRPC, stored, policy in force, p50", "ms", attach_floor, 1.5),
    Row("attach-cni", "one attach, against CNI bridge+host-local, p50", "ms", attach_cni, 5, at_least=True,
        ratio="other/ours"),
    Row("attach-netavark", "one attach, against netavark, p50", "ms", attach_netavark, 15, at_least=True,
        ratio="other/ours"),
    Row("first-packet-v4", "attach call to first packet at a peer, IPv4, p50", "ms", first_packet("v4"), 1),
    Row("first-packet-v6", "attach call to first packet at a peer, IPv6, p50", "ms", first_packet("v6"), 1),
    Row("attach-scale", "attach number 1,000 against number 10", "ms", attach_scale, 1.3),
    Row("tcp-throughput", "TCP through policy, against a bare bridge", "Gbit/s", traffic.throughput, 0.85,
        at_least=True),
    Row("port-bulk", "TCP through a published port, the client's address kept, against slirp4netns", "Gbit/s",
        ports.port_bulk, 2, at_least=True),
    Row("port-bulk-pasta", "the same, against pasta", "Gbit/s", ports.port_bulk_pasta, 1, at_least=True),
    Row("port-connections", "new connections through a published port, each seen from its own port, against slirp4netns",
        "1/s", ports.port_connections, 2, at_least=True),
    Row("dns-dnsmasq", "250 local names under dnsperf, one core for the server, against dnsmasq", "1/s",
        names.dnsmasq, 1.5, at_least=True),
    Row("dns-unbound", "the same, against unbound", "1/s", names.unbound, 2, at_least=True),
    Row("dns-aardvark", "the same, against aardvark-dns", "1/s", names.aardvark, 10, at_least=True),
    Row("dns-p99", f"the time of a query at {names.OFFERED:,} a second, p99, against dnsmasq", "ms",
        names.dnsmasq_p99, 1),
    Row("dns-cached-name-memory", "the resolver's memory, each cached name", "bytes", outside.cached_name, 300,
        absolute=True),
    Row("fqdn-first-packet", "first packets to addresses of 10,000 new names, sent at once, that arrive", "packets",
        outside.first_packets, outside.CLIENTS * outside.EACH, at_least=True, absolute=True),
    Row("attach-names", "one attach, with names and NAT, more than without, p50", "ms", outside.attach_names, 0.3,
        absolute=True),
    Row("policy-scale", "round trip of a new connection, 100,000 policy elements against 10, p50", "us",
        policy.scale("new"), 1.1),
    Row("policy-scale-established", "round trip of an established one, 100,000 policy elements against 10, p50", "us",
        policy.scale("established"), 1.1),
    Row("policy-change", "one policy changed among 10,000, call to kernel commit, p50", "ms", policy.change, 1,
        absolute=True),
    Row("policy-change-nft", "the same, against the same delta by nft -f, p50", "ms", policy.change_nft, 10,
        at_least=True, ratio="other/ours"),
    Row("policy-load", "10,000 policies over 1,000 endpoints, from nothing", "ms", policy.load, 500, absolute=True),
    Row("revoke", "bytes of a stream that pass after ApplyFirewall returned, most of 10", "bytes", policy.revoke, 0,
        absolute=True),
    Row("quarantine", "one quarantine under 1,000 endpoints, call to cut, p99", "ms", policy.quarantine, 5,
        absolute=True),
    Row("denial-events", "of 20,000 denied packets a second: not counted, or neither told nor counted as lost", "packets",
        policy.denials, 0, absolute=True),
    Row("evaluate", "evaluation at 1,000 policies, p50", "us", policy.evaluate, 1, absolute=True),
    Row("memory-idle", "the manager's memory, idle", "MB", process.memory_idle, 40, absolute=True),
    Row("memory-endpoint", "the manager's memory, each further endpoint", "KB", process.memory_endpoint, 30,
        absolute=True),
    Row("up-latency", "forge up to first answer, p50", "ms", process.up_latency, 150, absolute=True),
]
