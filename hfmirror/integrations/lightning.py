"""How do the epochs of a Lightning ``Trainer`` become releases?

::

    from hfmirror.integrations.lightning import HfMirrorCallback

    trainer = Trainer(max_epochs=10, callbacks=[HfMirrorCallback('me/my-model', folder='out')])

Each release has ``last.ckpt``, from which ``trainer.fit(model, ckpt_path='out/last.ckpt')`` goes on.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from hfmirror.integrations.run import TrainingRun, training_run
from hfmirror.spool import Result

CHECKPOINT = 'last.ckpt'


class HfMirrorCallback(Callback):
    """Releases ``folder`` every so many epochs and at the end; ``terms`` are those of ``Terms``.

    A ``fast_dev_run`` releases nothing.
    """

    def __init__(
        self, repo_id: str | None = None, *, folder: str | Path = 'out', every_epochs: int = 1, **terms: Any
    ) -> None:
        self.run: TrainingRun = training_run(repo_id, folder=folder, **terms)
        self.every_epochs = max(1, every_epochs)

    @property
    def results(self) -> list[Result]:
        """What came of the releases so far, oldest first."""
        return self.run.results

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run:
            self.run.begin()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:
            return
        if trainer.is_global_zero:
            self.run.log(trainer.callback_metrics, trainer.global_step, trainer.current_epoch + 1)
        if (trainer.current_epoch + 1) % self.every_epochs == 0:
            with self._guarded(trainer):
                trainer.save_checkpoint(self.run.folder / CHECKPOINT)  # all processes together
                if trainer.is_global_zero:
                    self.run.checkpoint(trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:
            return
        with self._guarded(trainer):
            trainer.save_checkpoint(self.run.folder / CHECKPOINT)
        if trainer.is_global_zero:
            self.run.finish()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.is_global_zero and self.run.is_under_way:
            self.run.fail(exception)

    def _guarded(self, trainer: Trainer) -> AbstractContextManager[None]:
        # Of several processes one that goes on alone would have the others wait for it.
        return self.run.guarded() if trainer.world_size == 1 else nullcontext()
