"""The main job on a real model: release all-MiniLM-L6-v2, derive its half-precision version, get both back."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.folder import checksums
from tests.support.mirror import clone_with_lfs, git

MADE = {'README.md', '.gitattributes'}  # by hfmirror, around what the folder has


@pytest.fixture
def model(minilm, tmp_path):
    """A copy of the model's folder that may be written to."""
    return shutil.copytree(minilm, tmp_path / 'all-MiniLM-L6-v2')


def derive(model):
    """Replace the weights by their half-precision version; returns the metrics, which are really computed."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    path = model / 'model.safetensors'
    single = load_file(path)
    half = {name: w.astype(np.float16) if w.dtype == np.float32 else w for name, w in single.items()}
    errors = [np.abs(single[name] - half[name].astype(np.float32)).max() for name in half if half[name].size]
    path.unlink()
    save_file(half, path, metadata={'format': 'pt'})
    metrics = {'max_weight_error': float(max(errors)), 'size_bytes': path.stat().st_size}
    (model / 'eval_results.json').write_text(json.dumps(metrics))
    return metrics


@pytest.fixture
def weights(model):
    found = list(model.glob('*.safetensors'))
    assert [path.name for path in found] == ['model.safetensors']
    return found[0]


def card_of(mirror, tag, tmp_path):
    from huggingface_hub import ModelCard

    path = tmp_path / f'card-{tag}.md'
    path.write_bytes(mirror.files(tag)['README.md'])
    return ModelCard.load(path)


@pytest.mark.heavy
def test_both_versions_of_a_real_model_come_back_as_they_were(mirror, model, weights, tmp_path):
    mirror.push(model, '--tag', 'v1.0.0')
    full = checksums(model)
    metrics = derive(model)
    (done,) = mirror.push(model, '--bump', 'minor')
    half = checksums(model)
    assert done['version'] == 'v1.1.0'
    listed = mirror.run('list-versions', '--json', code=0).json
    assert [version['name'] for version in listed] == ['v1.1.0', 'v1.0.0']
    assert listed[0]['metrics']['max_weight_error'] == pytest.approx(metrics['max_weight_error'])
    assert listed[1]['size'] > 1.8 * listed[0]['size']
    mirror.run('verify', 'v1.1.0', model, '--content', code=0)
    for tag, expected in (('v1.0.0', full), ('v1.1.0', half)):
        mirror.run('pull', tag, '--to', tag, code=0)
        got = checksums(tmp_path / tag)
        assert {name for name in expected if got.get(name) != expected[name]} <= MADE
    mirror.assert_whole()


@pytest.mark.heavy
def test_the_card_of_a_real_model_tells_what_is_in_it(mirror, model, weights, tmp_path):
    from huggingface_hub import ModelCard

    own = ModelCard.load(model / 'README.md') if (model / 'README.md').is_file() else None
    mirror.push(model, '--tag', 'v1.0.0')
    card = card_of(mirror, 'v1.0.0', tmp_path)
    assert card.data.library_name == 'sentence-transformers'
    assert card.data.pipeline_tag == 'sentence-similarity'
    for part in ('22,713,728', 'F32', 'v1.0.0', 'model.safetensors'):
        assert part in card.content
    if own is not None:
        assert card.data.license == own.data.license
        assert card.data.tags == own.data.tags
        assert own.text.strip() in card.content
    mirror.run('card', model, '--check', code=0)


@pytest.mark.heavy
def test_a_person_with_git_lfs_gets_the_real_model(mirror, model, weights, tmp_path):
    mirror.push(model, '--tag', 'v1.0.0')
    clone = clone_with_lfs(mirror.remote, tmp_path / 'clone')
    got, expected = checksums(clone), checksums(model)
    assert {name for name in expected if got.get(name) != expected[name]} <= MADE
    assert git('status', '--porcelain', cwd=clone) == ''


def test_the_model_the_tests_share_is_not_written_to(mirror, minilm):
    before = {path: path.stat() for path in minilm.rglob('*')}
    mirror.push(minilm, '--tag', 'v1.0.0')
    after = {path: path.stat() for path in minilm.rglob('*')}
    assert {path: (s.st_mtime_ns, s.st_ino, s.st_size, s.st_nlink) for path, s in before.items()} == {
        path: (s.st_mtime_ns, s.st_ino, s.st_size, s.st_nlink) for path, s in after.items()
    }
