import os
import re
import subprocess
import sys

from tests.acf_jax.models.cswin_variants import N_DEVICES


def test_with_and_without_jit_under_vmap_and_under_pmap():
    flags = f"--xla_force_host_platform_device_count={N_DEVICES} --xla_backend_optimization_level=0"  # compiles sooner
    command = [sys.executable, "-W", "error", "-m", "tests.acf_jax.models.cswin_variants"]
    done = subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    last_lines = done.stderr.strip().splitlines()[-3:]
    assert re.match("Ran 4 tests in", last_lines[0]), done.stderr
    assert last_lines[2] == "OK", done.stderr  # and none skipped, as pmap would be on a single device
