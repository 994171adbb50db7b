"""Runs a mainstayd for one test script, and makes sure that nothing of it is left afterwards.

It owns the daemon's process, its files in a fresh temporary folder, and the report of the script (`Board`).
It knows the command line and the HTTP views of the daemon and nothing of its inside.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CACHE = (ROOT / os.environ.get("MAINSTAY_CACHE", ".cache")).resolve()
NODE = CACHE / "npm/node"
MODULES = CACHE / "npm/node_modules"
PYTHON = CACHE / "mcp2/bin/python"
WORKER = ROOT / "tests/workers/conformance_worker.py"

# Workers get a clean environment, so this reaches them by their server's `env`; whatever process still
# has it when the daemon has ended was left behind.
MARK = "MAINSTAY_TEST_RUN"

START_LIMIT = 60.0
STOP_LIMIT = 30.0


class Failure(Exception):
    """A check did not hold; the text says which and what was found."""


def setup(*sets: str) -> None:
    """Installs what the script needs; says so only when there is something to install."""
    subprocess.run([str(ROOT / "tests/setup"), "system", *sets], check=True)


def toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    # What is left (strings, numbers, booleans) is written alike in JSON and TOML.
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def server_tables(servers: Mapping[str, Mapping[str, Any]], mark: str) -> str:
    """The `[servers.NAME]` tables, each with the mark in the environment of its workers, if it has any."""
    lines = []
    for name, table in servers.items():
        settings = table if "url" in table else {**table, "env": {**table.get("env", {}), MARK: mark}}
        lines += [f"[servers.{name}]", *(f"{key} = {toml(value)}" for key, value in settings.items()), ""]
    return "\n".join(lines)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url: str) -> tuple[int, str]:
    """Status and body of a GET; status 0 if nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def wait_until(limit: float, condition: Callable[[], Any]) -> Any:
    """The condition's first true value, or its last one when the time is over."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.05)


def marked(mark: str) -> dict[int, str]:
    """Every process with this mark in its environment: pid to command line."""
    found = {}
    wanted = f"{MARK}={mark}".encode()
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            if wanted in (directory / "environ").read_bytes().split(b"\0"):
                command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(directory.name)] = command.strip()
        except OSError:
            continue  # ended meanwhile, or not ours
    return found


class Gateway:
    """A running mainstayd with the given servers; use it in a `with` statement.

    Leaving the block stops the daemon with SIGTERM and raises `Failure` unless it ended with status 0 and
    took all its workers and their scratch directories with it.
    """

    def __init__(self, binary: str, servers: Mapping[str, Mapping[str, Any]], more: str = "") -> None:
        self.binary = Path(binary).resolve()
        self.servers = servers
        self.more = more
        self.mark = uuid.uuid4().hex
        self.port = free_port()
        self.default = next((name for name, table in servers.items() if table.get("default")), None)

    def __enter__(self) -> Gateway:
        self.folder = Path(tempfile.mkdtemp(prefix="mainstay-test-"))
        self.log = self.folder / "log"
        self.state = self.folder / "state"
        self.scrap = self.folder / "tmp"
        self.scrap.mkdir()
        runtime = self.folder / "run"
        runtime.mkdir(mode=0o700)
        config = self.folder / "mainstay.toml"
        config.write_text(self.more + server_tables(self.servers, self.mark))
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in ("NOTIFY_SOCKET", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "LISTEN_FDS", "LISTEN_PID")
        }
        environment |= {"TMPDIR": str(self.scrap), "XDG_RUNTIME_DIR": str(runtime), MARK: self.mark}
        command = [self.binary, "--config", config, "--listen", f"127.0.0.1:{self.port}", "--state-dir", self.state]
        try:
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    [str(part) for part in command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise Failure(f"cannot start {self.binary}: {error}") from error
        try:
            self.wait_healthy()
        except BaseException:
            self.tail()
            self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def wait_healthy(self) -> None:
        health: tuple[int, str] = (0, "")

        def settled() -> bool:
            nonlocal health
            health = fetch(f"http://127.0.0.1:{self.port}/health")
            return health[0] == 200 or self.process.poll() is not None

        wait_until(START_LIMIT, settled)
        if self.process.poll() is not None:
            raise Failure(f"mainstayd ended at start with status {self.process.returncode}")
        if health[0] != 200:
            raise Failure(f"/health was not 200 within {START_LIMIT:.0f} s: {health[0]} {health[1]}")

    def url(self, server: str) -> str:
        path = "/mcp" if server == self.default else f"/servers/{server}/mcp"
        return f"http://127.0.0.1:{self.port}{path}"

    def open_sessions(self) -> int:
        """How many legacy sessions the daemon counts, of all servers."""
        status, page = fetch(f"http://127.0.0.1:{self.port}/metrics")
        counts = re.findall(r"^mainstay_sessions(?:\{[^}]*\})? (\d+)", page, re.MULTILINE)
        if status != 200 or not counts:
            raise Failure(f"/metrics ({status}) has no mainstay_sessions")
        return sum(map(int, counts))

    def wait_warm(self, server: str, workers: int, limit: float = 20.0) -> None:
        """Waits for idle workers, so that their start is not part of what is timed. Not a check."""
        series = re.compile(rf'^mainstay_workers\{{server="{server}",state="idle"\}} (\d+)', re.MULTILINE)

        def idle() -> bool:
            found = series.search(fetch(f"http://127.0.0.1:{self.port}/metrics")[1])
            return found is not None and int(found[1]) >= workers

        wait_until(limit, idle)

    def tail(self, lines: int = 60) -> None:
        """Shows the end of the daemon's log on stderr."""
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        print(f"--- last lines of mainstayd's log, pid {self.process.pid} ---", *text, "---", sep="\n", file=sys.stderr)

    def kill(self) -> None:
        """Ends the daemon and what it left; only processes with this run's mark."""
        for pid in [self.process.pid, *marked(self.mark)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def leftovers(self) -> list[str]:
        """Processes and scratch directories that outlived the daemon."""
        # A killed worker needs a moment to be gone from /proc.
        wait_until(2.0, lambda: not marked(self.mark))
        found = [f"process {pid}: {command}" for pid, command in marked(self.mark).items()]
        found += [f"in TMPDIR: {path.name}" for path in self.scrap.iterdir()]
        # A worker's private directory is known by what is in it, wherever the daemon keeps it.
        found += [
            f"scratch: {home.parent.relative_to(self.folder)}"
            for home in self.folder.rglob("home")
            if (home.parent / "tmp").is_dir()
        ]
        return found

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            problems = []
            if self.process.poll() is not None:
                problems.append(f"mainstayd had ended by itself with status {self.process.returncode}")
            else:
                self.process.terminate()
                try:
                    status = self.process.wait(STOP_LIMIT)
                    if status != 0:
                        problems.append(f"mainstayd ended with status {status} after SIGTERM")
                except subprocess.TimeoutExpired:
                    problems.append(f"mainstayd did not end within {STOP_LIMIT:.0f} s of SIGTERM")
                    self.process.kill()
                    self.process.wait()
            problems += self.leftovers()
            if problems:
                self.tail()
                if kind is None:
                    raise Failure("; ".join(problems))
        finally:
            self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)


def run(command: list[Any], limit: float) -> str:
    """Output of a command that has to succeed within `limit` seconds; its output is in the failure."""
    try:
        # Some clients keep settings and caches in the home directory, which is not ours to fill.
        with tempfile.TemporaryDirectory(prefix="mainstay-home-") as home:
            done = subprocess.run(
                [str(part) for part in command],
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=limit,
                env={**os.environ, "HOME": home, "MAINSTAY_TEST_NODE_MODULES": str(MODULES)},
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        text = output.decode(errors="replace") if isinstance(output, bytes) else output
        raise Failure(f"no end within {limit:.0f} s\n{text}") from error
    if done.returncode != 0:
        raise Failure(f"exit status {done.returncode}\n{done.stdout}")
    return done.stdout


class Board:
    """Prints one line a cell and counts; the last line is `N passed, N failed`."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def cell(self, label: str, check: Callable[[], Any]) -> bool:
        start = time.monotonic()
        try:
            check()
        except Failure as failure:
            self.failed += 1
            print(f"{label} FAILED {time.monotonic() - start:.1f}s", flush=True)
            print("    " + str(failure).rstrip().replace("\n", "\n    "), flush=True)
            return False
        self.passed += 1
        print(f"{label} ok {time.monotonic() - start:.1f}s", flush=True)
        return True

    def finish(self) -> int:
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0


def with_gateway(
    board: Board, binary: str, servers: Mapping[str, Mapping[str, Any]], checks: Callable[[Gateway], None]
) -> None:
    """Runs the checks against a daemon; a bad start or a bad end of it counts as a failed cell."""
    try:
        with Gateway(binary, servers) as gateway:
            checks(gateway)
            if board.failed:
                gateway.tail()
        board.passed += 1
        print("mainstayd stopped, nothing left ok", flush=True)
    except Failure as failure:
        board.failed += 1
        print("mainstayd FAILED\n    " + str(failure).replace("\n", "\n    "), flush=True)


def end_on_signals() -> None:
    """Lets SIGTERM and SIGHUP unwind the script like Ctrl-C, so that the daemon is stopped."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
