"""Where the commands keep what they compile, and how their help names them."""

import pytest

import acf_jax
from acf_jax.commands import evaluate, predict, shared


@pytest.mark.parametrize("variable", ["/somewhere", "", None])
def test_compiled_programs_are_beside_the_clone_or_in_the_users_cache(tmp_path, monkeypatch, variable):
    monkeypatch.setattr(acf_jax, "__file__", str(tmp_path / "acf_jax/__init__.py"))
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if variable is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", variable)
    users = variable or "/home/somebody/.cache"
    assert str(shared.cache_folder()) == f"{users}/acf-jax/compiled_programs"
    (tmp_path / "pyproject.toml").touch()
    assert shared.cache_folder() == tmp_path / ".jax_cache"


@pytest.mark.parametrize("command", [evaluate, predict])
def test_help_names_the_command_that_was_typed(capsys, command):
    name = command.__name__.rpartition(".")[2]
    texts = []
    for prog in (f"{name}.py", f"acf-{name}"):
        with pytest.raises(SystemExit):
            command.main(["--help"], prog)
        texts.append(capsys.readouterr().out)
    script, installed = texts
    assert f"python {name}.py --checkpoint" in script
    assert f"acf-{name} --checkpoint" in installed
    assert "python train.py" in script
    assert "acf-train" in installed
    assert ".py --" not in installed.replace("configs/demo.py", "")
