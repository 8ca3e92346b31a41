"""Serve a mock sky at the real archives' addresses: `python -m tests.loopback --stars 300`."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from pathlib import Path

from datasets.mock_sky.archive import MockArchive
from tests.loopback import KINDS, Faults, LoopbackServer

CATALOGUES = {"galah": "GALAH_DR3_main_allspec_v2.fits", "gaia": "gaiaedr3_gaia_source.fits"}


def main() -> None:
    """Print the addresses as one JSON line and serve until told to stop (SIGTERM, ctrl-C)."""
    options = _options()
    archive = MockArchive(options.seed, options.stars)
    faults = Faults(
        options.fault_rate,
        options.fault_kinds.split(","),
        options.fault_seed,
        only=options.fault_only,
        plan=[(pattern, kind, int(times)) for pattern, kind, times in options.fault_plan],
        slow_s=options.slow_s,
        retry_after_s=options.retry_after_s,
    )
    server = LoopbackServer(archive, faults, max_rows=options.max_rows, port=options.port)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    addresses = {name: getattr(server, name) for name in ("url", "skymapper_tap_url", "cutout_url", "gaia_tap_url")}
    print(json.dumps(addresses | _write_catalogues(archive, options.catalogues)), flush=True)
    stop.wait()
    server.close()
    if options.counts:
        summary = {"requests": len(server.requests), "most_at_once": server.most_at_once, **server.counts()}
        options.counts.write_text(json.dumps(summary, indent=1) + "\n")
    if server.errors:
        raise SystemExit("the loopback server failed:\n" + "\n".join(server.errors))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.loopback", description=__doc__)
    parser.add_argument("--stars", type=int, default=300, help="size of the sky (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="which sky (default 0)")
    parser.add_argument("--port", type=int, default=0, help="default: any that is free")
    parser.add_argument("--max-rows", type=int, default=100_000, help="row limit of TAP (default 100000)")
    parser.add_argument("--fault-rate", type=float, default=0.0, help="share of requests that fail (default 0)")
    parser.add_argument("--fault-kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)} (default all)")
    parser.add_argument("--fault-seed", type=int, default=0)
    parser.add_argument("--fault-only", default="", help="regular expression: only requests that match fail")
    parser.add_argument("--fault-plan", nargs=3, action="append", default=[], metavar=("REGEX", "KIND", "TIMES"),
                        help="the first requests that match fail so, beside the others; may be repeated")  # fmt: skip
    parser.add_argument("--slow-s", type=float, default=0.5, help="what a slow answer takes (default 0.5)")
    parser.add_argument("--retry-after-s", type=int, default=1, help="what 429 asks for (default 1)")
    parser.add_argument("--counts", type=Path, metavar="FILE", help="write counts of the requests here at the end")
    parser.add_argument("--catalogues", type=Path, metavar="DIR", help="write GALAH's and Gaia's tables here, as FITS")
    return parser.parse_args()


def _write_catalogues(archive: MockArchive, folder: Path | None) -> dict[str, str]:
    if folder is None:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in CATALOGUES.items():
        archive.table(name).write(folder / file, overwrite=True)
    return {name: str(folder / file) for name, file in CATALOGUES.items()}


if __name__ == "__main__":
    main()
