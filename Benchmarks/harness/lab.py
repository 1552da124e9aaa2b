"""The lab: private namespaces that stand for a machine, and the fabric of an ordinary user in it."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time

MARK = "FORGE_BENCH_LAB"
USER = "forge-lab"
# What must have been built.
PROGRAMS = ("forge", "forged", "attach-bench", "policy-bench", "floor", "connections", "lookups")


class Failure(Exception):
    """Something that a row needs did not work; the text says what."""


def inside():
    return MARK in os.environ


def enter(binaries, output, only):
    """Runs this program again in namespaces of its own and returns its exit status."""
    directory = tempfile.mkdtemp(prefix="forge-bench.", dir="/tmp")
    os.chmod(directory, 0o755)
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    command += ["--", sys.executable, os.path.abspath(sys.argv[0]), "--bin", binaries, "--output", output]
    if only:
        command += ["--only", only]
    # The real owner of the lab decides how the fabric's user is made: see Lab.
    environment = dict(os.environ, **{MARK: directory}, FORGE_BENCH_ROOT="1" if os.geteuid() == 0 else "")
    try:
        return subprocess.run(command, env=environment).returncode
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def run(command, timeout=60, check=True, **more):
    """Runs a command to its end, capturing what it says."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **more)
    if check and result.returncode != 0:
        said = (result.stderr.strip() or result.stdout.strip())[-400:]
        raise Failure(f"{' '.join(map(str, command))[:120]}: exit status {result.returncode}: {said}")
    return result


class Lab:
    """Runs commands as the lab's root (for peers) and as its ordinary user (for the fabric)."""

    def __init__(self, binaries):
        self.directory = os.environ[MARK]
        self.binaries = binaries
        self.up = ["up"] if os.environ["FORGE_BENCH_ROOT"] else ["up", "--no-subids"]
        self.started = []

    def __enter__(self):
        run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"])
        # Bind mounts of network namespaces are seen by the whole lab.
        run(["mount", "--make-rshared", "/run"])
        os.makedirs("/run/netns")
        run(["ip", "link", "set", "lo", "up"])
        for name in ("home", "run", "state", "bin"):
            os.makedirs(os.path.join(self.directory, name), mode=0o700, exist_ok=True)
        # As XDG_RUNTIME_DIR is on a machine with logins: in memory, and not on the disk that /tmp may be.
        run(["mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", os.path.join(self.directory, "run")])
        if os.environ["FORGE_BENCH_ROOT"]:
            user = pwd.getpwnam(USER)
            for name in ("home", "run", "state", "bin"):
                os.chown(os.path.join(self.directory, name), user.pw_uid, user.pw_gid)
            self.drop = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups", "--inh-caps=-all", "--"]
            self._make_reachable(user)
        else:
            self.drop = self._make_user()
        return self

    def _make_user(self):
        """Makes an ordinary user without real root, and returns what runs a command as that one.

        It is one of a user namespace further in, where newuidmap has no power. A process keeps that namespace: all
        commands must be of the same one, or the fabric of one would be a stranger's to the next.
        """
        keeper = subprocess.Popen(["unshare", "--user", "--map-user=1000", "--map-group=1000", "--", "sleep", "infinity"])
        self.started.append(keeper)
        wait_until(lambda: name_of(keeper.pid) == "sleep", "an ordinary user's namespace")
        return ["nsenter", f"--user=/proc/{keeper.pid}/ns/user", "--preserve-credentials", "--"]

    def __exit__(self, *_):
        if shutil.which(os.path.join(self.binaries, "forge")):
            self.forge("down", check=False)
        for process in self.started:
            stop(process)

    def _make_reachable(self, user):
        """Copies the programs where the user can execute them, if they are not so already."""
        probe = subprocess.run([*self.drop, os.path.join(self.binaries, "floor"), "0"], capture_output=True)
        if probe.returncode == 2:
            return
        place = os.path.join(self.directory, "bin")
        for name in PROGRAMS:
            shutil.copy2(os.path.join(self.binaries, name), place)
            os.chown(os.path.join(place, name), user.pw_uid, user.pw_gid)
        self.binaries = place

    def environment(self):
        return {
            "PATH": f"{self.binaries}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": f"{self.directory}/home",
            "XDG_RUNTIME_DIR": f"{self.directory}/run",
            "XDG_STATE_HOME": f"{self.directory}/state",
            "LANG": "C.UTF-8",
        }

    def program(self, name):
        return os.path.join(self.binaries, name)

    def as_user(self, *command, **more):
        """Runs a command as the fabric's user."""
        return run([*self.drop, *command], env=self.environment(), cwd=f"{self.directory}/home", **more)

    def forge(self, *arguments, **more):
        return self.as_user(self.program("forge"), *arguments, **more)

    def start_forge(self, *arguments):
        """Starts a forge command in the background."""
        process = subprocess.Popen(
            [*self.drop, self.program("forge"), *arguments], env=self.environment(),
            cwd=f"{self.directory}/home", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        self.started.append(process)
        return process

    def forge_json(self, *arguments):
        return json.loads(self.forge(*arguments, "--format", "json").stdout)

    def client(self, program, *arguments, timeout=300):
        """Runs a client of ours where a rootless runtime runs: in the fabric's user and mount namespaces."""
        settle()
        result = self.forge("unshare", "--", self.program(program), *map(str, arguments), timeout=timeout)
        return json.loads(result.stdout)

    def attach_bench(self, *arguments, timeout=300):
        return self.client("attach-bench", *arguments, timeout=timeout)

    def manager(self):
        roles = self.forge_json("status")["roles"]
        return next(role["pid"] for role in roles if role["name"] == "manager")

    def proxy(self):
        """The pid of the process that answers names; it is there soon after the first network that has some."""
        found = []

        def look():
            found[:] = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and name_of(pid) == "forged-proxy"]
            return found

        wait_until(look, "a proxy")
        return found[0]

    def fresh(self, network="bench", subnet="10.91.0.0/16", policy=True, dns=False):
        """A running fabric with one empty network and a policy in force for endpoints labelled bench=yes."""
        self.forge(*self.up)
        self.forge("network", "rm", network, "--force", check=False)
        # What a row that failed has left.
        self.attach_bench("forget")
        self.forge("network", "create", network, "--subnet", subnet, *(["--dns"] if dns else []))
        if policy:
            path = f"{self.directory}/home/policy.yaml"
            with open(path, "w", encoding="utf-8") as file:
                file.write(POLICY)
            os.chmod(path, 0o644)
            self.forge("policy", "apply", "-f", path)


POLICY = """\
policy: bench
endpoints: {labels: {bench: "yes"}}
ingress:
  - from: [{labels: {bench: "yes"}}]
    ports: [5201/tcp, 9000/udp]
egress:
  - to: [{labels: {bench: "yes"}}]
    ports: [5201/tcp, 9000/udp]
"""


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def settle():
    """Lets the kernel finish with namespaces that just ended: their removal holds the lock that every attach needs."""
    time.sleep(1.5)


def wait_until(condition, what, seconds=10):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise Failure(f"{what}: not within {seconds} s")


def stop(process):
    """Ends a process that this program started, by its own pid."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
