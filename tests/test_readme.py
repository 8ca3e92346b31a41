"""What README.md and the docstrings show is run, beside a tiny dataset and a network of random parameters."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import acf_jax
from tests.acf_jax import tiny_dataset
from tests.acf_jax.bundle import tiny_bundle

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
WITH_EXAMPLES = [path.relative_to(ROOT) for path in sorted(ROOT.glob("acf_jax/**/*.py")) if ">>>" in path.read_text()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where `make demo` was run: `runs/demo` and `data/smss_stamps/mock/1.0.0`."""
    folder = tmp_path_factory.mktemp("clone")
    tiny_bundle.make_run(folder / "runs/demo")
    sizes = {"train": 40, "calibration": 10, "validation": 10}
    splits = {name: tiny_dataset.photographed(n, seed) for seed, (name, n) in enumerate(sizes.items())}
    tiny_dataset.write(folder / "data", splits, fingerprint=tiny_bundle.FINGERPRINT, units={"parallax": "mas"})
    return folder


def blocks(text: str) -> list[str]:
    """The blocks of Python in a text, each below as many empty lines as make tracebacks name the text's lines.

    Datasets of any version, in any folder, become the one in `folder`.
    """
    found = re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    padded = ["\n" * text.count("\n", 0, block.start(1)) + block[1] for block in found]
    return [re.sub(r"[\w/.]*smss_stamps/mock/\d+\.\d+\.\d+", "data/smss_stamps/mock/1.0.0", block) for block in padded]


def test_the_readmes_python_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert len(blocks(README)) >= 3
    names = {}
    for block in blocks(README):
        exec(compile(block, ROOT / "README.md", "exec"), names)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_examples_in_docstrings(folder, monkeypatch, path):
    monkeypatch.chdir(folder)
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    failed, tried = doctest.testmod(
        importlib.import_module(name),
        extraglobs={"acf_jax": acf_jax},
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert tried
    assert not failed
