"""Drives the MCP Inspector's command line, one invocation per step: URL ERA SERVER VERSION.

The Inspector shows no progress and not the negotiated version; the other drivers check those.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

url, era, server, _version = sys.argv[1:5]
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


names = {tool["name"] for tool in json.loads(inspect("--method", "tools/list"))["tools"]}
missing = [name for name in wanted["tools"] if name not in names]
if missing:
    sys.exit(f"list: missing tools {missing}")
print("ok list", len(names))

tool, arguments, answer = wanted["call"]
result = json.loads(call(tool, arguments))
if [item.get("text") for item in result.get("content", [])] != [answer]:
    sys.exit(f"call: expected {answer!r}, got {result}")
print("ok call")

load = json.loads(call(tool, arguments, "--load", "--load-requests", "20", "--load-concurrency", "4"))
print("ok parallel", json.dumps(load))

refused = call("no_such_tool", {}, status=1)
if "no_such_tool" not in refused:
    sys.exit(f"error: the refusal does not name the tool: {refused}")
print("ok error")
