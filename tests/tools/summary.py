#!/usr/bin/env python3
"""Judges JUnit reports, such as CTest writes, and prints the one summary line for all of them.

Usage: summary.py REPORT... Exits with 1 when a test failed or none ran. With CI=true a skipped test
counts as failed, unless its reason begins with "kernel:".
"""

import os
import re
import sys
import xml.etree.ElementTree

SKIPPED = re.compile(r"SKIPPED: (.*)")


class Outcome:
    def __init__(self):
        self.passed = []
        self.failed = []
        self.skipped = []  # pairs of name and reason


def judge(root, is_ci, outcome=None):
    """Sorts the test cases of a report. What neither ran nor was skipped has failed."""
    outcome = outcome or Outcome()
    for case in root.iter("testcase"):
        name = case.get("name", "?")
        output = case.findtext("system-out") or ""
        reason = SKIPPED.search(output)
        if case.find("skipped") is not None and reason:
            text = reason.group(1).strip()
            if is_ci and not text.startswith("kernel:"):
                outcome.failed.append(f"{name} (skipped, which CI does not accept: {text})")
            else:
                outcome.skipped.append((name, text))
        elif case.get("status") == "run" and case.find("failure") is None:
            outcome.passed.append(name)
        else:
            outcome.failed.append(name)
    return outcome


def main():
    is_ci = os.environ.get("CI", "").lower() in ("1", "true")
    outcome = Outcome()
    try:
        for report in sys.argv[1:]:
            judge(xml.etree.ElementTree.parse(report).getroot(), is_ci, outcome)
    except (OSError, xml.etree.ElementTree.ParseError) as error:
        print(f"no test report: {error}", file=sys.stderr)
        outcome = Outcome()
    for name, reason in outcome.skipped:
        print(f"skipped: {name}: {reason}")
    for name in outcome.failed:
        print(f"failed: {name}")
    print(f"{len(outcome.passed)} passed, {len(outcome.failed)} failed, "
          f"{len(outcome.skipped)} skipped")
    return 1 if outcome.failed or not outcome.passed else 0


if __name__ == "__main__":
    sys.exit(main())
