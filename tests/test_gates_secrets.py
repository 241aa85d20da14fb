"""Secrets are found by rule and line, examples are not, and nothing of a secret is told.

Every secret here is made up when the test runs: written out, it would be one to whoever scans this repository.
"""

from __future__ import annotations

import base64
import io
import json
import random
import string
import time
import tracemalloc

import pytest

from hfmirror.gates.secrets import scan

ALNUM = string.ascii_letters + string.digits
HEX = '0123456789abcdef'
BASE_32 = string.ascii_uppercase + '234567'


def lot(length, letters=ALNUM, seed=1):
    """Return so many letters drawn by lot, always the same ones."""
    return ''.join(random.Random(f'{seed} {length} {letters}').choices(letters, k=length))


HF = 'hf' + '_' + lot(34, string.ascii_letters)
WANDB = lot(40, HEX)
PEM = '-----BEGIN ' + 'PRIVATE KEY-----\n' + lot(64) + '\n' + lot(64) + '\n-----END PRIVATE KEY-----\n'
SECRETS = [
    ('huggingface-token', HF),
    ('huggingface-token', 'api_org' + '_' + lot(34, string.ascii_letters)),
    ('huggingface-token', 'hf_oauth' + '_eyJ' + lot(20) + '.eyJ' + lot(60) + '.' + lot(40)),
    ('github-token', 'ghp' + '_' + lot(36)),
    ('github-token', 'ghs' + '_' + lot(36)),
    ('github-token', 'github' + '_pat_' + lot(22) + '_' + lot(59)),
    ('gitlab-token', 'glpat' + '-' + lot(20)),
    ('aws-access-key', 'AKIA' + lot(16, BASE_32)),
    ('aws-access-key', 'aws_secret_access_key' + ' = ' + lot(40, ALNUM + '/+')),
    ('aws-access-key', '"SecretAccess' + 'Key": "' + lot(40, ALNUM + '/+') + '"'),
    ('aws-access-key', '"AWS_SECRET_ACCESS_KEY"' + ': "' + lot(40, ALNUM + '/+') + '"'),
    ('gcp-api-key', 'AIza' + lot(35)),
    ('gcp-service-account', '"private_key"' + ': "' + PEM.replace('\n', '\\n') + '"'),
    ('openai-key', 'sk-' + lot(20) + 'T3Blbk' + 'FJ' + lot(20)),
    ('openai-key', 'sk-' + 'proj-' + lot(74) + 'T3Blbk' + 'FJ' + lot(74)),
    ('openai-key', 'sk-' + 'svcacct-' + lot(60)),
    ('anthropic-key', 'sk-' + 'ant-api03-' + lot(93, ALNUM + '-_') + 'AA'),
    ('slack-token', 'xox' + 'b-' + lot(12, string.digits) + '-' + lot(13, string.digits) + '-' + lot(24)),
    ('slack-token', 'https://hooks.slack.com' + '/services/T' + lot(8, BASE_32) + '/B' + lot(8, BASE_32) + '/' + lot(24)),
    ('wandb-key', 'WANDB_API_KEY' + '=' + WANDB),
    ('wandb-key', f'wandb login --relogin {WANDB}'),
    ('wandb-key', f'wandb.login(key="{WANDB}")'),
    ('wandb-key', 'os.environ["WANDB_API_KEY"]' + f' = "{WANDB}"'),
    ('wandb-key', f'machine api.wandb.ai\n  login user\n  password {WANDB}'),
    ('wandb-key', 'wandb' + '_v1_' + lot(77)),
    ('private-key', PEM),
    ('private-key', PEM.replace('PRIVATE', 'OPENSSH PRIVATE')),
    ('private-key', PEM.replace('PRIVATE', 'RSA PRIVATE').replace('\n', '\nDEK-Info: AES-128-CBC,' + lot(32, HEX) + '\n\n', 1)),
    ('pypi-token', 'pypi' + '-AgEI' + lot(100)),
    ('url-password', 'https://ada:' + lot(12) + '@git.example.org/x.git'),
    ('url-password', 'extra-index-url = https://__' + 'x:' + lot(20) + '@pypi.corp/simple'),
    ('dotenv', 'MISTRAL_API_KEY' + '=' + lot(32)),
    ('dotenv', 'export DB_PASSWORD' + '="' + lot(24) + '"'),
]  # fmt: skip
EXAMPLES = [
    'hf_' + 'x' * 34,
    'hf_' + 'your_token_here',
    'hf_' + string.ascii_lowercase + 'ABCDEFGH',
    'hf_' + '*' * 34,
    'AKIA' + 'IOSFODNN7EXAMPLE',
    'aws_secret_access_key' + ' = wJalrXUtnFEMI/K7MDENG/bPxRfiCY' + 'EXAMPLEKEY',
    'sk-' + '...your-key',
    'sk-proj-' + 'your-openai-api-key-goes-here-and-is-quite-long',
    'sk-container-id-1 sk-toggleable__label-arrow sk-estimator-doc-link-fitted-and-more',
    'ghp_' + '0' * 36,
    'xoxb-' + 'your-slack-bot-token-here-please',
    '<token>',
    'HF_TOKEN=' + '${HF_TOKEN}',
    'WANDB_API_KEY=' + '$WANDB_API_KEY',
    f'{{"step": 1, "commit": "{WANDB}"}}',
    f'wandb: {{"git": {{"commit": "{WANDB}"}}}}',
    f'wandb run {WANDB} finished',
    f'"key": "{WANDB}"',
    '-----BEGIN ' + 'PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----',
    'https://user:' + 'password@example.org/',
    'https://user:' + '${TOKEN}@example.org/',
    'postgres://postgres:' + 'postgres@db/x',
    'http://localhost:8080/a@b',
    'https://huggingface.co/spaces/a/b/resolve/main/x.png?download=true',
    'PAD_TOKEN=' + '[PAD]',
    'CACHE_KEY=' + 'linux-x64-node-modules-v2',
    'MAX_TOKENS=2048',
    'task-' + lot(48),
    lot(200, string.ascii_letters),
    'model.layers.0.post_attention_layernorm.weight: model-00001-of-00002.safetensors',
    '|' + '-' * 80 + '|',
]


def rules(text, name='notes.txt'):
    content = text.encode() if isinstance(text, str) else text
    return [(found.line, found.rule) for found in scan(io.BytesIO(content), name)]


@pytest.mark.parametrize(('rule', 'text'), SECRETS)
def test_a_secret_is_found(rule, text):
    assert rule in {found for _, found in rules(f'first\n{text}\nlast\n')}


@pytest.mark.parametrize(('rule', 'text'), SECRETS)
def test_a_secret_in_json_is_found(rule, text):
    assert rules(json.dumps({'cell': f'first\n{text}\nlast'}))


@pytest.mark.parametrize('text', EXAMPLES)
def test_what_is_no_secret_is_not_found(text):
    assert rules(f'first\n{text}\nlast\n') == []


def test_the_line_is_told():
    assert rules(f'one\ntwo\n\n  token: {HF}\n') == [(4, 'huggingface-token')]


@pytest.mark.parametrize('before', ['', '=', '"', "'", '\\n', ' ', '>', '/', '%3D', '\x1b[31m', '-', '('])
def test_a_secret_is_found_after(before):
    assert rules(f'{before}{HF}') == [(1, 'huggingface-token')]


@pytest.mark.parametrize('before', ['a', 'x1', 'Z'])
def test_the_middle_of_a_word_is_no_secret(before):
    assert rules(before + HF) == []


def test_a_line_with_two_secrets_of_a_kind_is_told_once():
    assert rules(f'{HF} {HF}\n') == [(1, 'huggingface-token')]


def test_no_more_than_a_hundred_are_told():
    assert len(rules(f'{HF}\n' * 500)) == 100


def test_nothing_of_the_secret_is_in_the_finding():
    (found,) = scan(io.BytesIO(HF.encode()), 'a.txt')
    assert HF not in repr(found)
    assert HF[5:12] not in repr(found)


# -- files of settings


@pytest.mark.parametrize('name', ['prod.env', '.env', '.env.example', 'conf/.env.local', '.envrc', 'A.ENV'])
def test_a_short_password_in_a_dotenv_file_is_found(name):
    assert rules('HOST=db\nDB_' + 'PASSWORD=hunter22\n', name) == [(2, 'dotenv')]


@pytest.mark.parametrize(
    'line',
    [
        'API_KEY=',
        'API_KEY=your-key-here',
        'API_KEY=<key>',
        'API_KEY=${OTHER}',
        'TOKEN_FILE=/run/secrets/token',
        'SSL_KEY=/etc/ssl/key.pem',
        'PUBLIC_KEY=abc123def456',
        'MAX_TOKENS=100000',
        'PASSWORD=changeme',
        '# PASSWORD',
    ],
)
def test_what_is_no_secret_in_a_dotenv_file_is_not_found(line):
    assert rules(line, 'prod.env') == []


@pytest.mark.parametrize('value', ['"hunter22"', "'hunter22'", 'hunter22 # note', ' hunter22'])
def test_values_of_a_dotenv_file_may_be_quoted(value):
    assert rules('export DB_' + f'PASSWORD={value}\n', 'prod.env') == [(1, 'dotenv')]


def test_a_password_in_a_netrc_is_found():
    assert rules('machine x\nlogin ada\n' + 'password hunter22\n', '.netrc') == [(3, 'netrc')]


# -- large files and other than text


@pytest.mark.parametrize('shift', [-2100, -2048, -300, -256, -40, -20, -1, 0, 1, 20, 100])
def test_a_secret_where_two_blocks_meet_is_found_once(shift):
    place = 1024 * 1024 + shift
    text = (
        (b'line\n' * (place // 5)).ljust(place - 1, b'.') + b'\n' + HF.encode() + b'\n' + b'word ' * 500_000
    )
    assert rules(text) == [(text[: text.index(b'hf_')].count(b'\n') + 1, 'huggingface-token')]


@pytest.mark.parametrize(
    'rule', ['wandb-key', 'private-key', 'url-password', 'gcp-service-account', 'dotenv']
)
@pytest.mark.parametrize('shift', [-2048, -100, -50, -10, 0])
def test_what_stands_before_a_secret_may_be_in_another_block(rule, shift):
    secret = next(text for name, text in SECRETS if name == rule).encode()
    text = (b'word ' * 300_000)[: 1024 * 1024 + shift - 1] + b'\n' + secret + b'\n' + b'word ' * 300_000
    assert [found for _, found in rules(text)] == [rule]


def test_a_commit_id_cut_by_a_block_is_no_key():
    for shift in range(0, 80, 7):
        start = (b'word ' * 300_000)[: 1024 * 1024 - 2048 - shift]
        assert rules(start + b'\nwandb key: ' + lot(64, HEX).encode() + b'\n' + b'word ' * 300_000) == []


def test_a_token_in_a_small_pickle_is_found():
    import pickle

    assert rules(pickle.dumps({'hub_token': HF}), 'training_args.bin') == [(0, 'huggingface-token')]


@pytest.mark.parametrize('encoding', ['utf-16', 'utf-16-be', 'utf-16-le'])
def test_a_token_in_text_of_two_bytes_a_letter_is_found_on_its_line(encoding):
    mark = {'utf-16': b'', 'utf-16-be': b'\xfe\xff', 'utf-16-le': b'\xff\xfe'}[encoding]
    text = mark + ('日志\n' * 700_000 + f'token {HF}\n').encode(encoding)
    assert rules(text) == [(700_001, 'huggingface-token')]


def test_a_token_in_a_log_with_a_few_nuls_is_found_beyond_the_first_mib():
    text = b'line\n' * 10 + b'\0' * 40 + b'more \xc3\xa9\n' * 300_000 + HF.encode()
    assert [found for _, found in rules(text)] == ['huggingface-token']


def test_random_bytes_are_no_text():
    file = io.BytesIO(b'{"header": 1}' + random.Random(1).randbytes(8_000_000) + HF.encode())
    assert list(scan(file, 'model.safetensors')) == []


def test_of_a_binary_file_only_the_first_mib_is_read():
    file = io.BytesIO(b'\0' * 10_000_000 + HF.encode())
    assert list(scan(file, 'model.bin')) == []
    assert file.tell() <= 2 * 1024 * 1024


@pytest.mark.parametrize('alphabet', ['standard', 'urlsafe'])
def test_pictures_in_base_64_are_no_secrets(alphabet):
    data = random.Random(1).randbytes(2_000_000)
    encode = base64.b64encode if alphabet == 'standard' else base64.urlsafe_b64encode
    assert rules(b'{"image/png": "' + encode(data) + b'"}') == []


def test_a_real_model_has_no_secrets(minilm):
    found = []
    for path in sorted(minilm.rglob('*')):
        if path.is_file():
            with path.open('rb', buffering=0) as file:
                found += scan(file, path.name)
    assert found == []


def test_a_log_of_commit_ids_has_no_secrets():
    log = '\n'.join(
        f'{{"step": {n}, "commit": "{lot(40, HEX, n)}", "md5": "{lot(32, HEX, n)}"}}' for n in range(2000)
    )
    assert rules(log) == []


def test_memory_does_not_grow_with_the_file():
    class Endless(io.RawIOBase):
        left = 200

        def read(self, size=-1):
            self.left -= 1
            return b'some words and a newline\n' * (size // 25) if self.left >= 0 else b''

    tracemalloc.start()
    assert list(scan(Endless(), 'data.jsonl')) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


def test_a_line_full_of_logins_does_not_take_quadratic_time():
    text = ('https://ada:' + lot(12) + '@git.corp/x ') * 50_000
    started = time.monotonic()
    assert rules(text) == [(1, 'url-password')]
    assert time.monotonic() - started < 10
