"""
Tests that tests in company fail for what they do to others.
"""

import subprocess
import sys

from testbed.checks.platform_gates import ROOT

TESTS = """
import datetime
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

    def test_sleep(self):
        with mock.patch("time.sleep"):
            nap(0.2)

    def test_clock(self):
        with mock.patch("time.time", return_value=0):
            nap(0.2)

    def test_request(self):
        with mock.patch("requests.Session.get_adapter"):
            nap(0.2)

    def test_query(self):
        with mock.patch("django.db.backends.utils.CursorWrapper.execute"):
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


def test_each_harm_is_noticed(tmp_path):
    file = tmp_path / "test_planted.py"
    file.write_text(TESTS, encoding="utf-8")
    options = ["-q", "-c", ROOT / "pytest.ini", "-p", "no:cacheprovider", "-p", "testbed.checks.company", file]

    done = subprocess.run([sys.executable, "-m", "pytest", *options], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 1
    # One test has the company's records in what it asserts.
    assert "1 failed, 7 passed" in done.stdout
    hindered = [line.split()[1:4] for line in done.stdout.splitlines() if line.startswith("HINDERED")]
    assert {(work, test.rpartition("::")[2]) for work, _during, test in hindered} == {
        ("leave", "test_leave:"),
        ("log", "test_log:"),
        ("query", "test_query:"),
        ("read_clocks", "test_clock:"),
        ("request", "test_request:"),
        ("send", "test_send:"),
        ("sleep", "test_sleep:"),
    }
