"""What magnitudes tell of each other and of a star: how to leave a band out, or to turn one star into another.

A band is left out by giving it the flux that the star's other bands lead one to expect, pixel for pixel. Zeros or
another star's pixels would show a network what it never saw, and its answer would tell of that instead. For a
network linear in magnitudes, and Gaussian magnitudes, this is exactly the best that could be had without the band.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EXPECTATION_DEGREE = 3  # on the mock sky the second degree leaves 10 % more scatter in u
RESPONSE_DEGREE = 2  # enough for a derivative averaged over stars

PARALLAX = "parallax"
"""How the parallax is called among the inputs that can be left out."""

AS_IT_IS = "as it is"
"""What the answer with all inputs is called among those without one."""


class PolynomialFit:
    """Least-squares polynomial of several quantities in several others; stars with a NaN are left out of the fit."""

    def __init__(self, x: np.ndarray, y: np.ndarray, degree: int):
        """Fit y (n, n_y) as a polynomial in x (n, n_x).

        Raises:
            ValueError: if there are fewer stars than twice the coefficients.
        """
        from sklearn.linear_model import LinearRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

        good = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
        powers = PolynomialFeatures(degree)
        needed = 2 * powers.fit(np.zeros((1, x.shape[1]))).n_output_features_
        if good.sum() < needed:
            raise ValueError(
                f"{good.sum()} stars have all of the magnitudes and parameters: a polynomial of degree {degree} in "
                f"{x.shape[1]} quantities needs {needed}."
            )
        self._pipeline = make_pipeline(StandardScaler(), powers, LinearRegression()).fit(x[good], y[good])
        self._scale = self._pipeline[0].scale_
        self._range = y[good].min(axis=0), y[good].max(axis=0)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Values (n, n_y), never beyond those fitted: far from them a polynomial says anything."""
        return np.clip(self._pipeline.predict(x), *self._range)

    def derivative(self, x: np.ndarray) -> np.ndarray:
        """The derivative dy / dx at x (n, n_x): (n, n_y, n_x)."""
        columns = []
        for i, scale in enumerate(self._scale):
            step = np.zeros(x.shape[1])
            step[i] = 1e-3 * scale  # the central difference of a quadratic is exact for any step
            columns.append((self._pipeline.predict(x + step) - self._pipeline.predict(x - step)) / (2 * step[i]))
        return np.stack(columns, axis=-1)


def left_out(
    inputs: np.ndarray, known: np.ndarray, bands: str, own_mags: np.ndarray | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """For each band, and the parallax if there is one: how to change the stars so that it says nothing of its own.

    Args:
        inputs: (n, n_inputs) of the stars: dereddened magnitudes as measured and, if the network uses the parallax, as
            a last column its log10 in mas.
        known: (m, n_inputs) of stars from which to learn what to expect.
        bands: names of the bands.
        own_mags: (n, n_bands) of the stars' pixels, where better known than as measured.

    Returns:
        variants for `explain.Explainer.answers`, by band: `band_factor` (n, n_bands); and `parallax` (n,) in mas.

    Raises:
        ValueError: if there are too few stars to learn from.
    """
    own_mags = inputs[:, : len(bands)] if own_mags is None else own_mags
    variants: dict[str, dict[str, np.ndarray]] = {}
    for i, band in enumerate(bands):
        factor = np.ones(own_mags.shape)
        factor[:, i] = 10 ** (-0.4 * (_expected(inputs, known, i) - own_mags[:, i]))
        variants[band] = {"band_factor": factor}
    if inputs.shape[1] > len(bands):
        variants[PARALLAX] = {"parallax": 10 ** _expected(inputs, known, len(bands))}
    return variants


def _expected(inputs: np.ndarray, known: np.ndarray, column: int) -> np.ndarray:
    """What the other columns of stars say of one of them, (n,)."""
    others = np.arange(inputs.shape[1]) != column
    fit = PolynomialFit(_colours(known[:, others]), known[:, [column]], EXPECTATION_DEGREE)
    return fit(_colours(inputs[:, others]))[:, 0]


def _colours(columns: np.ndarray) -> np.ndarray:
    """The first column and the neighbours' differences: magnitudes nearly copy each other, which costs a fit digits."""
    return np.column_stack([columns[:, 0], np.diff(columns, axis=1)])


def regression_without(
    inputs: np.ndarray, known: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """What quadratic regressions say that never had an input: how much there is to be lost with it.

    Args:
        inputs: (n, n_inputs) of the stars: magnitudes, and log10 parallax where it is used.
        known: (m, n_inputs) of the stars to fit to.
        labels: (m, n_labels) of these.
        names: of the inputs.

    Returns:
        (n, n_labels) by input left out, and `as it is` with all of them.

    Raises:
        ValueError: if there are too few stars with labels.
    """
    answers = {}
    for left_out in (AS_IT_IS, *names):
        used = np.array([name != left_out for name in names])
        fit = PolynomialFit(_colours(known[:, used]), labels, RESPONSE_DEGREE)
        answers[left_out] = fit(_colours(inputs[:, used]))
    return answers


def label_response(known: np.ndarray, labels: np.ndarray, at: np.ndarray, n_bands: int) -> np.ndarray:
    """How labels follow from magnitudes: d(label) / d(magnitude) of their quadratic regression on magnitudes.

    Args:
        known: (m, n_inputs) of stars with labels: magnitudes, with the noise that they have, since it decides how much
            weight each is given; further columns, as log10 of the parallax, stand beside them in the regression.
        labels: (m, n_labels).
        at: (n, n_inputs), where to take the derivative.
        n_bands: how many of the columns are magnitudes.

    Returns:
        (n, n_labels, n_bands), per mag.

    Raises:
        ValueError: if there are too few stars with labels.
    """
    return PolynomialFit(known, labels, RESPONSE_DEGREE).derivative(at)[:, :, :n_bands]


def magnitude_change(labels: np.ndarray, absolute_mags: np.ndarray, at: np.ndarray) -> np.ndarray:
    """How absolute magnitudes follow from parameters: d(magnitude) / d(label) of their quadratic regression.

    Args:
        labels: (m, n_labels) of stars.
        absolute_mags: (m, n_bands) of them, dereddened.
        at: (n, n_labels), where to take the derivative.

    Returns:
        (n, n_bands, n_labels), mag per unit of the label.

    Raises:
        ValueError: if there are too few stars with labels.
    """
    return PolynomialFit(labels, absolute_mags, RESPONSE_DEGREE).derivative(at)


def injected_response(response: np.ndarray, change: np.ndarray) -> np.ndarray:
    """How far the network follows when a star at the same distance becomes another: ideally the unit matrix.

    Args:
        response: (n, n_targets, n_bands), d(answer) / d(magnitude), from `explain.magnitude_response`.
        change: (n, n_bands, n_labels), d(magnitude) / d(label), from `magnitude_change`.

    Returns:
        (n, n_targets, n_labels), d(answer) / d(label).
    """
    return np.einsum("ntb,nbl->ntl", response, change)
