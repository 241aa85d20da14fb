"""Is what lies in a folder the finished result of a training, or is it still being written?

Trainers write for minutes, and are killed meanwhile. What is half there is told by what every format says of its own end;
no file is read whole.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hfmirror.facts import weights
from hfmirror.output import count

Kind = Literal['model', 'adapter', 'checkpoint']

_CONFIG, _ADAPTER, _STATE = 'config.json', 'adapter_config.json', 'trainer_state.json'
_OPTIMIZER = 'optimizer.pt'
_WEIGHTS = (
    *('.safetensors', '.bin', '.pt', '.pth', '.ckpt', '.gguf', '.onnx', '.h5', '.keras', '.msgpack'),
    '.distcp',  # of torch.distributed.checkpoint, whose list of contents, `.metadata`, is written last
)
_NOT_WEIGHTS = re.compile(r'training_args\.bin|(?:optimizer|scheduler|scaler|rng_state\w*)\.(?:pt|pth|bin)')
# The last but one is what rsync names a file while it copies it.
_PARTIAL = re.compile(
    r'(?:.*\.(?:tmp|temp|part|partial|incomplete|crdownload)|tmp-checkpoint-\d+'
    r'|\..+\.(?:safetensors|json|bin|pt|pth|ckpt|gguf|onnx|h5|keras|model|txt)\.[a-z0-9]{6}|\.~.*)',
    re.I,
)
_SHARD = re.compile(r'(.+)-(\d{5,6})-of-(\d{5,6})(\.\w+)')
_CHECKPOINT = re.compile(r'(?:checkpoint|global_step|step|epoch)[-_]?(\d{1,12})')
_DEEPSPEED = re.compile(r'global_step\d+')  # inside of a checkpoint it is a part of it
# Other files that end so are a person's, and may be lines of JSON.
_JSON = re.compile(
    r'(?:.*config|trainer_state|tokenizer|special_tokens_map|model_index|.*\.index|(?:eval|all|train)_results)\.json'
)
# Formats of archives, whose table of contents is their last part.
_ZIPPED = ('.pt', '.pth', '.bin', '.ckpt', '.keras')
_FOLDERS = 200  # of a pipeline such as diffusers', whose parts are in folders of their own
_JSON_MAX = 64 * 1024 * 1024  # bytes; the index of a model with a hundred thousand tensors has ten
_NOT_JSON = object()


class Look(NamedTuple):
    """What was seen of a folder. ``kind`` None: nothing that a training leaves. ``unfinished``: what is half written."""

    folder: Path
    kind: Kind | None
    unfinished: tuple[str, ...]

    @property
    def is_finished(self) -> bool:
        return self.kind is not None and not self.unfinished

    @property
    def reason(self) -> str:
        """Why it is not released, in one sentence."""
        if self.kind is None and not self.unfinished:
            return f'{self.folder}: no result of a training in it (no config.json, adapter_config.json or weights).'
        more = f' (and {count(len(self.unfinished) - 3, "more file")})' if len(self.unfinished) > 3 else ''
        return f'{self.folder}: half written: {"; ".join(self.unfinished[:3])}{more}.'


class Checkpoint(NamedTuple):
    """A folder such as ``checkpoint-500``. ``step`` is the number in its name."""

    step: int
    path: Path


def look(folder: Path) -> Look:
    """Return whether ``folder`` holds a finished result. Checkpoints in folders below it are looked at on their own.

    A folder that vanishes or cannot be read while it is looked at is unfinished, or nothing when it was never there.
    """
    unfinished, names, refused = list[str](), set[str](), None
    try:
        for place, files in _places(folder):
            names |= {name if place == folder else f'{place.name}/{name}' for name in files}
            unfinished += _unfinished(place, files, folder)
        unfinished += _missing_weights(folder, names)
    except FileNotFoundError as e:
        unfinished.append(f'{_shown(e, folder)} has vanished, or is a link to nothing')
    except OSError as e:
        refused = f'{_shown(e, folder)} cannot be read: {e.strerror or e}'
    kind = _kind(folder, names)
    if refused is not None:
        return Look(folder, kind, (*unfinished, refused))
    return Look(folder, kind, tuple(dict.fromkeys(unfinished)) if kind else ())


def _shown(failure: OSError, folder: Path) -> str:
    path = Path(str(failure.filename)) if failure.filename else folder
    return str(path.relative_to(folder)) if path != folder and path.is_relative_to(folder) else str(path)


def checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the checkpoints in ``folder``, by step; none when it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(Checkpoint(step, folder / name) for name in names if (step := step_of(name)) is not None)


def is_checkpoint_name(name: str) -> bool:
    return step_of(name) is not None


def step_of(name: str) -> int | None:
    """Return the number in the name of a checkpoint's folder, None for another name."""
    match = _CHECKPOINT.fullmatch(name)
    return int(match[1]) if match else None


def is_part_of_result(path: str) -> bool:
    """Return whether a file of that name is looked at: weights, what describes them, or what was half written."""
    name = path.rpartition('/')[2]
    return bool(_is_weights(name) or _JSON.fullmatch(name.lower()) or _PARTIAL.fullmatch(name))


def _places(folder: Path) -> Iterator[tuple[Path, dict[str, os.DirEntry[str]]]]:
    """Yield (folder, its files) of the folder and of those directly below it, without its checkpoints."""
    files, below = _listing(folder)
    yield folder, files
    inside = is_checkpoint_name(folder.name)
    for name in sorted(below)[:_FOLDERS]:
        is_part = inside and _DEEPSPEED.fullmatch(name)
        if is_part or not (is_checkpoint_name(name) or name.startswith('.')):
            yield folder / name, _listing(folder / name)[0]


def _listing(folder: Path) -> tuple[dict[str, os.DirEntry[str]], list[str]]:
    """Return the files of a folder, and the names of the folders in it."""
    files, below = {}, []
    with os.scandir(folder) as found:
        for entry in found:
            # A folder that is being written as a whole stands among the files, to be named.
            if entry.is_dir(follow_symlinks=False) and not _PARTIAL.fullmatch(entry.name):
                below.append(entry.name)
            else:
                files[entry.name] = entry
    return files, below


def _kind(folder: Path, names: set[str]) -> Kind | None:
    """Return what it is. A state beside a model is no checkpoint: a Trainer leaves it at the end, too."""
    if not ({_CONFIG, _ADAPTER, 'model_index.json'} & names or any(map(_is_weights, names))):
        return None
    if is_checkpoint_name(folder.name) or {_STATE, _OPTIMIZER} <= names:
        return 'checkpoint'
    return 'adapter' if _ADAPTER in names else 'model'


def _is_weights(name: str) -> bool:
    base = name.rpartition('/')[2].lower()
    return base.endswith(_WEIGHTS) and not _NOT_WEIGHTS.fullmatch(base)


def _unfinished(place: Path, files: Mapping[str, os.DirEntry[str]], folder: Path) -> Iterator[str]:
    """Yield a sentence for each file of one folder that is half written, or missing."""
    shown = {name: str((place / name).relative_to(folder)) for name in files}
    for name, entry in sorted(files.items()):
        if _PARTIAL.fullmatch(name):
            yield f'{shown[name]} is being written'
        elif fault := _fault(place / name, entry):
            yield f'{shown[name]} {fault}'
    yield from _missing_shards(files)
    for name in sorted(files):
        if name.endswith('.index.json'):
            yield from _against_index(place, name)
    yield from _missing_parts(place, files)


def _fault(path: Path, entry: os.DirEntry[str]) -> str | None:
    """Return what is wrong with one file, None when its end is where it says."""
    name = path.name.lower()
    if not (_JSON.fullmatch(name) or name.endswith(_WEIGHTS)):
        return None
    found = entry.stat()
    if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
        return 'is no file'
    if _JSON.fullmatch(name):
        return 'is cut short' if _json(path) is _NOT_JSON else None
    if found.st_size == 0:
        return 'is empty'
    if name.endswith('.safetensors') and not weights.is_whole(path):
        return 'is cut short'
    if name.endswith(_ZIPPED) and _is_cut_archive(path):
        return 'is cut short'
    return None


def _json(path: Path) -> Any:
    """Return the value of a JSON file, ``_NOT_JSON`` when it is cut short; of one too large to be read only the end is looked at."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        return _NOT_JSON
    size = found.st_size
    if size > _JSON_MAX:
        with path.open('rb') as file:
            file.seek(size - 1024)
            return {} if file.read().rstrip().endswith((b'}', b']')) else _NOT_JSON
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return _NOT_JSON


def _is_cut_archive(path: Path) -> bool:
    with path.open('rb') as file:
        return file.read(4) == b'PK\x03\x04' and not zipfile.is_zipfile(file)


def _missing_shards(files: Mapping[str, object]) -> Iterator[str]:
    """Yield the shards that the numbers of the others promise."""
    sets: dict[tuple[str, str, str], set[int]] = {}
    for name in files:
        if match := _SHARD.fullmatch(name):
            sets.setdefault((match[1], match[3], match[4]), set()).add(int(match[2]))
    for (stem, total, suffix), numbers in sorted(sets.items()):
        there = sum(number <= int(total) for number in numbers)
        if there < int(total):
            yield f'{stem}-*-of-{total}{suffix}: {there} of {int(total)} shards are there'


def _against_index(place: Path, name: str) -> Iterator[str]:
    """Yield what an index (``model.safetensors.index.json``) names and the folder does not have."""
    index = _json(place / name)
    mapped = index.get('weight_map') if isinstance(index, dict) else None
    if not isinstance(mapped, dict):
        return
    shards: dict[str, list[str]] = {}
    for tensor, shard in mapped.items():
        shards.setdefault(str(shard), []).append(tensor)
    for shard, tensors in sorted(shards.items()):
        path = place / shard
        if path.parent != place or not path.is_file():
            yield f'{shard}, which {name} names, is missing'
        elif shard.endswith('.safetensors') and not weights.is_whole(path, tensors=tensors):
            yield f'{shard} lacks what {name} says is in it'


def _missing_parts(place: Path, files: Mapping[str, object]) -> Iterator[str]:
    """Yield what is written last into a folder, when it is not there yet."""
    if any(name.endswith('.distcp') for name in files) and '.metadata' not in files:
        yield f'{place.name}/.metadata is missing'
    if is_checkpoint_name(place.name) and 'training_args.bin' in files and _STATE not in files:
        yield f'{_STATE} is missing'


def _missing_weights(folder: Path, names: set[str]) -> Iterator[str]:
    """Yield what describes weights that are nowhere, neither beside it nor in a folder below."""
    if any(map(_is_weights, names)):
        return
    if _ADAPTER in names:
        yield f'the weights beside {_ADAPTER} are missing'
    elif _CONFIG in names and _describes_a_model(folder / _CONFIG):
        yield f'the weights beside {_CONFIG} are missing'
    elif 'model_index.json' in names:
        yield 'the weights that model_index.json is about are missing'


def _describes_a_model(path: Path) -> bool:
    found = _json(path)
    return isinstance(found, dict) and bool({'model_type', 'architectures'} & found.keys())
