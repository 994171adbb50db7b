"""Drives the MCP Inspector's command line, one invocation per step: URL ERA SERVER VERSION.

The Inspector shows no progress and not the negotiated version; the other drivers check those.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

MODERN = "2026-07-28"

url, era, server, version = sys.argv[1:5]
modules = Path(os.environ["MAINSTAY_TEST_NODE_MODULES"])
wanted = json.loads(Path(__file__).with_name("expectations.json").read_text())[server]


def inspect(*arguments: str, status: int = 0) -> str:
    """Runs one method; returns its output and leaves with a message if the exit status is another."""
    command = [str(modules.parent / "node"), str(modules / ".bin/mcp-inspector"), "--cli", url, "--transport", "http"]
    command += ["--protocol-era", era, "--format", "json", "-q", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if (done.returncode == 0) != (status == 0):
        sys.exit(f"inspector {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def call(tool: str, arguments: dict, *more: str, status: int = 0) -> str:
    return inspect(
        "--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments), *more, status=status
    )


def result(output: str) -> dict:
    return json.loads(output)["result"]


if era == "modern" and version != MODERN:
    # Pinned to the modern era against a legacy-only server: it has to be told so, at once.
    inspect("--method", "tools/list", status=1)
    print("ok refused")
    sys.exit()

names = {tool["name"] for tool in result(inspect("--method", "tools/list"))["tools"]}
missing = [name for name in wanted["tools"] if name not in names]
if missing:
    sys.exit(f"list: missing tools {missing}")
print("ok list", len(names))

tool, arguments, answer = wanted["call"]
answered = result(call(tool, arguments))
if [item.get("text") for item in answered["content"]] != [answer]:
    sys.exit(f"call: expected {answer!r}, got {answered}")
print("ok call")

load = result(call(tool, arguments, "--load", "--load-requests", "20", "--load-concurrency", "4"))
if (load["ok"], load["errors"], load["toolErrors"]) != (20, 0, 0):
    sys.exit(f"parallel: expected 20 good answers, got {load}")
print("ok parallel", load["ok"])

# An absent tool would be refused by the Inspector itself, so ask for a present one in a wrong way.
refused = call(tool, {}, status=1)
if wanted["refusal"] not in refused:
    sys.exit(f"error: expected {wanted['refusal']!r} in {refused}")
print("ok error")
