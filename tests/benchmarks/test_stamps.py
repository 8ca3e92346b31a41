"""The benchmark's last line is one JSON object, and both of its ways make the same stamps."""

import json

from benchmarks.stamps import main


def test_both_ways_agree_and_are_told_as_json(capsys):
    main(["--stars", "1", "--json"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["stars"] == 1
    assert figures["stars_per_s_per_core"] > 0
    assert figures["speedup_over_reproject"] > 0
    assert figures["core_hours_per_million_stars"] > 0
    assert figures["max_difference_over_peak"] < 1e-6
