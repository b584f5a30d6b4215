#!/usr/bin/env python3
"""Checks what the link graph cannot: who includes whom, and how long files are.

Headers of the distribution are visible to every target, so a stray include of gRPC in a domain
would compile. Usage: check_layers.py ROOT. Prints one line per violation and exits with 1.
"""

import pathlib
import re
import sys

MAX_LINES = 900

# A room of libs/ may include itself and rooms of a lower level.
LIB_LEVELS = {
    "base": 0,
    "exec": 1, "fsm": 1, "telemetry": 1, "failpoint": 1,
    "process": 2, "net": 2, "config": 2, "rpc": 2, "spool": 2,
    # db starts the private PostgreSQL as a process.
    "ssh": 3, "docker": 3, "db": 3,
    "testing": 4,
}

# Worlds that pure code must not see.
IMPURE = re.compile(r"^(grpcpp/|grpc/|pqxx/|pqxx$|libpq-fe|curl/|boost/|yaml-cpp/)|\.grpc\.pb\.h$")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def violations_of_include(path, include):
    """Yields what is wrong with `include` in the file `path` (parts relative to the root)."""
    parts = path.parts
    target = include.split("/")
    is_test = path.stem.endswith(("_test", "_fixture")) or "fake" in path.stem or parts[0] == "tests"
    if parts[0] == "services":
        if target[0] == "services" and target[1] != parts[1]:
            yield "a service includes another service"
        if target[0] in ("clients", "tests") and not is_test:
            yield "a service includes clients or tests"
        if len(parts) > 3 and parts[2] in ("domain", "ports") and IMPURE.search(include):
            yield f"{parts[2]} includes {include}"
        # Ports are interfaces and plain data, which the domain may name; messages are data too.
        if len(parts) > 3 and parts[2] in ("domain", "ports") and not is_test:
            if target[0] == "services" and target[2] not in ("domain", "ports"):
                if not include.endswith(".pb.h"):
                    yield f"{parts[2]} includes {target[2]}"
    if parts[0] == "clients" and target[0] == "services":
        yield "a client includes a service"
    if parts[0] == "libs" and parts[1] != "testing":
        if target[0] in ("services", "clients", "tests"):
            yield f"a library includes {target[0]}"
        if target[0] == "libs" and target[1] != parts[1] and not is_test:
            own, other = LIB_LEVELS.get(parts[1]), LIB_LEVELS.get(target[1])
            if own is None or other is None:
                yield f"libs/{parts[1]} or libs/{target[1]} has no level in check_layers.py"
            elif other >= own:
                yield f"libs/{parts[1]} includes libs/{target[1]}, which is not below it"
    if include.startswith("libs/testing/") and not is_test and parts[:2] != ("libs", "testing"):
        yield "product code includes libs/testing"


def check_file(root, path):
    lines = (root / path).read_text(encoding="utf-8").splitlines()
    if len(lines) > MAX_LINES:
        yield f"{path}: {len(lines)} lines, the limit is {MAX_LINES}"
    for number, line in enumerate(lines, start=1):
        match = INCLUDE.match(line)
        if match:
            for problem in violations_of_include(path, match.group(1)):
                yield f"{path}:{number}: {problem}"


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    files = sorted(
        file.relative_to(root)
        for top in ("libs", "services", "clients/cli", "tests")
        for file in (root / top).rglob("*")
        if file.suffix in (".cc", ".h") and "node_modules" not in file.parts
    )
    problems = [problem for file in files for problem in check_file(root, file)]
    for problem in problems:
        print(problem)
    print(f"{len(files)} files, {len(problems)} violations")
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
