"""The cache of compiled programs, seen from the processes that share it."""

import os
import subprocess
import sys
from pathlib import Path

import jax

from acf_jax.devices import compilation_cache

ROOT = Path(__file__).parents[3]
PROGRAM = """
import collections, sys
import jax
from acf_jax.devices import compilation_cache

events = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event.rsplit("/", 1)[-1]]))
compilation_cache.enable(sys.argv[1])
print(jax.jit(lambda x: 3 * x)(14.0), events["cache_hits"], events["cache_misses"])
"""


def run(folder, **environment):
    """Output, without and with errors, of a process that compiles one program."""
    kept = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    environment = kept | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"} | environment
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def test_a_second_process_reads_what_the_first_compiled(tmp_path):
    """The first is told the folder by the environment, the second by the program."""
    folder = tmp_path / "deep/cache"
    assert run(tmp_path / "default", JAX_COMPILATION_CACHE_DIR=str(folder)) == ("42.0 0 1", "")
    assert list(folder.glob("jit__lambda*"))
    assert not (tmp_path / "default").exists()
    assert run(folder) == ("42.0 1 0", "")


def test_a_folder_that_cannot_be_written_costs_one_line(tmp_path):
    (tmp_path / "file").touch()
    output, errors = run(tmp_path / "file/cache")
    assert output == "42.0 0 0"
    assert errors == (
        f"Compiled programs are not kept: {tmp_path}/file/cache: Not a directory. "
        "Set JAX_COMPILATION_CACHE_DIR to another folder.\n"
    )


def test_an_empty_variable_switches_it_off(tmp_path, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    try:
        compilation_cache.enable(tmp_path / "default")
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert not list(tmp_path.iterdir())
