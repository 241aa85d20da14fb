"""How do the epochs of ``model.fit`` of Keras become releases?

::

    from hfmirror.integrations.keras import HfMirrorCallback

    model.fit(x, y, epochs=10, callbacks=[HfMirrorCallback('me/my-model', folder='out')])

Each release has ``model.keras``, which ``keras.saving.load_model`` loads, with the state of the optimizer. Keras tells no
callback that a training has failed: what was handed over until then is released all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras.callbacks import Callback

from hfmirror.integrations.run import training_run
from hfmirror.spool import Result

MODEL = 'model.keras'


class HfMirrorCallback(Callback):
    """Releases ``folder`` every so many epochs and at the end; ``terms`` are those of ``Terms``, tags are ``epoch-3``."""

    def __init__(
        self, repo_id: str | None = None, *, folder: str | Path = 'out', every_epochs: int = 1, **terms: Any
    ) -> None:
        super().__init__()
        self.run = training_run(repo_id, folder=folder, **{'tag': 'epoch-{epoch}', **terms})
        self.every_epochs = max(1, every_epochs)

    @property
    def results(self) -> list[Result]:
        """What came of the releases so far, oldest first."""
        return self.run.results

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self.run.begin()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.run.log(logs or {}, epoch + 1, epoch + 1)
        if (epoch + 1) % self.every_epochs == 0:
            with self.run.guarded():
                self.model.save(self.run.folder / MODEL)
                self.run.checkpoint(epoch + 1)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        with self.run.guarded():
            self.model.save(self.run.folder / MODEL)
        self.run.finish()
