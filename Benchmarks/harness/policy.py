"""Rows on policy: what packets pay for it, what a change of it takes, and what evaluation takes."""

import json
import os
import statistics

from .lab import Failure

ENDPOINTS = 1000
POLICIES = 10000
SIZES = (10, 1000, 100000)
# Each takes half a second of two processors and more, which other tenants of a machine have a share in.
LOADS = 9

round_trips = {}


def bench(lab, *arguments):
    return lab.client("policy-bench", *arguments)


def scale(kind):
    """Round trips through rule sets of each size in turn, by datagrams of new or of established connections."""
    def measure(lab):
        if not round_trips:
            lab.fresh(policy=False)
            bench(lab, "unload")
            for number in range(4):
                # To and fro: what came before, such as connections that are still tracked, favours no size.
                sizes = SIZES if number % 2 == 0 else SIZES[::-1]
                for name, times in bench(lab, "scale", "bench", *sizes).items():
                    round_trips.setdefault(name, []).extend(times)
            lab.forge("network", "rm", "bench", "--force")
        medians = [statistics.median(round_trips[f"{kind}_{size}"]) / 1e3 for size in SIZES]
        return medians[2], {"10 elements": medians[0], "1,000 elements": medians[1]}
    return measure


class Populated:
    """A fabric with 1,000 endpoints, each of a label of its own."""

    def __init__(self, lab):
        self.lab = lab

    def __enter__(self):
        self.lab.fresh(policy=False)
        bench(self.lab, "unload")
        bench(self.lab, "endpoints", ENDPOINTS, "bench")
        return self

    def load(self):
        """Milliseconds that it takes to put all policies in force."""
        return bench(self.lab, "load", POLICIES, ENDPOINTS)["load_us"][0] / 1e3

    def change(self):
        return statistics.median(bench(self.lab, "change", 200)["change_us"]) / 1e3

    def __exit__(self, *_):
        bench(self.lab, "unload")
        self.lab.forge("network", "rm", "bench", "--force", timeout=120)
        self.lab.attach_bench("forget")


def load(lab):
    with Populated(lab) as fabric:
        times = []
        for _ in range(LOADS):
            times.append(fabric.load())
            bench(lab, "unload")
    return statistics.median(times), {}


def change(lab):
    with Populated(lab) as fabric:
        fabric.load()
        return fabric.change(), {}


def change_nft(lab):
    """The same delta by `nft -f` in the fabric's network namespace, on maps that hold as much as ours."""
    with Populated(lab) as fabric:
        fabric.load()
        ours = [fabric.change()]
        theirs = nft_deltas(lab)
        ours.append(fabric.change())
    return statistics.median(ours), {"nft -f": statistics.median(theirs) / 1e3}


def nft_deltas(lab):
    """Microseconds of 50 runs of nft that each point one pair at another class of ports."""
    directory = f"{lab.directory}/home"
    whole = [
        "table inet bench_nft {", "map identity { type ipv4_addr : mark; }", "map pairs { type mark . mark : mark; }",
        # Without ranges of ports, which are slower.
        "map ports { type mark . inet_proto . inet_service : mark; }", "}"]
    elements = {
        "identity": [f"10.91.{8 + n // 250}.{n % 250} : {n + 1}" for n in range(ENDPOINTS)],
        "pairs": [f"{n % ENDPOINTS + 1} . {(n + 1 + n // ENDPOINTS) % ENDPOINTS + 1} : {n + 1}"
                  for n in range(POLICIES)],
        "ports": [f"{n + 1} . tcp . {1000 + n} : 1" for n in range(POLICIES)]}
    # In parts that an ordinary user's socket takes.
    parts = ["\n".join(whole)] + [
        f"add element inet bench_nft {name} {{ {', '.join(all[start:start + 1000])} }}"
        for name, all in elements.items() for start in range(0, len(all), 1000)]
    script = f"""
import json, subprocess, sys, time
for part in json.load(open("{directory}/parts.json")):
    subprocess.run(["nft", "-f", "-"], input=part, text=True, check=True)
times = []
for number in range(50):
    old, new = (501, 100000 + number) if number == 0 else (99999 + number, 100000 + number)
    port = 1500 if number == 0 else 99 + number
    with open("{directory}/delta.nft", "w") as file:
        file.write("delete element inet bench_nft pairs {{ 501 . 502 }}\\n")
        file.write(f"delete element inet bench_nft ports {{{{ {{old}} . tcp . {{port}} }}}}\\n")
        file.write(f"add element inet bench_nft ports {{{{ {{new}} . tcp . {{100 + number}} : 1 }}}}\\n")
        file.write(f"add element inet bench_nft pairs {{{{ 501 . 502 : {{new}} }}}}\\n")
    start = time.perf_counter()
    subprocess.run(["nft", "-f", "{directory}/delta.nft"], check=True)
    times.append((time.perf_counter() - start) * 1e6)
subprocess.run(["nft", "delete", "table", "inet", "bench_nft"], check=True)
print(json.dumps(times))
"""
    for name, text in (("parts.json", json.dumps(parts)), ("nft.py", script)):
        path = os.path.join(directory, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(path, 0o644)
    result = lab.forge("unshare", "--", "nsenter", f"--net=/proc/{lab.manager()}/ns/net",
                       "python3", f"{directory}/nft.py", timeout=120)
    return json.loads(result.stdout)


def revoke(lab):
    """The most bytes of an established stream that passed after the call that forbids it had returned."""
    lab.fresh(policy=False)
    bench(lab, "unload")
    result = bench(lab, "revoke", 10, "bench")
    lab.forge("network", "rm", "bench", "--force")
    return max(result["after_bytes"]), {"bytes before the call returned": statistics.median(result["before_bytes"])}


def quarantine(lab):
    """99 of 100 quarantines take at most so many milliseconds, from the call to its answer, under 1,000 endpoints."""
    with Populated(lab):
        times = bench(lab, "quarantine", 500)["quarantine_us"]
    return sorted(times)[len(times) * 99 // 100 - 1] / 1e3, {"p50": statistics.median(times) / 1e3}


def denials(lab):
    """Denied packets, at 20,000 a second for three seconds, that are not counted, or neither told nor known to be lost."""
    lab.fresh(policy=False)
    bench(lab, "unload")
    result = {name: values[0] for name, values in bench(lab, "denials", 60000, 20000, "bench").items()}
    lab.forge("network", "rm", "bench", "--force")
    if result["sent"] / result["seconds"] < 18000:
        raise Failure(f"only {result['sent'] / result['seconds']:.0f} packets a second could be sent")
    missing = abs(result["sent"] - result["counted"]) + abs(result["counted"] - result["told"] - result["lost"])
    return missing, {name: result[name] for name in ("sent", "counted", "told", "lost")}


def evaluate(lab):
    return statistics.median(bench(lab, "evaluate", 1000)["evaluate_us"]), {}
