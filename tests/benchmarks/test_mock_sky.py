"""The benchmark's last line is one JSON object of plausible figures."""

import json

import pytest

from benchmarks.mock_sky import main


def test_json_is_the_last_line(capsys):
    main(["--stars", "2", "--json"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["stars"] == 2
    assert figures["stars_per_s_per_core"] > 0
    assert 6 <= figures["detections_per_star"] <= 60
    assert figures["bytes_per_star"] / figures["detections_per_star"] == pytest.approx(23_040, rel=0.1)  # 5 + 3 blocks


def test_a_benchmark_of_nothing_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--stars", "0"])
    assert "--stars 0: give at least one." in capsys.readouterr().err
