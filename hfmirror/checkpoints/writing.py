"""How is a checkpoint written as a folder that anybody can load? As the files that document and Hub expect of a model.

=============================  ==========================================================================================
config.json                    the arguments that the model is made with, and nothing else: ``Transformer(**config)``
pytorch_model.bin              ``{'model_state_dict': …}``, loads with ``weights_only=True``
model.safetensors              the same weights; those that share memory are there once, see ``apart``
vocab.json, idx_to_vocab.json  {token: index} and {index: token}
training_args.json             how it was trained
eval_results.json              what it measured, when the checkpoint tells
requirements.txt               what usage_example.py needs
usage_example.py               downloads the repository's files and generates text
NAME.py                        the definition of the model
=============================  ==========================================================================================
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hfmirror import durable, errors
from hfmirror.checkpoints.reading import Checkpoint, library
from hfmirror.clonedir import locked

# weights_only is torch.load's default since 2.6: nobody runs a pickle because an argument was left out.
REQUIREMENTS = 'torch>=2.6\nsafetensors>=0.4.3\nhuggingface_hub>=0.26\n'
# What a person may put beside the written files, to be released with them.
OWN_FILES = ('README.md', 'LICENSE')

_MARK = '.hfmirror.json'
_NEW = '.new'
_RESULTS = 'eval_results.json'


class Definition(NamedTuple):
    """The Python file that defines the model, and the class in it that ``config`` is the arguments of.

    ``tags`` are what the Hub is to find the model by.
    """

    path: Path
    model: Any
    tags: Sequence[str] = ('pytorch',)

    @property
    def name(self) -> str:
        """The name to import it by."""
        return self.path.stem


def require_fits(checkpoint: Checkpoint, definition: Definition) -> None:
    """Raise SourceError unless the model, made from the checkpoint's ``config``, has exactly the checkpoint's weights.

    Otherwise nobody could load what is released. No memory is taken for the weights.
    """
    torch, name = library('torch'), definition.model.__name__
    try:
        with torch.device('meta'):
            model = definition.model(**checkpoint.config)
    except (TypeError, ValueError, ArithmeticError, AssertionError, RuntimeError) as e:
        raise errors.SourceError(
            f'{definition.path.name}: {name}(**config) fails with the config of the checkpoint: {e}. Train again, or '
            'take the definition that it was trained with.'
        ) from e
    expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in checkpoint.state.items()}
    if expected == found:
        return
    key = next(key for key in [*expected, *found] if expected.get(key) != found.get(key))
    raise errors.SourceError(
        f'model_state_dict: {key} is {_shape(found.get(key))} in the checkpoint and {_shape(expected.get(key))} in the '
        f'{name} of {definition.path.name}. Train again, or take the definition that it was trained with.'
    )


def _shape(shape: tuple[int, ...] | None) -> str:
    return 'not there' if shape is None else str(list(shape))


def names(definition: Definition) -> tuple[str, ...]:
    """Return the files of a release, in the order in which they are put in place."""
    return (
        'config.json',
        'pytorch_model.bin',
        'model.safetensors',
        'vocab.json',
        'idx_to_vocab.json',
        'training_args.json',
        _RESULTS,
        'requirements.txt',
        'usage_example.py',
        definition.path.name,
    )


def write(checkpoint: Checkpoint, definition: Definition, folder: Path, *, repo_id: str) -> None:
    """Write the release of a checkpoint, for the repository ``repo_id``, into ``folder``.

    Other files there stay. The new ones are complete before the first takes the place of an old one.
    Raises UsageError for a folder with files that was not written by this function, SourceError when model.safetensors
    cannot hold the weights.
    """
    _require_ours(folder)
    new = folder / _NEW
    folder.mkdir(parents=True, exist_ok=True)
    durable.write(folder / _MARK, b'{"made by": "hfmirror, from a checkpoint; made again at each push"}\n')
    with locked(folder / '.lock', str(folder)):
        shutil.rmtree(new, ignore_errors=True)  # of one that was killed
        new.mkdir()
        _write_all(checkpoint, definition, new, repo_id)
        durable.flush([*new.iterdir(), new])
        for name in names(definition):
            if (new / name).exists():
                os.replace(new / name, folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
        new.rmdir()
        durable.flush([folder])


def _require_ours(folder: Path) -> None:
    if not folder.exists() or (folder / _MARK).exists():
        return
    # One that was killed may have left nothing but half of the mark.
    if not folder.is_dir() or any(not path.name.startswith(f'.{_MARK}.') for path in folder.iterdir()):
        raise errors.UsageError(
            f'{folder}: is there already, and was not made from a checkpoint by hfmirror. Name another --folder.'
        )


def _write_all(checkpoint: Checkpoint, definition: Definition, new: Path, repo_id: str) -> None:
    _write_pickle(checkpoint.state, new / 'pytorch_model.bin')
    _write_safetensors(checkpoint.state, new / 'model.safetensors')
    # safetensors writes a file that only its owner may read.
    shutil.copymode(new / 'pytorch_model.bin', new / 'model.safetensors')
    _write_json(new / 'config.json', checkpoint.config)
    _write_json(new / 'vocab.json', checkpoint.vocab)
    _write_json(new / 'idx_to_vocab.json', checkpoint.idx_to_vocab)
    _write_json(new / 'training_args.json', checkpoint.training_args)
    if checkpoint.metrics:
        _write_json(new / _RESULTS, checkpoint.metrics)
    (new / 'requirements.txt').write_text(REQUIREMENTS, 'utf-8')
    (new / 'usage_example.py').write_text(usage_example(repo_id, definition), 'utf-8')
    shutil.copyfile(definition.path, new / definition.path.name)


def _write_json(path: Path, value: Any) -> None:
    # In ASCII: who loads it with open(path) may have any encoding, on Windows mostly not UTF-8.
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + '\n', 'ascii')


def usage_example(repo_id: str, definition: Definition) -> str:
    """Return a program that loads the model from the repository ``repo_id`` and generates text."""
    return _fill('usage_example.py.jinja', definition, repo_id=repo_id, repo_id_quoted=json.dumps(repo_id))


def card_section(definition: Definition) -> str:
    """Return what the card says about generating text, after it has said how to download the repository."""
    return _fill('checkpoint.md.jinja', definition)


def _fill(template: str, definition: Definition, **values: str) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader('hfmirror'),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # it is Python and Markdown
    )
    return environment.get_template(template).render(
        definition=definition.name, model=definition.model.__name__, **values
    )


def _write_pickle(state: Mapping[str, Any], path: Path) -> None:
    try:
        library('torch').save({'model_state_dict': state}, path)
    except RuntimeError as e:  # what torch makes of a full disk
        raise _no_room(path, e) from e


def _write_safetensors(state: Mapping[str, Any], path: Path) -> None:
    safetensors, failure = library('safetensors.torch'), library('safetensors').SafetensorError
    try:
        # No further metadata: safetensors writes it in any order, and the same weights would be another file each time.
        safetensors.save_file(apart(state), path, metadata={'format': 'pt'})
    except (KeyError, ValueError, RuntimeError) as e:
        raise errors.SourceError(
            f'{path.name}: cannot hold these weights: {e}. Save them as dense tensors of a usual type.'
        ) from e
    except failure as e:
        raise _no_room(path, e) from e


def _no_room(path: Path, failure: Exception) -> errors.HfmirrorError:
    reason = str(failure).partition('\n')[0][:200]
    return errors.HfmirrorError(
        f'{path}: cannot be written: {reason}. Free some space on that disk, or name another --folder.'
    )


def apart(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return {name: tensor} with tensors that share no memory: safetensors has none.

    Weights that are tied are the same tensor under two names: it is stored once, under the first of them, as
    safetensors' own ``save_model`` does it and ``load_model`` reads it. Tensors that share a part of their memory are
    copied.
    """
    kept: dict[tuple[Any, ...], str] = {}
    for name in sorted(state):
        mark = _memory(state[name]) if state[name].numel() else (name,)
        kept.setdefault(mark, name)
    users = Counter(mark[0] for mark in kept)
    return {name: _own(state[name], users[mark[0]]) for mark, name in kept.items()}


def _memory(tensor: Any) -> tuple[Any, ...]:
    """Return what differs between two tensors that are not the same; the first part stands for their memory."""
    return (
        tensor.untyped_storage().data_ptr(),
        tensor.storage_offset(),
        tuple(tensor.shape),
        tensor.stride(),
        tensor.dtype,
    )


def _own(tensor: Any, users: int) -> Any:
    tensor = tensor.detach()
    return tensor.clone() if users > 1 and tensor.is_contiguous() else tensor.contiguous()
