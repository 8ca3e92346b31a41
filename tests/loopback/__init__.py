"""The real archives' addresses on 127.0.0.1, over the mock sky: SkyMapper's TAP, SIAP, cutouts; Gaia's TAP; faults.

`with serve(MockArchive(seed, n_stars), Faults(rate=0.1)) as server:` in tests; `python -m tests.loopback` beside a
program.
"""

from tests.loopback.faults import KINDS, Faults
from tests.loopback.server import LoopbackServer, serve

__all__ = ["KINDS", "Faults", "LoopbackServer", "serve"]
