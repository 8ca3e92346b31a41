"""The output of a training while it runs: a progress bar, a line after each validation, TensorBoard files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter
from tqdm import tqdm

from acf_jax.labels import LABELS
from acf_jax.training.run import Run


class RunLog:
    """Progress bar and TensorBoard of one training, from its first step on."""

    def __init__(self, workdir: str | Path, run: Run):
        self._batch_size, self._every_steps = run.config.batch_size, run.config.log_every_steps
        # What a killed run logged after its last checkpoint is logged again; purge_step hides the first version.
        self._writer = SummaryWriter(str(Path(workdir) / "tensorboard"), purge_step=run.first_step + 1)
        self._bar = tqdm(total=run.num_steps, initial=run.first_step, unit="step", dynamic_ncols=True, disable=None)
        self._postfix: dict[str, str] = {}
        self._compiled = False
        self.restart_clock()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()
        self._writer.close()

    def restart_clock(self) -> None:
        """Measure images per second from now: compiling and validating are not training."""
        self._started, self._n_steps = time.monotonic(), 0

    def step(self, step: int, loss: float, gradient_norm: float, learning_rate: float) -> None:
        """Log a step.

        Args:
            step: its number, from 1.
            loss: mean over the batch.
            gradient_norm: norm of the gradient of that mean.
            learning_rate: of this step.
        """
        self._bar.update()
        if not self._compiled:  # the first step is mostly compiling
            self._compiled = True
            self.restart_clock()
            return
        self._n_steps += 1
        if step % self._every_steps:
            return
        images_per_s = self._batch_size * self._n_steps / (time.monotonic() - self._started)
        self.restart_clock()
        scalars = {"loss": loss, "gradient_norm": gradient_norm, "learning_rate": learning_rate}
        for name, value in (scalars | {"images_per_s": images_per_s}).items():
            self._writer.add_scalar(f"train/{name}", value, step)
        self._postfix |= {"loss": f"{loss:.3f}", "images/s": f"{images_per_s:.0f}"}
        self._bar.set_postfix(self._postfix)

    def validation(self, step: int, epoch: float, validated: Mapping) -> None:
        """Log a validation.

        Args:
            step: the step after which it was made.
            epoch: the same in epochs.
            validated: what `loop.validate` returns.
        """
        for kind in ("labels", "truth"):
            for target, moments in validated.get(kind, {}).items():
                for name, value in moments.items():
                    self._writer.add_scalar(f"validation_{kind}/{target}_{name}", value, step)
        sigmas = [f"{target} {m['std']:.3g} {LABELS[target]}" for target, m in validated["labels"].items()]
        self._postfix["sigma"] = ", ".join(sigmas)
        self._bar.set_postfix(self._postfix)
        tqdm.write(f"step {step}, epoch {epoch:.2f}: validation sigma {', '.join(sigmas)}")
        self.restart_clock()
