#!/usr/bin/env python3
"""Tests of summary.py."""

import pathlib
import sys
import unittest
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import summary  # noqa: E402

REPORT = """<testsuite tests="5">
  <testcase name="good" status="run"><system-out>fine</system-out></testcase>
  <testcase name="bad" status="fail"><failure message="Failed"/><system-out/></testcase>
  <testcase name="missing" status="notrun"><skipped message="Unable to find executable"/></testcase>
  <testcase name="no engine" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
    <system-out>warning: SKIPPED: no Docker Engine
done</system-out></testcase>
  <testcase name="caps" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
    <system-out>SKIPPED: kernel: no CAP_SYS_RESOURCE</system-out></testcase>
</testsuite>"""


class Judge(unittest.TestCase):
    def setUp(self):
        self.root = xml.etree.ElementTree.fromstring(REPORT)

    def test_locally_a_skip_is_a_skip(self):
        outcome = summary.judge(self.root, is_ci=False)
        self.assertEqual(outcome.passed, ["good"])
        self.assertEqual(outcome.failed, ["bad", "missing"])
        self.assertEqual(outcome.skipped, [("no engine", "no Docker Engine"),
                                           ("caps", "kernel: no CAP_SYS_RESOURCE")])

    def test_ci_accepts_only_what_the_kernel_refuses(self):
        outcome = summary.judge(self.root, is_ci=True)
        self.assertEqual([name for name, _ in outcome.skipped], ["caps"])
        self.assertEqual(len(outcome.failed), 3)


if __name__ == "__main__":
    unittest.main()
