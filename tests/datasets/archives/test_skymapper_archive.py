"""The archive against servers on loopback that serve, well or badly, the mock sky; the mock sky itself is the truth."""

import contextlib
import functools
import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.archives.cache import Cache
from datasets.archives.http import Client
from datasets.archives.interface import ArchiveDownError, ArchiveError, ServiceError, Target
from datasets.archives.skymapper_archive import (
    OBJECTS_PER_QUERY,
    SKYMAPPER_CUTOUT_URL,
    SKYMAPPER_TAP_URL,
    SkyMapperArchive,
)
from datasets.archives.tap import TapService
from datasets.mock_sky.archive import MockArchive
from datasets.skymapper import CUTOUT_SIZE_PX
from datasets.stamps import StampError, make_stamp
from tests.loopback import KINDS, Faults, serve

ROOT = Path(__file__).parents[3]
SKY = MockArchive(seed=3, n_stars=60)
N_STARS = 4  # photographed in a test


def targets(n=N_STARS):
    master = SKY.table("dr4.master")[:n]
    return [
        Target(*row) for row in zip(*(master[c].tolist() for c in ("object_id", "raj2000", "dej2000")), strict=True)
    ]


def client(**settings):
    return Client(**({"rate_per_s": 1e6, "backoff_s": 0.0, "timeout_s": 30.0} | settings))


def archive(server, folder, **settings):
    asks = client(**settings)
    return SkyMapperArchive(TapService(server.skymapper_tap_url, asks), server.cutout_url, asks, Cache(folder))


@pytest.fixture(scope="module")
def server():
    with serve(SKY) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_faults(request):
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        server.faults = Faults()
        server.forget()


def same(detections):
    """Detections without what the mock sky does not tell."""
    return [replace(detection, x_img=None, y_img=None) for detection in detections]


def stamp_or_reason(archive, target):
    try:
        stamp = make_stamp(archive, *target, ebmv_sfd=0.05)
    except StampError as error:
        return str(error)
    arrays = (stamp.flux, stamp.mask, stamp.n_detections, stamp.fwhm, stamp.n_masked_pixels)
    return [a.tobytes() for a in arrays], stamp.dropped, stamp.reference.image_id


@functools.cache
def truth(target):
    return stamp_or_reason(SKY, target)


def assert_the_same_sky(archive, n=N_STARS):
    for target in targets(n):
        assert same(archive.detections(target.object_id)) == same(SKY.detections(target.object_id))
        assert stamp_or_reason(archive, target) == truth(target)


def n_images(server):
    return server.counts()["path"]["/public/siap/dr4/get_image"]


def test_the_same_detections_and_stamps_and_nothing_asked_twice(server, tmp_path):
    first = archive(server, tmp_path)
    first.prefetch(targets(), CUTOUT_SIZE_PX)
    used = [d for t in targets() for d in SKY.detections(t.object_id) if d.use_in_clipped == 1]
    assert server.counts()["path"] == {"/public/tap/sync": 1, "/public/siap/dr4/get_image": 2 * len(used)}
    assert server.most_at_once > 1
    server.forget()
    assert_the_same_sky(first)
    again = archive(server, tmp_path)
    again.prefetch(targets(), CUTOUT_SIZE_PX)
    assert_the_same_sky(again)
    assert server.requests == ()


def test_without_prefetch_it_is_the_same(server, tmp_path):
    assert_the_same_sky(archive(server, tmp_path), 1)


def test_through_faults_it_is_the_same(server, tmp_path):
    chances = [kind for kind in KINDS if kind != "timeout"]  # which takes its time
    plan = [("FORMAT=mask", "timeout", 2)]
    server.faults = Faults(rate=0.25, kinds=chances, plan=plan, slow_s=0.02, retry_after_s=0)
    faulty = archive(server, tmp_path, timeout_s=1.0, tries=10)
    faulty.prefetch(targets(), CUTOUT_SIZE_PX)
    assert len(server.counts()["fault"]) > 8
    assert_the_same_sky(faulty)


ROW_FAULTS = ["duplicate_row", "null_row", "overflow", "html", "gateway_text", "cut_short", "truncated"]


@pytest.mark.parametrize("kind", ROW_FAULTS)
def test_a_fault_in_the_list_of_detections_changes_nothing(kind, server, tmp_path, caplog):
    server.faults = Faults(plan=[("/sync", kind, 1)])
    target = targets()[1]
    assert same(archive(server, tmp_path).detections(target.object_id)) == same(SKY.detections(target.object_id))
    assert server.counts()["fault"] == {kind: 1}
    assert ("left out are" in caplog.text) == (kind in ("duplicate_row", "null_row"))


def test_a_service_that_cuts_long_answers_is_asked_in_halves(tmp_path):
    few = MockArchive(seed=3, n_stars=10)
    with serve(few, max_rows=100) as server:
        small = archive(server, tmp_path)
        ids = few.table("dr4.master")["object_id"].tolist()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(small, "cutout", lambda *args: None)
            small.prefetch([Target(object_id, 0.0, 0.0) for object_id in ids], CUTOUT_SIZE_PX)
        server.forget()
        for object_id in ids:
            assert same(small.detections(object_id)) == same(few.detections(object_id))
        assert server.requests == ()
        assert len(small.table("dr4.photometry", ids)) == len(few.table("dr4.photometry", ids)) > 200


def test_one_query_lists_many_objects(server, tmp_path):
    many = archive(server, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "cutout", lambda *args: None)
        many.prefetch(targets(OBJECTS_PER_QUERY + 1), CUTOUT_SIZE_PX)
    assert server.counts()["path"] == {"/public/tap/sync": 2}
    for target in targets(OBJECTS_PER_QUERY + 1):
        assert same(many.detections(target.object_id)) == same(SKY.detections(target.object_id))
    assert len(server.requests) == 2


@pytest.mark.parametrize("name", ["dr4.master", "dr4.photometry", "dr4.images"])
@pytest.mark.parametrize("fault", ["", "duplicate_row", "null_row", "overflow"])
def test_tables(name, fault, server, tmp_path):
    server.faults = Faults(plan=[("/sync", fault, 1)] if fault else [])
    ids = [target.object_id for target in targets(60)]
    keys = [key for key in ("object_id", "image_id", "ccd") if key in SKY.table(name).colnames]
    found, expected = archive(server, tmp_path).table(name, ids[::-1] + ids), SKY.table(name, ids)
    expected.sort(keys)
    assert found.colnames == expected.colnames
    for column in expected.colnames:
        np.testing.assert_array_equal(np.ma.getmaskarray(found[column]), np.ma.getmaskarray(expected[column]))
        assert found[column].tolist() == expected[column].tolist()
        assert found[column].unit == expected[column].unit
    assert len(archive(server, tmp_path).table(name, [])) == 0


def test_tables_that_cannot_be_had(server, tmp_path):
    with pytest.raises(ArchiveError, match=r"no table 'gaia'.*there are dr4\.master, dr4\.photometry, dr4\.images"):
        archive(server, tmp_path).table("gaia", [1])
    with pytest.raises(ArchiveError, match=r"dr4\.master is too large to be read as a whole"):
        archive(server, tmp_path).table("dr4.master")


@pytest.mark.parametrize("kind", ["html", "gateway_text", "truncated", "cut_short", "other_size", "clipped"])
@pytest.mark.parametrize("file", ["fits", "mask"])
def test_a_broken_file_is_asked_for_again(kind, file, server, tmp_path):
    target, detection = targets()[0], SKY.detections(targets()[0].object_id)[0]
    server.faults = Faults(plan=[(f"FORMAT={file}", kind, 2)])
    cutout = archive(server, tmp_path).cutout(detection, target.ra_deg, target.dec_deg, CUTOUT_SIZE_PX)
    assert cutout == SKY.cutout(detection, target.ra_deg, target.dec_deg, CUTOUT_SIZE_PX)
    assert server.counts()["fault"] == {kind: 2}
    assert n_images(server) == 4


@pytest.mark.parametrize("file", ["fits", "mask"])
def test_a_file_that_stays_broken_is_given_up_told_and_not_kept(file, server, tmp_path):
    target = targets()[0]
    detection = next(d for d in SKY.detections(target.object_id) if d.use_in_clipped)
    request = f"FORMAT={file}&IMAGE={detection.image_id}-"
    server.faults = Faults(plan=[(request, "other_size", None)])
    broken = archive(server, tmp_path, tries=3)
    broken.prefetch([target], CUTOUT_SIZE_PX)
    assert server.counts()["fault"] == {"other_size": 3}
    server.forget()
    for _ in range(2):
        with pytest.raises(ServiceError, match=f"{detection.image_id}-.*3 tries"):
            broken.cutout(detection, target.ra_deg, target.dec_deg, CUTOUT_SIZE_PX)
    assert server.requests == ()
    server.faults = Faults()
    broken.prefetch([target], CUTOUT_SIZE_PX)
    assert n_images(server) == (2 if file == "fits" else 1)
    assert stamp_or_reason(broken, target) == truth(target)


def test_detections_that_stay_broken_are_told_for_that_object_alone(server, tmp_path):
    bad = targets()[2]
    server.faults = Faults(plan=[(rf"/sync.*\b{bad.object_id}\b", "html", None)])
    broken = archive(server, tmp_path, tries=2)
    broken.prefetch(targets(), CUTOUT_SIZE_PX)
    server.forget()
    with pytest.raises(ServiceError, match="2 tries"):
        broken.detections(bad.object_id)
    for target in targets():
        if target != bad:
            assert stamp_or_reason(broken, target) == truth(target)
    assert server.requests == ()


def test_an_archive_that_is_down_ends_the_prefetch(server, tmp_path):
    server.faults = Faults(plan=[("get_image", "503", None)])
    down = archive(server, tmp_path, tries=2, failures_until_down=5)
    with pytest.raises(ArchiveDownError, match=r"\d+ requests failed in a row"):
        down.prefetch(targets(), CUTOUT_SIZE_PX)
    n_asked = n_images(server)
    assert n_asked < 60, "the others are not asked for any more"
    server.faults = Faults()
    down = archive(server, tmp_path)
    down.prefetch(targets(), CUTOUT_SIZE_PX)
    assert_the_same_sky(down)


def test_a_service_that_refuses_the_query_is_down_and_rejects_no_star(server, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.archives.detections.QUERY", "SELECT nothing FROM dr5.x WHERE y IN ({ids})")
    refused = archive(server, tmp_path)
    with pytest.raises(ArchiveDownError, match="refuses to list detections"):
        refused.prefetch(targets(), CUTOUT_SIZE_PX)
    with pytest.raises(ArchiveDownError, match="refuses to list detections"):
        refused.detections(targets()[0].object_id)


def test_a_damaged_file_of_the_cache_is_asked_for_again(server, tmp_path):
    target = targets()[0]
    careful = archive(server, tmp_path)
    careful.prefetch([target], CUTOUT_SIZE_PX)
    for kind, n_asked in (("image", 1), ("mask", 1), ("detections", 1)):
        path = sorted((tmp_path / kind).rglob("*.gz"))[0]
        path.write_bytes(path.read_bytes()[:-20])
        server.forget()
        assert stamp_or_reason(archive(server, tmp_path), target) == truth(target)
        assert len(server.requests) == n_asked


def test_a_list_that_another_version_wrote_is_asked_for_again(server, tmp_path):
    target, cache = targets()[0], Cache(tmp_path)
    careful = archive(server, tmp_path)
    for other in (b'[{"object_id": 1}]', b"[1]", b"{"):
        cache.put("detections", careful._detections_key(target.object_id), other)
        assert same(careful.detections(target.object_id)) == same(SKY.detections(target.object_id))
    assert len(server.requests) == 3


def test_addresses_do_not_share_what_they_answered(server, tmp_path):
    target = targets()[0]
    archive(server, tmp_path).prefetch([target], CUTOUT_SIZE_PX)
    with serve(MockArchive(seed=4, n_stars=1)) as other:
        other_sky = archive(other, tmp_path).detections(target.object_id)
    assert same(other_sky) == same(MockArchive(seed=4, n_stars=1).detections(target.object_id))
    assert same(other_sky) != same(SKY.detections(target.object_id))


def test_a_full_disk_ends_it_and_it_goes_on_later(server, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = archive(server, tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            full.prefetch(targets(), CUTOUT_SIZE_PX)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.rglob("*.part"))
    full.prefetch(targets(), CUTOUT_SIZE_PX)
    assert_the_same_sky(full)


def test_a_cache_that_cannot_be_written_ends_it(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        archive(server, tmp_path / "file").prefetch(targets(), CUTOUT_SIZE_PX)


PREFETCH = """
import json, sys
from datasets.archives.cache import Cache
from datasets.archives.http import Client
from datasets.archives.interface import Target
from datasets.archives.skymapper_archive import SkyMapperArchive
from datasets.archives.tap import TapService
tap_url, cutout_url, folder, targets, size_px = sys.argv[1:]
client = Client(rate_per_s=1e6)
archive = SkyMapperArchive(TapService(tap_url, client), cutout_url, client, Cache(folder))
archive.prefetch([Target(*target) for target in json.loads(targets)], int(size_px))
"""


def test_two_processes_share_a_cache(server, tmp_path):
    arguments = [server.skymapper_tap_url, server.cutout_url, tmp_path, json.dumps(targets(2)), CUTOUT_SIZE_PX]
    command = [sys.executable, "-c", PREFETCH, *map(str, arguments)]
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(subprocess.Popen(command, cwd=ROOT)) for _ in range(2)]
        assert [process.wait() for process in both] == [0, 0]
    server.forget()
    assert_the_same_sky(archive(server, tmp_path), 2)
    assert server.requests == ()
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".gz"}


@pytest.mark.remote
def test_the_real_service(tmp_path):
    """One well-observed star of 13th magnitude."""
    asks = client(rate_per_s=2.0, backoff_s=2.0, timeout_s=60.0)
    tap = TapService(SKYMAPPER_TAP_URL, asks)
    star = tap.query(
        "SELECT TOP 1 object_id, raj2000, dej2000, ebmv_sfd FROM dr4.master WHERE raj2000 BETWEEN 60.0 AND 60.5"
        " AND dej2000 BETWEEN -40.5 AND -40.0 AND r_psf BETWEEN 12.5 AND 13.5 AND flags = 0 AND class_star > 0.9"
        " AND u_ngood > 0 AND v_ngood > 0 AND g_ngood > 0 AND r_ngood > 0 AND i_ngood > 0 AND z_ngood > 0"
    )[0]
    real = SkyMapperArchive(tap, SKYMAPPER_CUTOUT_URL, asks, Cache(tmp_path), n_threads=2)
    target = Target(int(star["object_id"]), float(star["raj2000"]), float(star["dej2000"]))
    real.prefetch([target], CUTOUT_SIZE_PX)
    assert {d.filter for d in real.detections(target.object_id)} == set("uvgriz")
    stamp = make_stamp(real, *target, ebmv_sfd=float(star["ebmv_sfd"]))
    assert np.isfinite(stamp.flux).all()
