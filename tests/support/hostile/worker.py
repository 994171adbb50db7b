#!/usr/bin/env python3
"""A worker that tries to get out of its fence. Its tool `attack` does it all and says what came of it.

As a worker of mainstay it speaks MCP on stdio. `worker.py --once ARGUMENTS` prints the same report.
The report is one JSON object, attempt by attempt: "done", "denied: WHY" or "not tried: WHY". What
succeeds does no harm: signals are SIGCONT, limits are only looked at, files are opened and left.

Arguments, all optional: pid (of the daemon), port (of its listener), read, write (lists of paths),
cgroup (of the unit), sockets (paths), abstract (name of a socket).
"""

import ctypes
import errno
import json
import os
import signal
import socket
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
CLONE_NEWUSER = 0x10000000
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 434, 438
RLIMIT_NOFILE = 7


class NotTried(Exception):
    pass


def libc(name, *arguments):
    """A call of the C library; its error as an exception."""
    answer = getattr(LIBC, name)(*arguments)
    if answer == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def read(path):
    if os.path.isdir(path):
        os.listdir(path)
        return
    with open(path, "rb") as file:
        file.read(1)


def write(path):
    """Opens for writing; nothing is written, but a file that is not there is made and removed."""
    there = os.path.exists(path)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    if not there:
        os.unlink(path)


def own_cgroup():
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            if line.startswith("0::"):
                return "/sys/fs/cgroup" + line[3:].strip()
    raise NotTried("no cgroup v2")


def control(name):
    path = os.path.join(own_cgroup(), name)
    if not os.path.exists(path):
        raise NotTried(f"no {name} here")
    os.close(os.open(path, os.O_WRONLY))


def leave(directory):
    path = os.path.join(directory, "cgroup.procs")
    if not os.path.exists(path):
        raise NotTried(f"no {path}")
    with open(path, "w", encoding="ascii") as file:
        file.write(str(os.getpid()))


def trace(pid):
    libc("ptrace", PTRACE_ATTACH, pid, 0, 0)
    os.waitpid(pid, 0x40000000)
    libc("ptrace", PTRACE_DETACH, pid, 0, 0)


def read_memory(pid):
    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    here = ctypes.create_string_buffer(1)
    local = Vector(ctypes.cast(here, ctypes.c_void_p), 1)
    remote = Vector(4096, 1)
    try:
        libc("process_vm_readv", pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    except OSError as error:
        # There is nothing at that address, but it was allowed to look.
        if error.errno != errno.EFAULT:
            raise


def take_descriptor(pid):
    pidfd = libc("syscall", SYS_PIDFD_OPEN, pid, 0)
    try:
        os.close(libc("syscall", SYS_PIDFD_GETFD, pidfd, 0, 0))
    finally:
        os.close(pidfd)


def look_at_limits(pid):
    old = (ctypes.c_uint64 * 2)()
    libc("prlimit", pid, RLIMIT_NOFILE, None, old)


def connect(address):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(address)
        if isinstance(address, bytes):
            return
        # The daemon's protocol: a request in a line, an answer in a line.
        client.sendall(b'{"v":1,"command":"status"}\n')
        answer = client.recv(1 << 20)
        if not answer:
            raise PermissionError(errno.EACCES, "closed without an answer")
        if b'"error"' in answer[:80]:
            raise PermissionError(errno.EACCES, answer[:200].decode("utf-8", "replace"))


def take_listener(port):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()


def new_namespace():
    child = os.fork()
    if child == 0:
        try:
            libc("unshare", CLONE_NEWUSER)
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, os.strerror(status))


def run_program():
    child = os.fork()
    if child == 0:
        try:
            os.execv("/bin/true", ["true"])
        except OSError as error:
            os._exit(error.errno)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, os.strerror(status))


def signal_child():
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def attempts(arguments):
    """Name and deed of everything that is tried."""
    pid = arguments.get("pid")
    if pid:
        for name in ("environ", "mem", "maps", "root", "cwd", "fd", "auxv", "io"):
            yield f"daemon {name}", lambda name=name: read(f"/proc/{pid}/{name}")
        yield "daemon exe", lambda: os.readlink(f"/proc/{pid}/exe")
        yield "daemon traced", lambda: trace(pid)
        yield "daemon memory", lambda: read_memory(pid)
        yield "daemon descriptor", lambda: take_descriptor(pid)
        yield "daemon limits", lambda: look_at_limits(pid)
        yield "daemon signalled", lambda: os.kill(pid, signal.SIGCONT)
        yield "daemon score", lambda: write(f"/proc/{pid}/oom_score_adj")
    if "port" in arguments:
        yield "listener", lambda: take_listener(arguments["port"])
    for path in arguments.get("read", []):
        yield f"read {path}", lambda path=path: read(path)
    for path in arguments.get("write", []):
        yield f"write {path}", lambda path=path: write(path)
    for path in arguments.get("sockets", []):
        yield f"socket {path}", lambda path=path: connect(path)
    if "abstract" in arguments:
        yield "abstract socket", lambda: connect(b"\0" + arguments["abstract"].encode())
    for name in ("memory.max", "memory.high", "pids.max", "cgroup.procs", "cgroup.kill"):
        yield f"own {name}", lambda name=name: control(name)
    yield "parent cgroup", lambda: leave(os.path.dirname(own_cgroup()))
    if "cgroup" in arguments:
        for place in ("", "supervisor", "workers"):
            directory = os.path.join(arguments["cgroup"], place)
            yield f"cgroup {place or 'of the unit'}", lambda directory=directory: leave(directory)
    yield "namespace", new_namespace
    # What must work all the same.
    yield "good scratch", lambda: write(os.path.join(os.environ["HOME"], "file"))
    yield "good temporary", lambda: write(os.path.join(os.environ["TMPDIR"], "file"))
    yield "good program", run_program
    yield "good child", signal_child
    for path in ("/etc/passwd", "/etc/resolv.conf", "/proc/self/maps", "/proc/meminfo"):
        yield f"good {path}", lambda path=path: read(path)
    yield "good /dev/null", lambda: write("/dev/null")


def attack(arguments):
    report = {}
    for name, deed in attempts(arguments):
        try:
            deed()
            report[name] = "done"
        except NotTried as why:
            report[name] = f"not tried: {why}"
        except OSError as error:
            report[name] = f"denied: {errno.errorcode.get(error.errno, error)}"
    report["descriptors"] = sorted(
        int(number) for number in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{number}")
    )
    report["variables"] = sorted(
        name
        for name in os.environ
        if name.startswith(("LISTEN_", "WATCHDOG_")) or name in ("NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY")
    )
    return report


def answer(message):
    method = message.get("method")
    if method == "initialize":
        return {
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "hostile", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": [{"name": "attack", "inputSchema": {"type": "object"}}]}
    if method == "tools/call":
        report = attack(message["params"].get("arguments") or {})
        return {"content": [{"type": "text", "text": json.dumps(report)}]}
    if method == "ping":
        return {}
    return None


def serve():
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message or "method" not in message:
            continue
        result = answer(message)
        reply = {"jsonrpc": "2.0", "id": message["id"]}
        if result is None:
            reply["error"] = {"code": -32601, "message": "no such method"}
        else:
            reply["result"] = result
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        print(json.dumps(attack(json.loads(sys.argv[2])), indent=1))
    else:
        serve()
