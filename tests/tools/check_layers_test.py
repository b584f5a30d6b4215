#!/usr/bin/env python3
"""Tests of check_layers.py: each rule finds a planted violation and leaves good code alone."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_layers  # noqa: E402


def problems(path, include):
    return list(check_layers.violations_of_include(pathlib.PurePosixPath(path), include))


class IncludeRules(unittest.TestCase):
    def test_refused(self):
        for path, include in [
            ("services/server/domain/run/run.cc", "grpcpp/grpcpp.h"),
            ("services/server/ports/run_store.h", "pqxx/pqxx"),
            ("services/server/domain/run/run.cc", "dstack/api/v1/run_service.grpc.pb.h"),
            ("services/server/domain/run/run.cc", "services/server/store/run_store.h"),
            ("services/server/ports/run_store.h", "services/server/usecases/stop_run.h"),
            ("services/server/app.cc", "services/shim/app.h"),
            ("clients/cli/main.cc", "services/server/app.h"),
            ("libs/base/status.cc", "services/server/app.h"),
            ("libs/base/status.cc", "libs/exec/executor.h"),
            ("libs/exec/timer.cc", "libs/telemetry/log.h"),
            ("libs/rpc/server.cc", "libs/ssh/master.h"),
            ("services/shim/app.cc", "libs/testing/await.h"),
        ]:
            with self.subTest(path=path, include=include):
                self.assertTrue(problems(path, include))

    def test_allowed(self):
        for path, include in [
            ("services/server/store/run_store.cc", "pqxx/pqxx"),
            ("services/server/domain/run/run.cc", "libs/base/ids.h"),
            ("services/server/ports/run_store.h", "services/server/domain/run/run.h"),
            ("libs/base/file_test.cc", "libs/testing/temp_dir.h"),
            ("libs/ssh/master.cc", "libs/process/subprocess.h"),
            ("libs/testing/mini_sshd.cc", "libs/ssh/keys.h"),
            ("tests/e2e/stop_task_test.cc", "libs/testing/await.h"),
            ("services/shim/pipeline/table_fixture.h", "libs/testing/temp_dir.h"),
        ]:
            with self.subTest(path=path, include=include):
                self.assertEqual(problems(path, include), [])


if __name__ == "__main__":
    unittest.main()
