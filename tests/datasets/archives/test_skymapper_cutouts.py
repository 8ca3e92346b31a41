"""Which cutouts `SkyMapperArchive` keeps, asks for again and gives up, decided file by file."""

from dataclasses import replace

import numpy as np
import pytest

from datasets.archives.cache import Cache
from datasets.archives.http import Client
from datasets.archives.interface import NotServedError, ServiceError
from datasets.archives.skymapper_archive import SkyMapperArchive
from datasets.imaging.cutouts import read_image
from datasets.mock_sky.archive import MockArchive
from datasets.skymapper import CUTOUT_SIZE_PX
from tests.datasets.synthetic_cutouts import DEC_DEG, RA_DEG, Exposure, fits_bytes


class Scripted(Client):
    """A client that is answered by a function of the parameters, patiently all the same."""

    def __init__(self, answer, **settings):
        super().__init__(rate_per_s=1e6, backoff_s=0.0, tries=3, **settings)
        self.answer, self.asked = answer, []

    def get(self, url, params, *, what, max_bytes, check=None):
        def ask():
            self.asked.append(dict(params))
            data = self.answer(params)
            assert len(data) <= max_bytes
            check(data)
            return data

        return self.patiently(what, ask)


def scripted(answer, folder):
    asks = Scripted(answer)
    return SkyMapperArchive(None, "http://127.0.0.1/siap", asks, Cache(folder)), asks


EDGE_SKY = MockArchive(seed=1)
# object_id, image_id: 5 or 6 px from the CCD's left, right, lower and upper edge
AT_EDGES = [
    (10000053440, 20151108133809),
    (10000080640, 20190701100149),
    (10000084288, 20180124112739),
    (10000026368, 20141211121340),
]


@pytest.mark.parametrize(("object_id", "image_id"), AT_EDGES)
def test_a_cutout_may_end_where_the_ccd_does_and_nowhere_else(object_id, image_id, tmp_path):
    [star] = EDGE_SKY.table("dr4.master", [object_id])
    position = float(star["raj2000"]), float(star["dej2000"])
    [row] = [row for row in EDGE_SKY.table("dr4.photometry", [object_id]) if row["image_id"] == image_id]
    [detection] = [d for d in EDGE_SKY.detections(object_id) if d.image_id == image_id]
    truth = EDGE_SKY.cutout(detection, *position, CUTOUT_SIZE_PX)
    assert min(read_image(truth.image).pixels.shape) < 36
    files = {"fits": truth.image, "mask": truth.mask}
    served, _ = scripted(lambda params: files[params["FORMAT"]], tmp_path)
    elsewhere = replace(detection, x_img=1000.0, y_img=1000.0)
    with pytest.raises(ServiceError, match=r"lacks \d+ px of the star's 48 in [xy], \d+ px from the CCD's edge"):
        served.cutout(elsewhere, *position, CUTOUT_SIZE_PX)
    served, _ = scripted(lambda params: files[params["FORMAT"]], tmp_path)
    at_edge = replace(detection, x_img=float(row["x_img"]), y_img=float(row["y_img"]))
    assert served.cutout(at_edge, *position, CUTOUT_SIZE_PX) == truth


def synthetic(**changes):
    exposure = Exposure("r", 13.0, **changes)
    return replace(exposure.detection(), x_img=1000.0, y_img=2000.0), exposure.cutout()


def test_a_cutout_where_nobody_knows_the_edge_is_served_if_the_star_is_on_it(tmp_path):
    detection, cutout = synthetic(shift=(-12.0, 0.0))
    files = {"fits": cutout.image, "mask": cutout.mask}
    served, _ = scripted(lambda params: files[params["FORMAT"]], tmp_path)
    assert served.cutout(replace(detection, x_img=None), RA_DEG, DEC_DEG, CUTOUT_SIZE_PX) == cutout
    _, cutout = synthetic(shift=(-40.0, 0.0))
    served, _ = scripted(lambda params: cutout.image, tmp_path / "other")
    with pytest.raises(ServiceError, match="the star is not on the cutout"):
        served.cutout(replace(detection, x_img=None), RA_DEG, DEC_DEG, CUTOUT_SIZE_PX)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shift": (8.6, 0.0)}, "lacks 5 px of the star's 48 in x"),
        ({"shift": (0.0, -9.6)}, "lacks 6 px of the star's 48 in y"),
        ({"size": 40}, "lacks 4 px of the star's 48 in x"),
        ({"size": 120}, "56 x 56 px were asked for, but the cutout has 120 x 120"),
    ],
)
def test_a_cutout_that_lacks_pixels_of_the_stamp_or_has_far_too_many(changes, reason, tmp_path):
    detection, cutout = synthetic(**changes)
    served, asks = scripted(lambda params: cutout.image, tmp_path)
    with pytest.raises(ServiceError, match=reason):
        served.cutout(detection, RA_DEG, DEC_DEG, CUTOUT_SIZE_PX)
    assert len(asks.asked) == 3
    assert not list(tmp_path.rglob("*.gz"))


@pytest.mark.parametrize(("size", "shift"), [(48, 0.0), (56, 4.0), (58, -4.9), (80, 0.0)])
def test_a_cutout_that_holds_the_stamp_is_kept_whatever_its_size(size, shift, tmp_path):
    detection, cutout = synthetic(size=size, shift=(shift, shift))
    files = {"fits": cutout.image, "mask": cutout.mask}
    served, asks = scripted(lambda params: files[params["FORMAT"]], tmp_path)
    for _ in range(2):
        assert served.cutout(detection, RA_DEG, DEC_DEG, CUTOUT_SIZE_PX) == cutout
    assert len(asks.asked) == 2


def test_a_mask_of_another_shape(tmp_path):
    detection, cutout = synthetic()
    files = {"fits": cutout.image, "mask": fits_bytes(np.zeros((56, 50), np.uint8))}
    served, asks = scripted(lambda params: files[params["FORMAT"]], tmp_path)
    with pytest.raises(ServiceError, match="the mask has 50 x 56 pixels but its image 56 x 56"):
        served.cutout(detection, RA_DEG, DEC_DEG, CUTOUT_SIZE_PX)
    assert [params["FORMAT"] for params in asks.asked] == ["fits", "mask", "mask", "mask"]


def test_what_is_not_served(tmp_path):
    detection, cutout = synthetic()

    def without_mask(params):
        if params["FORMAT"] == "mask":
            raise NotServedError("no mask")
        return cutout.image

    served, asks = scripted(without_mask, tmp_path)
    for _ in range(2):
        found = served.cutout(detection, RA_DEG, DEC_DEG, CUTOUT_SIZE_PX)
        assert (found.image, found.mask) == (cutout.image, None)
    assert len(asks.asked) == 2

    def nothing(params):
        raise NotServedError("no frame")

    served, asks = scripted(nothing, tmp_path / "other")
    for _ in range(2):
        with pytest.raises(NotServedError, match="no frame"):
            served.cutout(detection, RA_DEG, DEC_DEG, CUTOUT_SIZE_PX)
    assert len(asks.asked) == 1
