"""What has a ``transformers.Trainer`` written, and which of it is the model?"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hfmirror import errors
from hfmirror.integrations import curve
from hfmirror.spool import BESIDE

# Python 3.11.0 to 3.11.3 pickles an enum's member as a call of getattr, which the gate for pickles does not let through. So the
# file is left out there; resuming does without it.
NEVER = ('training_args.bin',) if sys.version_info < (3, 11, 4) else ()
# What only resuming needs, of torch, FSDP and DeepSpeed.
STATE = (
    *NEVER,
    'optimizer.pt',
    'optimizer.bin',
    'scheduler.pt',
    'scaler.pt',
    'rng_state*.pth',
    'optimizer_*/',
    'global_step*/',
    'latest',
    'zero_to_fp32.py',
)
STATE_FILE = 'trainer_state.json'
LAST = 'last-checkpoint'  # the folder for it, as hub_strategy has it

_OWN_WORDS = (
    'README.md',
    'LICENSE',
    'LICENSE.md',
    'LICENSE.txt',
    'NOTICE',
)  # of a person, beside the checkpoints
_WORDS_MAX = 1024 * 1024  # bytes


def folder_of(args: Any) -> Path:
    return Path(args.output_dir)


def checkpoint_of(output_dir: Path, step: int) -> Path | None:
    """Return the folder of a step's checkpoint, of a hyperparameter search too; None when it is not there."""
    name = f'checkpoint-{step}'
    if (output_dir / name).is_dir():
        return output_dir / name
    found = [path for path in output_dir.glob(f'*/{name}') if path.is_dir()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def is_sharded(args: Any) -> bool:
    """Return whether no process has the whole model, as with FSDP and DeepSpeed."""
    return bool(getattr(args, 'fsdp', None) or getattr(args, 'deepspeed', None))


def wait_for_others(args: Any) -> None:
    """Return when all processes have written their part of a checkpoint. All of them call this."""
    torch = sys.modules.get('torch')
    if torch is not None and args.world_size > 1 and torch.distributed.is_initialized():
        torch.distributed.barrier()


def written(output_dir: Path, state: Any, image: bytes | None) -> dict[str, bytes]:
    """Return what goes into the release of the finished model besides its files, {path: content}."""
    found = {name: output_dir / name for name in _OWN_WORDS}
    words = {
        name: path.read_bytes()
        for name, path in found.items()
        if path.is_file() and path.stat().st_size <= _WORDS_MAX
    }
    text = json.dumps(_finite(asdict(state)), indent=2, sort_keys=True) + '\n'
    return {**words, STATE_FILE: text.encode(), **({curve.PLOT: image} if image else {})}


def finite_state(folder: Path) -> dict[str, bytes]:
    """Return a checkpoint's state as JSON has it, {path: content}, when a training that diverged wrote NaN; else nothing."""
    try:
        text = (folder / STATE_FILE).read_text('utf-8')
        if not ('NaN' in text or 'Infinity' in text):
            return {}
        return {STATE_FILE: (json.dumps(_finite(json.loads(text)), indent=2, sort_keys=True) + '\n').encode()}
    except (OSError, ValueError):
        return {}


def _finite(value: Any) -> Any:
    """Return JSON values in which NaN and Infinity, which are none, are null."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
    return value


@contextmanager
def model_of(args: Any, state: Any, model: Any, processor: Any) -> Iterator[Path]:
    """Yield a folder with the finished model: the checkpoint that it is, or a folder that it is written to until then.

    Nothing of a person's is written over. Raises HfmirrorError when this process does not have the model.
    """
    output_dir = folder_of(args)
    best = state.best_model_checkpoint if args.load_best_model_at_end else None
    there = Path(best) if best else checkpoint_of(output_dir, state.global_step)
    if there is not None and there.is_dir():
        yield there
        return
    if is_sharded(args):
        raise errors.HfmirrorError(
            'it is spread over several processes, and the Trainer has not saved it. Use trainer.save_model() and hfmirror push.'
        )
    (output_dir / BESIDE).mkdir(parents=True, exist_ok=True)
    made = Path(mkdtemp(dir=output_dir / BESIDE))
    try:
        _save(model, made)
        if hasattr(processor, 'save_pretrained'):
            processor.save_pretrained(made)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        with suppress(OSError):
            made.parent.rmdir()


def _save(model: Any, folder: Path) -> None:
    if hasattr(model, 'save_pretrained'):
        model.save_pretrained(folder)
        return
    from safetensors.torch import save_model

    save_model(model, str(folder / 'model.safetensors'))
