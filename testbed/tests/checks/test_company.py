"""
Tests that tests in company fail for what they do to others.
"""

import subprocess
import sys
from pathlib import Path

from testbed import ROOT

TESTS = """
import logging
import threading
import time
import unittest
from unittest import mock

import requests
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED

nap = threading.Event().wait


class Tests(unittest.TestCase):
    def test_harmless(self):
        with mock.patch(f"{__name__}.time"), self.assertLogs("openedx.core") as logs:
            logging.getLogger("openedx.core").warning("Hello")
            nap(0.2)
        assert len(logs.output) == 1

    def test_patch(self):
        for name in %s:
            with mock.patch(name):
                nap(0.2)

    def test_log(self):
        with self.assertLogs() as logs:
            nap(0.2)
        assert not logs.records, "the company's"

    def test_send(self):
        with mock.patch.object(PROGRAM_CERTIFICATE_AWARDED, "send_event"):
            nap(0.2)

    def test_leave(self):
        PROGRAM_CERTIFICATE_AWARDED.connect(nap, weak=False)
"""
PATCHED = {
    "time.sleep": "time.sleep",
    "time.time": "time.time",
    "requests.Session.get_adapter": "Session.get_adapter",
    "django.db.backends.utils.CursorWrapper.execute": "CursorWrapper.execute",
}


def test_each_harm_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "test_planted.py"
    file.write_text(TESTS % list(PATCHED), encoding="utf-8")
    options = ["-q", "-c", "pytest.ini", "-p", "no:cacheprovider", "-p", "testbed.checks.company", str(file)]

    done = subprocess.run([sys.executable, "-m", "pytest", *options], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 1
    # One test has the company's records in what it asserts.
    assert "1 failed, 4 passed" in done.stdout
    changed = [line.split(" by ") for line in done.stdout.splitlines() if line.startswith("CHANGED")]
    assert {(problem.partition(" ")[2], test.rpartition("::")[2]) for problem, test in changed} == {
        *((name, "test_patch") for name in PATCHED.values()),
        ("logger root", "test_log"),
        ("org.openedx.learning.program.certificate.awarded.v1.send_event", "test_send"),
        ("receiver, disabled event or signal handler", "test_leave"),
    }
