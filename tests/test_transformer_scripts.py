"""The transformer of the checkpoint guide: trained, used, published, and used again by those who download it."""

import json
import os
import re
import secrets
import shutil
import string
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import pytest

from hfmirror import errors
from hfmirror.checkpoints import writing
from hfmirror.checkpoints.reading import Checkpoint
from hfmirror.checkpoints.writing import Definition
from tests.support.clients import environment, run_python
from tests.support.mirror import Done, git

pytestmark = pytest.mark.heavy

SCRIPTS = Path(__file__).parents[1] / 'scripts'
FILES = [
    'README.md',
    'config.json',
    'encoder_decoder_transformer.py',
    'eval_results.json',
    'idx_to_vocab.json',
    'model.safetensors',
    'pytorch_model.bin',
    'requirements.txt',
    'training_args.json',
    'usage_example.py',
    'vocab.json',
]
REPO = 'local/shakespeare'


def run(script, *args, code=0, env=None, cwd=None, stdin=''):
    done = subprocess.run(
        [sys.executable, SCRIPTS / f'{script}.py', *map(str, args)],
        env={**os.environ, 'OMP_NUM_THREADS': '1', **(env or {})},
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    result = Done(done.returncode, done.stdout, done.stderr)
    assert result.code == code, f'{script} {args}: exit {result.code}\n{result.out}\n{result.err}'
    return result


def train(*args, **kwargs):
    return run('train_transformer', '--mode', 'train', '--steps', 3, *args, **kwargs)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The checkpoint of a model that has learned a little, and what training printed; not to be written to."""
    path = tmp_path_factory.mktemp('trained') / 'transformer_model.pth'
    done = run('train_transformer', '--mode', 'train', '--steps', 120, '--out', path)
    return path, done.out


class Published(NamedTuple):
    """A repository that only this file's tests look at: ``folder`` has what a stranger downloaded of it."""

    hub: object
    home: Path
    folder: Path
    out: str

    @property
    def card(self):
        return (self.folder / 'README.md').read_text('utf-8')


@pytest.fixture(scope='module')
def published(trained, shared_hub, tmp_path_factory):
    """The checkpoint, published once for all tests that only look at what became of it."""
    home = tmp_path_factory.mktemp('stranger')
    names = {f'GIT_{who}_{what}': 'ada' for who in ('AUTHOR', 'COMMITTER') for what in ('NAME', 'EMAIL')}
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    env = environment(shared_hub, home, HFMIRROR_HOME=str(home / 'hfmirror'), PATH=path, **names)
    where = ('--repo_name', REPO, '--folder', home / 'release')
    out = run('push_to_huggingface', '--model_path', trained[0], *where, env=env, cwd=home).out
    fetch = 'import huggingface_hub; print(huggingface_hub.snapshot_download("local/shakespeare", local_dir="got"))'
    return Published(shared_hub, home, Path(run_python(shared_hub, home, fetch, token='').strip()), out)


def as_stranger(published, *command, cwd):
    """Run a command as somebody without a token who has nothing but what is in ``cwd``."""
    env = environment(published.hub, published.home, token='', OMP_NUM_THREADS='1')
    env['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{env["PATH"]}'
    done = subprocess.run(
        [*map(str, command)], env=env, cwd=cwd, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, f'{command}\n{done.stdout}\n{done.stderr}'
    return done.stdout


@pytest.fixture
def checkpoint(trained, tmp_path):
    """A copy of the checkpoint in the working directory, under the name that the scripts expect."""
    return Path(shutil.copy(trained[0], tmp_path))


@pytest.fixture
def online(hub):
    """The environment in which ``hub`` is the Hub, and its user is known."""
    return {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token}


@pytest.fixture
def push(checkpoint, online):
    """Run push_to_huggingface.py for the repository local/shakespeare."""

    def push(*args, env=None, **kwargs):
        where = () if '--repo_name' in args else ('--repo_name', 'shakespeare', '--username', 'local')
        return run('push_to_huggingface', *where, *args, env={**online, **(env or {})}, **kwargs)

    return push


def loaded(path):
    import torch

    return torch.load(path, map_location='cpu', weights_only=True)


# -- training and use


def test_training_learns(trained):
    accuracy = float(re.search(r'eval_accuracy: (\S+)', trained[1])[1])
    assert accuracy > 0.25  # one in thirty by chance


def test_checkpoint_is_plain_values_and_complete(trained):
    assert sorted(loaded(trained[0])) == [
        'config',
        'idx_to_vocab',
        'metrics',
        'model_state_dict',
        'training_args',
        'vocab',
    ]


def test_same_seed_makes_the_same_model(tmp_path):
    for name in ('a.pth', 'b.pth'):
        train('--out', name)
    assert (tmp_path / 'a.pth').read_bytes() == (tmp_path / 'b.pth').read_bytes()


def test_other_seed_makes_another_model(tmp_path):
    train('--out', 'a.pth')
    train('--out', 'b.pth', '--seed', 1)
    assert (tmp_path / 'a.pth').read_bytes() != (tmp_path / 'b.pth').read_bytes()


def test_text_that_is_given_is_learned(tmp_path):
    (tmp_path / 'text.txt').write_text('Ünd so wëiter. ' * 100, 'utf-8')
    train('--text', 'text.txt')
    assert {'Ü', 'ë', '.'} < set(loaded(tmp_path / 'transformer_model.pth')['vocab'])


@pytest.mark.parametrize(
    ('content', 'said'), [(b'too short', 'at least 288 are needed'), (b'\xff\xfe', 'UTF-8')]
)
def test_text_that_cannot_be_learned_is_refused(tmp_path, content, said):
    (tmp_path / 'text.txt').write_bytes(content)
    assert said in train('--text', 'text.txt', code=2).err


@pytest.mark.skipif(sys.platform == 'win32', reason='modes are of other systems')
def test_others_may_read_the_checkpoint(checkpoint):
    train()
    assert checkpoint.stat().st_mode & 0o777 == 0o644


def test_checkpoint_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / 'file').write_text('')
    done = train('--out', 'file/model.pth', code=2)
    assert 'file/model.pth: cannot be written' in done.err
    assert 'step' not in done.err


@pytest.mark.parametrize('script', ['train_transformer', 'push_to_huggingface'])
def test_without_torch_the_way_to_install_it_is_told(script):
    args = ('--mode', 'train') if script == 'train_transformer' else ('--repo_name', REPO)
    program = (
        'import runpy, sys; sys.modules["torch"] = None; sys.path.insert(0, sys.argv[1]); '
        'path = sys.argv[1] + "/" + sys.argv[2] + ".py"; del sys.argv[:2]; runpy.run_path(path, run_name="__main__")'
    )
    done = subprocess.run(
        [sys.executable, '-c', program, SCRIPTS, script, *args],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert 'pip install torch safetensors' in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('temperature', ['nan', 'inf', '-inf', '-1'])
def test_temperature_that_is_none_is_refused(checkpoint, temperature):
    done = run('train_transformer', '--mode', 'generate', '--temperature', temperature, code=2)
    assert 'is no temperature' in done.err


@pytest.mark.parametrize('temperature', ['1e-320', '1e-6', '1e300'])
def test_any_other_temperature_is_taken(checkpoint, temperature):
    run('train_transformer', '--mode', 'generate', '--temperature', temperature, '--length', 9)


def test_measuring_again_gives_what_training_gave(checkpoint, trained):
    again = run('train_transformer', '--mode', 'test').out
    assert [line for line in trained[1].splitlines() if line.startswith('eval_')] == again.splitlines()


def test_generated_text_goes_on_after_the_prompt(checkpoint):
    out = run('train_transformer', '--mode', 'generate', '--prompt', 'The night', '--length', 100).out
    assert out.startswith('The night')
    assert len(out) == len('The night') + 100 + 1


@pytest.mark.parametrize('prompt', ['', '漢字', 'x' * 500])
def test_any_prompt_is_taken(checkpoint, prompt):
    out = run('train_transformer', '--mode', 'generate', '--prompt', prompt, '--length', 10).out
    assert len(out) == len(prompt) + 11


def test_generating_without_a_checkpoint_says_what_is_missing():
    done = run('train_transformer', '--mode', 'generate', code=2)
    assert 'transformer_model.pth: no such file' in done.err


# -- the repository


def test_repository_has_all_files(published):
    found = {path.name for path in published.folder.iterdir() if path.is_file()}
    assert sorted(found) == ['.gitattributes', *FILES]


def test_result_names_the_address(published):
    assert published.out.splitlines()[-1] == f'{published.hub.endpoint}/{REPO}'


def test_loading_as_the_document_says_works(published, tmp_path):
    shutil.copy(SCRIPTS / 'encoder_decoder_transformer.py', tmp_path)
    (tmp_path / 'load.py').write_text(
        """
from huggingface_hub import hf_hub_download

model_path = hf_hub_download("local/shakespeare", "pytorch_model.bin")
config_path = hf_hub_download("local/shakespeare", "config.json")
vocab_path = hf_hub_download("local/shakespeare", "vocab.json")
import torch
import json
from encoder_decoder_transformer import Transformer

with open(config_path) as f:
    config = json.load(f)

with open(vocab_path) as f:
    vocab = json.load(f)

model = Transformer(**config)

checkpoint = torch.load(model_path, map_location="cpu")
model.load_state_dict(checkpoint["model_state_dict"])

model.eval()
print(len(vocab) == config["vocab_size"])
"""
    )
    assert as_stranger(published, sys.executable, 'load.py', cwd=tmp_path) == 'True\n'


@pytest.fixture
def example(published, tmp_path):
    """A fresh folder with usage_example.py and nothing else."""
    folder = tmp_path / 'fresh'
    folder.mkdir()
    shutil.copy(published.folder / 'usage_example.py', folder)
    return folder


def test_example_runs_as_it_stands_in_a_fresh_folder(published, example):
    printed = as_stranger(published, sys.executable, 'usage_example.py', cwd=example)
    assert printed.startswith('The ')
    assert len(printed) == len('The ') + 200 + 1


def test_example_takes_prompt_length_and_version(published, example):
    options = ('My heart', '--length', '20', '--temperature', '0', '--revision', 'v0.1.0')
    printed = as_stranger(published, sys.executable, 'usage_example.py', *options, cwd=example)
    assert printed.startswith('My heart')
    assert len(printed) == len('My heart') + 20 + 1


@pytest.mark.parametrize('temperature', ['nan', 'inf', '-1'])
def test_example_refuses_a_temperature_that_is_none(tmp_path, temperature):
    program = writing.usage_example(REPO, Definition(SCRIPTS / 'encoder_decoder_transformer.py', Namespace))
    command = [sys.executable, '-c', program, f'--temperature={temperature}']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"argument --temperature: invalid temperature value: '{temperature}'" in done.stderr


def test_example_leaves_folder_and_cache_of_downloads_clean(published, example):
    as_stranger(published, sys.executable, 'usage_example.py', cwd=example)
    assert list(example.iterdir()) == [example / 'usage_example.py']
    assert list((published.home / 'hf').rglob('__pycache__')) == []


def test_snippets_of_the_card_run(published, tmp_path):
    python = re.findall(r'```python\n(.*?)```', published.card, re.DOTALL)[:2]
    (tmp_path / 'load.py').write_text('\n'.join(python))
    assert as_stranger(published, sys.executable, 'load.py', cwd=tmp_path).strip()


def test_card_tells_metrics_and_training(published):
    for word in ('eval_accuracy', 'learning_rate', 'encoder-decoder', '## Generate text'):
        assert word in published.card


def test_configuration_is_the_arguments_of_the_model(published, trained):
    assert json.loads((published.folder / 'config.json').read_bytes()) == loaded(trained[0])['config']


def test_weights_are_those_of_the_checkpoint(published, trained):
    import torch

    ours = loaded(trained[0])['model_state_dict']
    theirs = loaded(published.folder / 'pytorch_model.bin')['model_state_dict']
    assert list(theirs) == list(ours)
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_both_weight_files_hold_the_same(published):
    import torch
    from safetensors.torch import load_file

    state = loaded(published.folder / 'pytorch_model.bin')['model_state_dict']
    safe = load_file(published.folder / 'model.safetensors')
    assert set(state) - set(safe) == {'output.weight'}
    assert all(torch.equal(state[name], safe[name]) for name in safe)


def test_tied_weights_come_back_from_safetensors(published, tmp_path):
    (tmp_path / 'load.py').write_text(
        """
import json, sys
sys.path.insert(0, sys.argv[1])
from encoder_decoder_transformer import Transformer
from safetensors.torch import load_model

model = Transformer(**json.load(open(sys.argv[1] + '/config.json')))
load_model(model, sys.argv[1] + '/model.safetensors')
print(model.output.weight is model.letters.weight)
"""
    )
    assert as_stranger(published, sys.executable, '-B', 'load.py', published.folder, cwd=tmp_path) == 'True\n'


def test_vocabularies_are_each_other_turned_round(published):
    vocab = json.loads((published.folder / 'vocab.json').read_bytes())
    turned = json.loads((published.folder / 'idx_to_vocab.json').read_bytes())
    assert {token: int(index) for index, token in turned.items()} == vocab


def test_training_arguments_tell_settings_and_no_path(published):
    told = json.loads((published.folder / 'training_args.json').read_bytes())
    assert told['max_steps'] == 120
    assert not any('/' in value for value in told.values() if isinstance(value, str))


def test_requirements_name_what_the_example_imports(published):
    lines = (published.folder / 'requirements.txt').read_text().splitlines()
    assert {re.split('[>=]', line)[0] for line in lines} >= {'torch', 'huggingface_hub'}


def test_same_checkpoint_makes_no_second_version(push, api):
    push()
    done = push()
    assert 'nothing to do' in done.out
    assert len(api.list_repo_refs(REPO).tags) == 1


def test_repository_that_is_there_gets_another_version(push, api, checkpoint):
    push()
    train('--seed', 7)
    push()
    assert sorted(tag.name for tag in api.list_repo_refs(REPO).tags) == ['v0.1.0', 'v0.2.0']


def test_name_that_a_data_set_has_is_told(push, api):
    api.create_repo(REPO, repo_type='dataset')
    assert 'there is no such model, but a dataset of that name' in push(code=5).err


def test_tag_and_message_are_the_ones_given(push, api):
    push('--tag', 'v3.0.0', '--commit_message', 'Longer training')
    assert [tag.name for tag in api.list_repo_refs(REPO).tags] == ['v3.0.0']
    assert api.list_repo_commits(REPO)[0].title == 'Longer training'


def test_private_repository_is_private(push, api):
    push('--private')
    assert api.model_info(REPO).private is True


def test_licence_that_was_put_into_the_folder_is_released(push, api, tmp_path):
    push()
    (tmp_path / 'transformer_model_release' / 'LICENSE').write_text('Free for all.\n')
    push()
    assert 'LICENSE' in api.list_repo_files(REPO)


def test_other_files_in_the_folder_stay_here(push, api, tmp_path):
    push()
    (tmp_path / 'transformer_model_release' / 'notes.txt').write_text('not for others\n')
    push()
    assert 'notes.txt' not in api.list_repo_files(REPO)


# -- whose it is, and the token


def test_name_of_the_user_is_taken_from_the_environment(push, api):
    push('--repo_name', 'shakespeare', env={'HF_USERNAME': 'local'})
    assert 'config.json' in api.list_repo_files(REPO)


def test_hub_is_asked_who_it_is_when_nobody_says(push, api):
    push('--repo_name', 'shakespeare')
    assert 'config.json' in api.list_repo_files(REPO)


def test_token_on_the_command_line_works_and_is_answered_with_a_safer_way(push, hub):
    done = push('--token', hub.token, env={'HF_TOKEN': ''})
    assert f'{hub.endpoint}/{REPO}' in done.out
    assert 'Safer are --token - (from stdin), HF_TOKEN' in done.err
    assert hub.token not in done.out + done.err


def test_token_is_read_from_stdin(push, hub):
    done = push('--token', '-', env={'HF_TOKEN': ''}, stdin=f'{hub.token}\n')
    assert f'{hub.endpoint}/{REPO}' in done.out
    assert 'warning' not in done.err


@pytest.mark.skipif(not Path('/proc/self/cmdline').exists(), reason='needs /proc')
def test_no_child_has_the_token_among_its_arguments(push, hub):
    seen = []

    def look():
        for path in Path('/proc').glob('[0-9]*/cmdline'):
            try:
                seen.append(path.read_bytes())
            except OSError:
                continue

    hub.when('*', look, times=1000)
    push('--token', hub.token, env={'HF_TOKEN': ''})
    with_token = [line for line in seen if hub.token.encode() in line]
    assert any(b'git' in line for line in seen)
    assert with_token
    assert all(b'push_to_huggingface.py' in line for line in with_token)


def test_without_a_token_the_release_is_stored_on_this_machine(push, tmp_path):
    done = push(env={'HF_TOKEN': ''})
    assert 'WARNING: HF_TOKEN not found in environment variables.' in done.err.splitlines()
    remote = tmp_path / 'hfmirror' / 'hub' / 'models' / f'{REPO}.git'
    assert set(FILES) < set(git('ls-tree', '--name-only', 'main', cwd=remote).split())


def test_that_there_is_no_token_is_shown_where_only_warnings_are(push):
    done = push(env={'HF_TOKEN': '', 'LOG_LEVEL': 'WARNING'})
    assert done.err == 'WARNING: HF_TOKEN not found in environment variables.\n'


def test_the_hub_by_name_without_a_token_is_an_error(push):
    assert 'hf auth login' in push('--remote', 'hub', env={'HF_TOKEN': ''}, code=4).err


def test_configuration_says_where_to_and_what_the_card_says(push, tmp_path):
    (tmp_path / 'config.yaml').write_text(
        'huggingface:\n  remotes: [local]\n  model_card:\n    license: mit\n    tags: [verses]\n'
    )
    done = push(env={'HF_TOKEN': ''})
    remote = tmp_path / 'hfmirror' / 'hub' / 'models' / f'{REPO}.git'
    card = git('show', 'main:README.md', cwd=remote)
    assert 'WARNING' not in done.err
    assert all(f'\n{line}\n' in card for line in ('license: mit', '- verses', '- encoder-decoder'))


# -- what fails


def test_wrong_token_is_told_with_its_exit_code(push):
    assert (
        'the token from HF_TOKEN was not accepted (HTTP 401)'
        in push(env={'HF_TOKEN': 'hf_' + 'x' * 34}, code=4).err
    )


def test_file_that_is_too_large_for_the_hub_is_told(push, hub):
    hub.fail('POST /info/lfs/objects/batch', 413, times=99)
    assert 'too large for the server (HTTP 413)' in push(code=1).err


def test_hub_that_cannot_be_reached_lets_the_release_wait(push, mirror):
    push(env={'HF_ENDPOINT': 'http://127.0.0.1:9'}, code=7)
    assert REPO in mirror.run('status', code=0).out


def test_what_waits_is_sent_by_the_next_push(push, hub, api):
    hub.fail('*', 503, times=99)
    push(code=7)
    hub.heal()
    push()
    assert 'config.json' in api.list_repo_files(REPO)


def test_checkpoint_that_would_run_code_is_refused_by_name(push, checkpoint):
    import torch

    torch.save({'model_state_dict': {}, 'args': Namespace(lr=1)}, checkpoint)
    done = push(code=8)
    assert 'loading it would run code: it holds a argparse.Namespace' in done.err
    assert 'vars(args)' in done.err


@pytest.mark.parametrize('content', [b'', b'no checkpoint', b'PK\x03\x04 half of one', b'\x80\x02]q\x00('])
def test_file_that_is_no_checkpoint_is_told(push, checkpoint, content):
    checkpoint.write_bytes(content)
    assert 'no checkpoint that torch can load' in push(code=1).err


def test_checkpoint_that_is_cut_short_is_told(push, checkpoint):
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    assert 'no checkpoint that torch can load' in push(code=1).err


def test_bare_weights_are_told_by_what_they_lack(push, checkpoint):
    import torch

    torch.save(loaded(checkpoint)['model_state_dict'], checkpoint)
    assert 'lacks model_state_dict, config, vocab' in push(code=1).err


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'d_model': 32}, 'letters.weight is [35, 64] in the checkpoint'),
        ({'wings': 2}, 'fails with the config of the checkpoint'),
        ({'heads': 5}, 'fails with the config of the checkpoint'),
    ],
)
def test_checkpoint_of_another_definition_is_refused(push, checkpoint, change, said):
    import torch

    contents = loaded(checkpoint)
    contents['config'] |= change
    torch.save(contents, checkpoint)
    assert re.sub(r'\[\d+, 64\]', '[35, 64]', push(code=1).err).count(said)


def test_secret_among_the_training_arguments_stops_the_push(push, checkpoint, hub):
    import torch

    contents = loaded(checkpoint)
    letters = string.ascii_letters + string.digits
    contents['training_args']['key'] = 'hf_' + ''.join(secrets.choice(letters) for _ in range(34))
    torch.save(contents, checkpoint)
    assert 'training_args.json' in push(code=8).err


# -- published after training


def test_training_publishes_when_asked(online, hub, api):
    done = train('--push_to_hf', '--hf_username', 'local', env=online)
    assert done.out.splitlines()[-1] == f'{hub.endpoint}/local/shakespeare-transformer'
    assert sorted(api.list_repo_files('local/shakespeare-transformer')) == ['.gitattributes', *FILES]


def test_all_flags_of_the_document_work(online, hub, api):
    train(
        '--push_to_hf',
        *('--hf_repo_name', 'my-shakespeare-transformer', '--hf_username', 'local'),
        *('--hf_token', hub.token, '--hf_private'),
        env={**online, 'HF_TOKEN': ''},
    )
    assert api.model_info('local/my-shakespeare-transformer').private is True


@pytest.mark.parametrize('env', [{'HF_TOKEN': 'hf_' + 'x' * 34}, {'HF_ENDPOINT': 'http://127.0.0.1:9'}])
def test_failing_push_does_not_fail_training(online, tmp_path, env):
    done = train('--push_to_hf', '--hf_username', 'local', env={**online, **env})
    assert (tmp_path / 'transformer_model.pth').is_file()
    assert 'push_to_huggingface.py --model_path transformer_model.pth' in done.err


def test_what_failed_is_published_as_the_warning_says(online, api, tmp_path):
    done = train('--push_to_hf', '--hf_username', 'local', env={**online, 'HF_TOKEN': 'hf_' + 'x' * 34})
    words = done.err.partition('Publish it later: python ')[2].split()
    run(Path(words[0]).stem, *words[1:], env=online)
    assert 'config.json' in api.list_repo_files('local/shakespeare-transformer')


def test_training_without_a_token_stores_the_release_here(mirror):
    done = train('--push_to_hf')
    assert 'WARNING: HF_TOKEN not found in environment variables.' in done.err.splitlines()
    assert 'v0.1.0' in mirror.run('list-versions', code=0).out


def test_wrong_token_is_told_before_training(online):
    done = train('--push_to_hf', '--hf_username', 'local', env={**online, 'HF_TOKEN': 'hf_' + 'x' * 34})
    before, _, _ = done.err.partition('step 3 of 3')
    assert 'was not accepted (HTTP 401)' in before
    assert 'The model will be trained all the same' in before


@pytest.mark.parametrize(
    ('env', 'config', 'code'),
    [({'HF_TOKEN': 'two words'}, '', 4), ({}, 'huggingface: {remote: [local]}\n', 2)],
    ids=['token', 'configuration'],
)
def test_what_keeps_it_from_being_published_is_refused_before_training(online, tmp_path, env, config, code):
    (tmp_path / 'config.yaml').write_text(config)
    train('--push_to_hf', env={**online, **env}, code=code)
    assert not (tmp_path / 'transformer_model.pth').exists()


def test_name_of_somebody_else_than_the_user_is_refused(push):
    assert 'Give one of them' in push('--repo_name', 'alice/x', '--username', 'bob', code=2).err


def test_name_that_cannot_be_is_refused_before_training(tmp_path):
    done = train('--push_to_hf', '--hf_repo_name', 'my model', code=2)
    assert 'blanks are not allowed' in done.err
    assert not (tmp_path / 'transformer_model.pth').exists()


# -- what is written


def written(state, folder):
    """Write a release with weights of any shape; the definition is not asked whether they fit."""
    checkpoint = Checkpoint(state, {}, {'a': 0})
    definition = Definition(SCRIPTS / 'encoder_decoder_transformer.py', Namespace)
    writing.write(checkpoint, definition, folder, repo_id=REPO)
    return folder


@pytest.mark.parametrize(
    'change',
    [
        lambda whole: {'a': whole[:2], 'b': whole[1:3]},
        lambda whole: {'a': whole, 'b': whole.T},
        lambda whole: {'a': whole[:, 1]},
        lambda whole: {'a': whole[:0], 'b': whole[:0], 'c': whole},
        lambda whole: {'a': whole.bfloat16(), 'b': whole.bool(), 'c': whole.sum()},
    ],
    ids=['overlapping', 'transposed', 'every other', 'empty', 'of other types'],
)
def test_weights_of_any_shape_are_the_same_in_both_files(tmp_path, change):
    import torch
    from safetensors.torch import load_file

    state = change(torch.arange(16.0).reshape(4, 4))
    folder = written(state, tmp_path / 'release')
    for found in (
        load_file(folder / 'model.safetensors'),
        loaded(folder / 'pytorch_model.bin')['model_state_dict'],
    ):
        assert {name: tensor.tolist() for name, tensor in found.items()} == {
            name: tensor.tolist() for name, tensor in state.items()
        }


@pytest.mark.skipif(sys.platform == 'win32', reason='modes are of other systems')
def test_both_weight_files_may_be_read_by_the_same_people(tmp_path, trained):
    folder = written(loaded(trained[0])['model_state_dict'], tmp_path / 'release')
    modes = {(folder / name).stat().st_mode for name in ('model.safetensors', 'pytorch_model.bin')}
    assert len(modes) == 1


def test_weights_that_safetensors_cannot_hold_are_told(tmp_path):
    import torch

    with pytest.raises(errors.SourceError, match=r'model\.safetensors: cannot hold these weights'):
        written({'a': torch.eye(3).to_sparse()}, tmp_path / 'release')


def test_same_checkpoint_makes_the_same_bytes(tmp_path, trained):
    state = loaded(trained[0])['model_state_dict']
    one, other = (written(state, tmp_path / name) for name in ('one', 'other'))
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


def test_what_a_killed_run_left_is_cleared_away(tmp_path, trained):
    state = loaded(trained[0])['model_state_dict']
    folder = written(state, tmp_path / 'release')
    (folder / '.new').mkdir()
    (folder / '.new' / 'pytorch_model.bin').write_bytes(b'half')
    written(state, folder)
    assert not (folder / '.new').exists()


def test_metrics_of_an_earlier_checkpoint_do_not_stay(tmp_path, trained):
    state = loaded(trained[0])['model_state_dict']
    folder = written(state, tmp_path / 'release')
    (folder / 'eval_results.json').write_text('{"eval_loss": 9.0}')
    written(state, folder)
    assert not (folder / 'eval_results.json').exists()


@pytest.mark.skipif(sys.platform == 'win32', reason='needs a limit for the size of files')
def test_full_disk_is_told_and_leaves_the_release_as_it_was(push, tmp_path):
    push()
    folder = tmp_path / 'transformer_model_release'
    before = (folder / 'pytorch_model.bin').read_bytes()
    limited = [
        'bash', '-c', 'ulimit -f 100; exec "$@"', '-', sys.executable, str(SCRIPTS / 'push_to_huggingface.py'),
        '--repo_name', REPO, '--remote', 'local',
    ]  # fmt: skip
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'cannot be written' in done.stderr
    assert (folder / 'pytorch_model.bin').read_bytes() == before


# -- as docs/checkpoints.md says

PROGRAMS = re.findall(
    r'```python\n(.*?)```', (SCRIPTS.parent / 'docs/checkpoints.md').read_text('utf-8'), re.DOTALL
)
MODEL = """
import torch

class Model(torch.nn.Linear):
    pass

def complete(model, vocab, prompt, *, length, temperature, seed):
    return '!' * length
"""


def test_checkpoint_of_ones_own_is_published(tmp_path, online, api):
    (tmp_path / 'save.py').write_text(PROGRAMS[0])
    shutil.copy(SCRIPTS / 'encoder_decoder_transformer.py', tmp_path)
    subprocess.run([sys.executable, 'save.py'], check=True)
    run('push_to_huggingface', '--repo_name', REPO, env=online)
    assert 'eval_results.json' not in api.list_repo_files(REPO)


def test_another_model_is_published_with_its_definition(tmp_path, online, api, hub):
    import torch

    (tmp_path / 'my_model.py').write_text(MODEL)
    state = torch.nn.Linear(2, 3).state_dict()
    whole = {'model_state_dict': state, 'config': {'in_features': 2, 'out_features': 3}, 'vocab': {'a': 0}}
    torch.save(whole, tmp_path / 'run7.pth')
    (tmp_path / 'publish.py').write_text(PROGRAMS[1].replace('me/run7', 'local/run7'))
    subprocess.run([sys.executable, 'publish.py'], env={**os.environ, **online}, check=True)
    example = api.hf_hub_download('local/run7', 'usage_example.py', local_dir=tmp_path / 'fresh')
    done = subprocess.run(
        [sys.executable, example, 'Hello', '--length', '3'],
        env={**os.environ, **online},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == 'Hello!!!\n'
