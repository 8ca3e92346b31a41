"""`python -m tests.loopback` as a program beside others."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import requests
from astropy.table import Table

from datasets.mock_sky.archive import MockArchive


def test_the_command_serves_until_told_to_stop(tmp_path):
    counts = tmp_path / "counts.json"
    command = [sys.executable, "-m", "tests.loopback", "--stars", "12", "--seed", "4", "--fault-rate", "1.0",
               "--fault-kinds", "503", "--fault-only", "tables", "--fault-plan", "tap-server", "429", "1",
               "--catalogues", tmp_path / "catalogues",
               "--counts", counts]  # fmt: skip
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        said = json.loads(process.stdout.readline())
        gaia = f"{said['gaia_tap_url']}/capabilities"
        statuses = [requests.get(f"{said['skymapper_tap_url']}/tables").status_code for _ in range(3)]
        statuses += [requests.get(gaia).status_code for _ in range(2)]
        statuses.append(requests.get(f"{said['cutout_url']}/get_image").status_code)
        process.send_signal(signal.SIGTERM)
        _, complaints = process.communicate(timeout=60)
    assert statuses == [503, 503, 200, 429, 200, 400]
    assert process.returncode == 0, complaints
    counted = json.loads(counts.read_text())
    assert counted["requests"] == 6
    assert counted["fault"] == {"503": 2, "429": 1}
    for name in ("galah", "gaia"):
        mine, table = Table.read(said[name]), MockArchive(4, 12).table(name)
        assert mine.colnames == table.colnames
        for column in table.colnames:
            theirs = np.ma.asarray(table[column])
            np.testing.assert_array_equal(np.ma.getmaskarray(np.ma.asarray(mine[column])), np.ma.getmaskarray(theirs))
            np.testing.assert_array_equal(np.ma.asarray(mine[column]).compressed(), theirs.compressed())
