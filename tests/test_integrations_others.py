"""Lightning and Keras: each epoch is a release, from which a training goes on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.heavy

LIGHTNING = """
import sys, torch, lightning
from hfmirror.integrations.lightning import HfMirrorCallback

class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        loss = self.layer(batch).pow(2).mean()
        self.log('train_loss', loss)
        if 'fail' in sys.argv and self.current_epoch == 1:
            raise ValueError('diverged')
        return loss
    def validation_step(self, batch, index):
        self.log('val_loss', self.layer(batch).pow(2).mean())
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())

data = torch.utils.data.DataLoader(torch.randn(8, 4), batch_size=2)
released = HfMirrorCallback('me/tiny-model', remotes='local', keep=None)
trainer = lightning.Trainer(
    max_epochs=int(sys.argv[1]), callbacks=[released], accelerator='cpu', logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
try:
    trainer.fit(Model(), data, data, ckpt_path=sys.argv[2] if len(sys.argv) > 2 and 'fail' not in sys.argv else None)
finally:
    print([result.version for result in released.results], trainer.global_step)
"""

KERAS = """
import sys, numpy, keras
from hfmirror.integrations.keras import HfMirrorCallback

model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
model.compile('adam', 'mse', metrics=['mae'])
released = HfMirrorCallback('me/tiny-model', remotes='local', keep=None, every_epochs=2)
model.fit(numpy.ones((8, 4)), numpy.ones(8), epochs=4, verbose=0, callbacks=[released])
print([result.version for result in released.results])
"""


def python(tmp_path, code, *args, code_wanted=0):
    done = subprocess.run(
        [sys.executable, '-c', code, *map(str, args)],
        cwd=tmp_path,
        env={**os.environ, 'KERAS_BACKEND': 'torch', 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == code_wanted, done.stderr
    return done


def test_each_epoch_of_lightning_is_a_release(tmp_path, mirror):
    done = python(tmp_path, LIGHTNING, 2)
    assert "['step-4', 'step-8', 'v0.1.0'] 8" in done.stdout
    assert {'last.ckpt', 'training_curve.png', 'training_log.jsonl'} <= set(mirror.files('v0.1.0'))
    assert 'val&#95;loss' in mirror.files('v0.1.0')['README.md'].decode()


def test_a_lightning_training_goes_on_from_its_newest_checkpoint(tmp_path, mirror):
    python(tmp_path, LIGHTNING, 1)
    where = ('--repo', mirror.repo, '--remote', 'local')
    mirror.run('pull', 'latest-checkpoint', *where, '--to', tmp_path / 'fresh' / 'out', code=0)
    done = python(tmp_path / 'fresh', LIGHTNING, 2, 'out/last.ckpt')
    assert "['step-8', 'v0.2.0'] 8" in done.stdout


def test_a_lightning_training_that_fails_has_released_what_it_saved(tmp_path, mirror):
    done = python(tmp_path, LIGHTNING, 2, 'fail', code_wanted=1)
    assert 'ValueError: diverged' in done.stderr
    assert mirror.tags()[0] == 'step-4' and 'v0.1.0' not in mirror.tags()


def test_epochs_of_keras_are_releases(tmp_path, mirror):
    done = python(tmp_path, KERAS)
    assert "['epoch-2', 'epoch-4', 'v0.1.0']" in done.stdout
    assert 'model.keras' in mirror.files('epoch-2')
    assert '| `mae` |' in mirror.files('v0.1.0')['README.md'].decode()


def test_a_disk_that_is_full_does_not_stop_keras(tmp_path):
    done = python(
        tmp_path,
        KERAS.replace('model.fit', "(released.run.folder / 'model.keras').mkdir(parents=True)\nmodel.fit"),
    )
    assert "['v0.1.0']" in done.stdout
    assert done.stderr.count('warning: hfmirror:') == 1


def test_a_disk_that_is_full_does_not_stop_lightning(tmp_path):
    full = "def full(*_):\n    raise OSError(28, 'No space left on device')\ntrainer.save_checkpoint = full\ntry:"
    done = python(tmp_path, LIGHTNING.replace('try:', full), 2)
    assert "['v0.1.0'] 8" in done.stdout
    assert done.stderr.count('warning: hfmirror:') == 1


def test_a_trial_of_lightning_releases_nothing(tmp_path):
    done = python(tmp_path, LIGHTNING.replace('logger=False', 'logger=False, fast_dev_run=True'), 2)
    assert '[] 1' in done.stdout and not (tmp_path / 'out').exists()
