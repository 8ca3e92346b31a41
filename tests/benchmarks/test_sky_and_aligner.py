"""Four ways of a build against injected stars: what docs/real-data.md says of 200 stars, on a few."""

from benchmarks.sky_and_aligner import measure


def test_the_aligners_agree_and_either_sky_keeps_a_stars_flux_and_place():
    figures = measure(4)
    assert figures["stars"] == 4
    assert figures["aligners_apart_over_peak"] < 1e-6
    for sky in ("cutout", "table"):
        for kind in ("circle_bias", "circle_scatter", "stamp_bias", "stamp_scatter"):
            assert figures[f"{sky}_fast_{kind}"] == figures[f"{sky}_reproject_{kind}"]
            assert abs(figures[f"{sky}_fast_{kind}"]) < 1.0, "per cent"
        assert figures[f"{sky}_fast_centroid"] < 25, "milliarcsec: a twentieth of a pixel"
    assert figures["cutout_fast_stamp_bias"] != figures["table_fast_stamp_bias"]
