"""Rows on the processes themselves: memory and the time to come up."""

import statistics
import time


def resident_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    raise ValueError(f"process {pid} has no VmRSS")


def memory_idle(lab):
    """Resident memory of a manager that has answered a few calls and has nothing to do."""
    figures = []
    for _ in range(3):
        lab.forge("down", check=False)
        lab.forge(*lab.up)
        for _ in range(5):
            lab.forge("network", "ls")
        time.sleep(1)
        figures.append(resident_kb(lab.manager()) / 1024)
    return statistics.median(figures), {}


def memory_endpoint(lab):
    """Growth from 100 endpoints to 800, divided by 700."""
    lab.forge("down", check=False)
    lab.fresh()
    arguments = ["attach", "--network", "bench", "--label", "bench=yes", "--keep"]
    lab.attach_bench(*arguments, "--count", 100, "--prefix", "early")
    manager = lab.manager()
    before = resident_kb(manager)
    lab.attach_bench(*arguments, "--count", 700, "--prefix", "late")
    after = resident_kb(manager)
    lab.forge("network", "rm", "bench", "--force", timeout=120)
    lab.attach_bench("forget")
    return max(after - before, 0) / 700, {}


def up_latency(lab):
    """From the start of `forge up`, with nothing running, to the answer of a `forge status` started after it."""
    times = []
    for _ in range(11):
        lab.forge("down", check=False)
        start = time.perf_counter()
        lab.forge(*lab.up)
        lab.forge("status")
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times), {}
