import dataclasses
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from acf_jax import checkpoints
from acf_jax.data.prepared import DatasetError, open_dataset
from acf_jax.data.scaling import InputScaling
from acf_jax.inference.loading import load
from acf_jax.inference.parts import model_from_config
from acf_jax.models.torch_weights import torch_from_cswin_params, torch_state_shapes
from acf_jax.training import loop
from acf_jax.training.config import TrainingError, as_training_config
from acf_jax.training.run import Run, check_same_run, open_run
from tests.acf_jax import tiny_dataset, tiny_run

N_DEVICES = 8
NO_CHANCE = {"model__dropout_rate": 0.0, "augment__flips": False, "augment__rotations": "none"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    tiny_dataset.write_stars(folder)
    return folder


@pytest.fixture(scope="module")
def stepped(data_dir):
    """A run, its compiled step, and what sixty steps over one batch did."""
    run, examples = tiny_run.make_run(data_dir, num_steps=60)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **__: compiled.append(event) if "backend_compile" in event else None
    )
    chex.clear_trace_counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "star_losses", chex.assert_max_traces(loop.star_losses, n=1))
        step = loop.make_train_step(run)
        state = loop.create_state(run)
        batch = next(loop.training_batches(examples["train"], run.config.batch_size, seed=0))
        losses, n_compiled = [], []
        for _ in range(60):
            state, metrics = step(state, loop.device_batch(batch, run.config.model.targets))
            losses.append(float(metrics["loss"]))
            n_compiled.append(len(compiled))
    jax.monitoring.clear_event_listeners()
    return SimpleNamespace(**{**locals(), "examples": examples})


def test_the_step_compiles_once(stepped):
    """Neither a second trace (chex raises) nor a second compilation of the same trace for another placement."""
    assert stepped.n_compiled[0] > 0
    assert stepped.n_compiled[-1] == stepped.n_compiled[0]


def test_repeating_a_batch_lowers_its_loss(stepped):
    assert np.mean(stepped.losses[-3:]) < 0.8 * stepped.losses[0]
    assert int(stepped.state.step) == 60


def test_a_batch_that_is_not_finite_stops_the_run_and_names_its_star(stepped):
    batch = {name: values.copy() for name, values in stepped.batch.items()}
    batch["parallax"][3] = np.nan
    _, metrics = stepped.step(
        loop.create_state(stepped.run), loop.device_batch(batch, stepped.run.config.model.targets)
    )
    with pytest.raises(TrainingError) as caught:
        loop.report_step(stepped.run, None, 7, batch["object_id"], metrics)
    assert str(caught.value).startswith("Step 7: loss nan")
    assert f"object_id {batch['object_id'][3]}. " in str(caught.value)


@pytest.fixture(scope="module")
def still(data_dir):
    """A run in which nothing is left to chance, beyond the network's first parameters."""
    return tiny_run.make_run(data_dir, num_steps=60, **NO_CHANCE)[0]


def test_the_steps_loss_is_eq_16_of_residuals_in_units_of_the_training_labels_scatter(stepped, still):
    """By NumPy, from what the network answers; the labels are spread so that both branches of Eq. 16 have residuals."""
    targets, train = still.config.model.targets, stepped.examples["train"].stack()
    batch = {name: values[:8] for name, values in train.items()}
    label = np.stack([batch[target] for target in targets], axis=-1).astype(np.float64)
    scatter = np.stack([train[target] for target in targets], axis=-1).astype(np.float64).std(axis=0)
    params = jax.device_get(stepped.state.params)
    state = loop.TrainState(np.int32(0), params, still.optimizer.init(params))
    answer = loop.make_predict_step(still)(params, loop.device_batch(batch, targets))
    label += np.resize([0.3, -0.6, 1.5, -3.0, 0.0], label.shape) * scatter
    spread = batch | dict(zip(targets, label.T.astype(np.float32), strict=True))
    _, metrics = loop.make_train_step(still)(loop.replicate(state), loop.device_batch(spread, targets))
    size = np.abs((np.asarray(answer, np.float64).reshape(label.shape) - label) / scatter)
    assert 5 < np.count_nonzero(size < 1) < size.size - 5
    expected = np.where(size < 1, size**2 / 2, size - 1 / 2)
    np.testing.assert_allclose(np.ravel(metrics["star_loss"]), expected.mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], expected.mean(), rtol=1e-4)


def test_a_stars_draws_differ_from_step_to_step(stepped):
    """The same batch and parameters give other losses in the next step, and the same ones in the same step."""
    losses = []
    params = jax.device_get(stepped.state.params)
    for step in (0, 1, 1):
        state = loop.TrainState(np.int32(step), params, jax.device_get(stepped.run.optimizer.init(params)))
        batch = loop.device_batch(stepped.batch, stepped.run.config.model.targets)
        losses.append(np.ravel(stepped.step(loop.replicate(state), batch)[1]["star_loss"]))
    assert np.all(losses[0] != losses[1])
    np.testing.assert_array_equal(losses[1], losses[2])


def test_training_stamps_are_flipped_and_turned(data_dir, stepped, still):
    """With augmentation the only chance, a star's loss is that of its stamp in one of eight orientations: all occur."""
    batch = {n: a[0] for n, a in loop.device_batch(stepped.batch, still.config.model.targets).items()}
    params, key = jax.device_get(stepped.state.params), jax.random.key(3)
    as_it_is = jax.jit(lambda stamp: loop.star_losses(still, params, batch | {"stamp": stamp}, key))
    turned = [np.rot90(batch["stamp"], turn, axes=(1, 2)) for turn in range(4)]
    orientations = np.array([as_it_is(stamp) for one in turned for stamp in (one, one[:, ::-1])])
    augmenting, _ = tiny_run.make_run(data_dir, num_steps=60, model__dropout_rate=0.0)
    augmented = jax.jit(lambda key: loop.star_losses(augmenting, params, batch, key))
    losses = np.array([augmented(key) for key in jax.random.split(key, 12)])
    distance = np.abs(losses[:, None] - orientations)
    np.testing.assert_array_less(distance.min(axis=1), 1e-4 * np.abs(losses) + 1e-6)
    assert len(np.unique(distance.argmin(axis=1))) == 8


def star_losses_under_two_keys(run, stepped):
    """Losses of a batch's stars; of the same stars in the opposite order, put back; and under another key."""
    star_losses = jax.jit(lambda batch, key: loop.star_losses(run, params, batch, key))
    batch = {n: a[0] for n, a in loop.device_batch(stepped.batch, run.config.model.targets).items()}
    turned = {name: values[::-1] for name, values in batch.items()}
    key, other = jax.random.split(jax.random.key(0))
    params = jax.device_get(stepped.state.params)
    return star_losses(batch, key), star_losses(turned, key)[::-1], star_losses(batch, other)


def test_a_stars_loss_depends_on_its_key_not_on_its_place(stepped):
    first, elsewhere, under_other_key = star_losses_under_two_keys(stepped.run, stepped)
    np.testing.assert_allclose(elsewhere, first, rtol=1e-4, atol=1e-6)
    assert np.all(under_other_key != first)


def test_a_stars_dropped_paths_depend_on_its_key_not_on_its_place(data_dir, stepped, still):
    """Nothing but drop path is left to chance: half of the last block's branches are dropped, star by star."""
    run, _ = tiny_run.make_run(data_dir, num_steps=60, model__drop_path_rate=0.5, **NO_CHANCE)
    first, elsewhere, under_other_key = star_losses_under_two_keys(run, stepped)
    np.testing.assert_allclose(elsewhere, first, rtol=1e-4, atol=1e-6)
    n_changed = np.count_nonzero(np.asarray(under_other_key) != first)
    assert 0 < n_changed <= len(first)
    first, _, under_other_key = star_losses_under_two_keys(still, stepped)
    np.testing.assert_array_equal(under_other_key, first)


def test_eight_devices_give_the_losses_of_one(data_dir, stepped):
    n_steps = 4
    command = [sys.executable, "-m", "tests.acf_jax.tiny_run", str(data_dir), str(n_steps)]
    flags = f"--xla_force_host_platform_device_count={N_DEVICES} --xla_backend_optimization_level=0"  # compiles sooner
    done = subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True, check=True)
    on_eight = json.loads(done.stdout.splitlines()[-1])
    assert jax.local_device_count() == 1
    on_one = tiny_run.losses(stepped.run, stepped.examples, stepped.step, n_steps)
    # Sums in another order; Adam's first steps, of the size of the rate whatever the gradient, magnify the rounding.
    np.testing.assert_allclose(on_eight[0], on_one[0], rtol=2e-6)
    np.testing.assert_allclose(on_eight, on_one, rtol=1e-4)


def test_microbatches_give_the_losses_of_the_whole_batch(data_dir, stepped):
    run, examples = tiny_run.make_run(data_dir, num_steps=60, microbatch_size=2)
    in_parts = tiny_run.losses(run, examples, loop.make_train_step(run), 4)
    np.testing.assert_allclose(
        in_parts, tiny_run.losses(stepped.run, stepped.examples, stepped.step, 4), rtol=1e-4
    )  # as for eight devices
    batch = loop.device_batch(stepped.batch, run.config.model.targets)
    params = loop.create_state(run).params
    whole, parts = (loop.make_predict_step(one)(params, batch) for one in (stepped.run, run))
    np.testing.assert_allclose(parts, whole, rtol=1e-5)


def test_validation_metrics_are_in_physical_units_and_count_every_star_once(stepped):
    """A network that is off by known amounts, 5 K more for every second star."""
    stars = stepped.examples["calibration"].stack()
    order = {tuple(pair): i for i, pair in enumerate(loop.split_ids(stars["object_id"]).tolist())}
    errors = np.array([100.0, 0.1, -0.2]) + np.outer(np.arange(10) % 2, [5.0, 0, 0])

    def predict_step(params, batch):
        rows = [order[tuple(pair)] for pair in batch["star"].reshape(-1, 2).tolist()]
        return (batch["labels"].reshape(-1, 3) + errors[rows])[None]

    validated = loop.validate(stepped.run, predict_step, None)
    teff, logg, fe_h = (validated["labels"][target] for target in ("teff", "logg", "fe_h"))
    np.testing.assert_allclose([teff["offset"], teff["std"], teff["mad_std"]], [102.5, 2.5, 1.4826 * 2.5], rtol=1e-4)
    np.testing.assert_allclose([logg["offset"], fe_h["offset"]], [0.1, -0.2], rtol=1e-4)
    assert validated["truth"] == validated["labels"]
    assert validated[checkpoints.SCORE] == pytest.approx(2.5 / stepped.run.label_scaling.std[0] / 3, rel=1e-3)


def test_without_a_calibration_split_the_validation_stars_choose_and_nothing_is_fitted_to_them(
    tmp_path, monkeypatch, capsys
):
    stars = {"train": tiny_dataset.make_stars(80, 1), "validation": tiny_dataset.make_stars(60, 2)}
    tiny_dataset.write(tmp_path / "data", stars)
    run, examples = tiny_run.make_run(tmp_path / "data")
    assert set(examples) == {"train", "validation"}
    seen = []

    def predict_step(params, batch):
        seen.extend(batch["star"].reshape(-1, 2).tolist())
        return batch["labels"]

    assert loop.validate(run, predict_step, None)[checkpoints.SCORE] == 0
    assert {tuple(pair) for pair in seen} == set(map(tuple, loop.split_ids(stars["validation"]["object_id"]).tolist()))
    tiny_run.save_untrained(tmp_path / "data", tmp_path / "run")
    monkeypatch.setattr(loop, "run_from", lambda run, records: None)
    network = loop.train(tiny_run.make_config(), tmp_path / "run", tmp_path / "data")
    assert network.sidecar["checkpoint_chosen_by"] == "validation"
    assert "validation split" in repr(network)
    assert (network.error_calibration, network.training_domain) == (None, None)
    said = capsys.readouterr().out
    assert "has no calibration split: the best checkpoint is chosen by the validation stars" in said
    assert "errors are not calibrated" in said
    tiny_dataset.write(tmp_path / "train_alone", {"train": stars["train"]})
    with pytest.raises(TrainingError, match="has neither calibration nor validation stars"):
        tiny_run.make_run(tmp_path / "train_alone")


def test_predictions_that_are_not_finite_are_refused(stepped):
    with pytest.raises(TrainingError, match=r"not finite: lower optimizer\.learning_rate"):
        loop.validate(stepped.run, lambda _, batch: batch["labels"] + np.inf, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 41}, "40 training stars, fewer than batch_size = 41"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"microbatch_size": 3}, "microbatch_size = 3 must divide the 8 stars"),
        ({"model__remat": "everything"}, "remat = 'everything' must be one of nothing, dots, blocks"),
        ({"num_steps": 0, "num_epochs": 0.0}, "both 0"),
        ({"dataset__bands": "griz"}, "have bands uvgriz, the config asks for griz"),
        ({"model__targets": ("age",)}, "different labels of teff, logg, fe_h"),
        ({"model__num_heads": (3, 2)}, "3 heads"),
        ({"input__stamp_method": "log"}, "linear, whitened, asinh"),
        ({"augment__rotations": "some"}, "none, quarter, free"),
        ({"backbone_weights": "nowhere.pth"}, r"backbone_weights: nowhere\.pth is not there"),
        ({"optimizer__schedule": "constant"}, "staircase, warmup_cosine"),
        ({"optimizer__warmup_steps": 12}, "warmup_steps = 12 must be below the 12 steps"),
    ],
)
def test_contradictions_are_refused_before_any_work(data_dir, tmp_path, changes, message):
    with pytest.raises(TrainingError, match=message):
        loop.train(tiny_run.make_config(**changes), tmp_path / "run", data_dir)
    assert not (tmp_path / "run").exists()


def test_a_batch_that_the_devices_cannot_share_is_refused(data_dir, monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 3)
    with pytest.raises(TrainingError, match=r"batch_size = 8 is not divisible by the 3 devices .* multiple of 3"):
        open_run(as_training_config(tiny_run.make_config()), data_dir / "run", data_dir)


def test_a_dataset_that_is_not_prepared_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"python -m datasets\.build --config mock"):
        loop.train(tiny_run.make_config(), tmp_path / "run", tmp_path)


@pytest.mark.parametrize("name", ["logg", "parallax"])
def test_values_that_are_not_finite_are_refused_by_the_stars_name(tmp_path, name):
    train = tiny_dataset.make_stars(20, seed=1)
    train[name][[3, 5]] = np.nan
    folder = tiny_dataset.write(tmp_path, {"train": train, "calibration": tiny_dataset.make_stars(4, seed=2)})
    dataset = open_dataset(folder)
    with pytest.raises(TrainingError, match=f"2 training stars .* {name} .* object_id {train['object_id'][3]} first"):
        _ = Run(as_training_config(tiny_run.make_config()), dataset).scalings


def test_a_run_of_another_kind_is_not_continued(stepped):
    sidecar = json.loads(json.dumps(stepped.run.sidecar(4, [{}])))
    dataset = stepped.run.dataset

    def check(**changes):
        config = as_training_config(tiny_run.make_config(num_steps=60, **changes))
        check_same_run(sidecar, config, dataset, "runs/x")

    check()
    sidecar["dataset"]["stamps"] = {"sky": "cutout"}  # which older checkpoints did not store of the same dataset
    check()
    check(log_every_steps=7, checkpoint_every_steps=7, microbatch_size=4, model__remat="blocks")
    with pytest.raises(TrainingError, match=r"runs/x holds .*\n  - model.embed_dim: 8\n  \+ model.embed_dim: 16\n"):
        check(model__embed_dim=16)
    sidecar["dataset"]["fingerprint"] = "other"
    with pytest.raises(TrainingError, match=r"- data.fingerprint: other\n  \+ data.fingerprint: abc"):
        check()


def test_a_run_that_lacks_later_fields_is_continued_as_it_was(stepped):
    sidecar = json.loads(json.dumps(stepped.run.sidecar(4, [{}])))
    del sidecar["config"]["backbone_weights"]
    for name in ("dtype", "remat"):
        del sidecar["config"]["model"][name]
    del sidecar["config"]["microbatch_size"]
    check_same_run(sidecar, stepped.run.config, stepped.run.dataset, "runs/x")
    assert model_from_config(sidecar["config"]) == stepped.run.model
    config = as_training_config(tiny_run.make_config(num_steps=60, backbone_weights="a.pth"))
    with pytest.raises(TrainingError, match=r"runs/x holds .*\n  - backbone_weights: \n  \+ backbone_weights: a.pth\n"):
        check_same_run(sidecar, config, stepped.run.dataset, "runs/x")


@pytest.fixture
def weights_file(stepped, tmp_path):
    """Weights of the tiny backbone on three colours, with a classifier."""
    shapes = torch_state_shapes(dataclasses.replace(stepped.run.model.config.backbone, num_bands=3))
    shapes |= {"head.weight": (10, 16), "head.bias": (10,)}
    generator = np.random.default_rng(5)
    weights = {name: generator.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(weights, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors", weights


def assert_is_backbone(params, weights, config, atol=0.0):
    """The backbone's parameters are the file's, but for the first convolution, whose kernels the bands share."""
    for name, array in torch_from_cswin_params(params["backbone"], config.backbone).items():
        if name == "stage1_conv_embed.0.weight":
            np.testing.assert_allclose(array.sum(axis=1), weights[name].sum(axis=1), rtol=0, atol=1e-6)
        else:
            np.testing.assert_allclose(array, weights[name], rtol=0, atol=atol, err_msg=name)


def test_a_file_gives_the_backbone_and_nothing_else(data_dir, stepped, weights_file, tmp_path):
    path, weights = weights_file
    run, _ = tiny_run.make_run(data_dir, num_steps=60, backbone_weights=str(path))
    params = loop.create_state(run).params
    assert_is_backbone(params, weights, run.model.config)
    fresh = loop.create_state(stepped.run).params
    assert jax.tree.structure(params) == jax.tree.structure(fresh)
    for part in fresh.keys() - {"backbone"}:
        jax.tree.map(np.testing.assert_array_equal, params[part], fresh[part])
    config = as_training_config(tiny_run.make_config(model__embed_dim=16, backbone_weights=str(path)))
    with pytest.raises(TrainingError, match=r"(?s)backbone_weights: .*- embed_dim: 8\n  \+ embed_dim: 16"):
        open_run(config, tmp_path / "run", data_dir)


def test_a_training_starts_from_a_file_and_goes_on_without_it(data_dir, weights_file, tmp_path, monkeypatch):
    """Its steps are so short that the parameters stay where they were."""
    path, weights = weights_file
    config = tiny_run.make_config(num_steps=4, backbone_weights=str(path), optimizer__learning_rate=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "report_step", interrupt_at_step_3(loop.report_step))
        with pytest.raises(KeyboardInterrupt):
            loop.train(config, tmp_path / "run", data_dir)
    path.unlink()
    loop.train(config, tmp_path / "run", data_dir)
    trained = load(tmp_path / "run", "latest")
    assert trained.step == 4
    assert trained.sidecar["config"]["backbone_weights"] == str(path)
    assert_is_backbone(trained.params, weights, trained.model.config, atol=1e-6)
    (tmp_path / "new/checkpoints").mkdir(parents=True)  # as a run leaves it that ends before its first checkpoint
    with pytest.raises(TrainingError, match=r"weights\.safetensors is not there"):
        loop.train(config, tmp_path / "new", data_dir)


def interrupt_at_step_3(report_step):
    def report(run, log, step, *arguments):
        if step == 3:
            raise KeyboardInterrupt
        report_step(run, log, step, *arguments)

    return report


def test_epochs_may_be_fractions_and_steps_override_them(data_dir):
    lengths = {
        tiny_run.make_run(data_dir, num_steps=steps, num_epochs=epochs)[0].num_steps: (steps, epochs)
        for steps, epochs in ((0, 2.4), (0, 3.0), (7, 3.0))
    }
    assert list(lengths) == [12, 15, 7]  # an epoch is 40 // 8 = 5 steps


def test_a_variant_that_predicts_its_noise_learns_it(tmp_path):
    """The growth-curve variant: the loss of values and noise falls, and a resumed run would find its scalings again."""
    changes = {"model__growth_curve": True, "model__heteroscedastic": True, "model__pooling": "mean_attention"}
    tiny_dataset.write_stars(tmp_path, n_train=64)
    run, examples = tiny_run.make_run(tmp_path, num_steps=60, **changes)
    losses = tiny_run.losses(run, examples, loop.make_train_step(run), 30)
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1
    stored = json.loads(json.dumps(run.input_scaling.to_dict()))
    assert InputScaling.from_dict(stored) == run.input_scaling
    assert len(run.input_scaling.growth_center) == 3 * 11 + 6
