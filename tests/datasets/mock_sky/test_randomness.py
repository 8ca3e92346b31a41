import zlib

import numpy as np
import pytest
from scipy import stats

from datasets.mock_sky.randomness import Draws


def test_draws_hang_on_seed_purpose_and_block_alone():
    def first(*name):
        return Draws(*name).uniform(size=50)

    np.testing.assert_array_equal(first(3, "weather", 5), first(3, "weather", 5))
    for other in ((4, "weather", 5), (3, "dust", 5), (3, "weather", 6)):
        assert not np.isin(first(*other), first(3, "weather", 5)).any()


def test_uniform_numbers_are_the_generators_own_bits():
    # The bits of PCG64 and SeedSequence are guaranteed between NumPy versions: the digits must never change.
    drawn = Draws(0, "golden", 0).uniform(size=3)
    np.testing.assert_allclose(
        drawn, [0.9877523152721873, 0.07956973199266504, 0.23937856641931188], rtol=0, atol=1e-15
    )
    numpys = np.random.Generator(np.random.PCG64(np.random.SeedSequence((0, zlib.crc32(b"golden"), 0)))).random(3)
    np.testing.assert_allclose(drawn, numpys, rtol=0, atol=2.0**-51)


@pytest.mark.parametrize(
    ("draw", "distribution"),
    [
        (lambda d, n: d.uniform(-2.0, 3.0, n), stats.uniform(-2.0, 5.0)),
        (lambda d, n: d.normal(1.0, 2.0, n), stats.norm(1.0, 2.0)),
    ],
)
def test_continuous_draws_follow_their_distribution(draw, distribution):
    assert stats.kstest(draw(Draws(1, "test", 0), 20_000), distribution.cdf).pvalue > 1e-3


@pytest.mark.parametrize("mean", [0.0, 0.4, 3.0, 12.0])
def test_poisson_counts_follow_their_distribution(mean):
    counts = Draws(1, "test", 0).poisson(mean, 50_000)
    observed = np.bincount(counts, minlength=61) / len(counts)
    np.testing.assert_allclose(observed, stats.poisson(mean).pmf(np.arange(61)), atol=0.008)


def test_poisson_counts_stop_at_the_largest():
    assert Draws(1, "test", 0).poisson(50.0, 100, largest=7).max() == 7


def test_picks_in_proportion_to_weights_and_never_of_weight_zero():
    picked = Draws(1, "test", 0).pick([10, 20, 30, 40], [1.0, 0.0, 3.0, 0.0], 20_000)
    assert set(picked) == {10, 30}
    assert (picked == 30).mean() == pytest.approx(0.75, abs=0.01)
