"""Addresses and names: what is taken, what is refused, and what is made of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from hfmirror import target
from hfmirror.errors import UsageError
from tests.support.mirror import git


@pytest.mark.parametrize(
    'url',
    [
        'https://example.org/me/x.git',
        'http://127.0.0.1:8080/me/x',
        'ssh://git@example.org:2222/me/x.git',
        'git+ssh://example.org/x',
        'git@example.org:me/x.git',
        'example.org:x.git',
        'https://me@example.org/x.git',
    ],
)
def test_a_git_url_is_given_to_git_as_it_is(url):
    assert target.git_address(url) == url
    assert target.at_url(url, 'me/x').path is None


@pytest.mark.parametrize('form', ['{}', 'file://{}', '{}/', '{}/../x.git'])
def test_a_path_becomes_absolute(tmp_path, form):
    assert target.git_address(form.format(tmp_path / 'x.git')) == str(tmp_path / 'x.git')


def test_a_relative_path_is_one_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert target.git_address('./x.git') == str(tmp_path / 'x.git')


def test_a_file_url_may_have_escapes(tmp_path):
    assert target.git_address(f'file://{tmp_path}/a%20b.git') == str(tmp_path / 'a b.git')


def test_a_path_with_a_colon_that_is_there_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('a:b').mkdir()
    assert target.git_address('a:b') == str(tmp_path / 'a:b')


@pytest.mark.parametrize(
    'url',
    [
        'ftp://example.org/x',
        'git://example.org/x',
        'ext::sh -c whoami',
        'fd::3',
        'origin',
        '-oProxyCommand=x:y',
        'ssh://-oProxyCommand=x/y',
        'ssh://me@-host/y',
        'https://[::1/x',
    ],
)
def test_an_address_that_git_must_not_get_is_refused(url):
    with pytest.raises(UsageError, match='--remote'):
        target.git_address(url)


@pytest.mark.parametrize(
    'user',
    [
        'me:hf_secretsecret',
        ':hf_secretsecret',
        'hf:x%40y',
        'hf_' + 'secret' * 5,
        'ghp_' + 'secret' * 6,
        'secret' * 6,
    ],
)
def test_a_url_with_a_password_is_refused_without_repeating_it(user):
    with pytest.raises(UsageError) as refused:
        target.git_address(f'https://{user}@example.org/me/x.git')
    assert 'secret' not in str(refused.value) and 'x%40y' not in str(refused.value)
    assert 'https://example.org/me/x.git' in str(refused.value)


@pytest.mark.parametrize(
    ('url', 'expected'),
    [
        ('https://h/me/x.git', 'https://h/me/x.git/info/lfs'),
        ('https://h/me/x', 'https://h/me/x.git/info/lfs'),
        ('https://h/me/x/', 'https://h/me/x.git/info/lfs'),
    ],
)
def test_the_lfs_address_is_the_one_git_lfs_derives(url, expected):
    assert target.at_url(url, 'me/x').lfs_url == expected


@pytest.mark.parametrize('repo_type', target.REPO_TYPES)
def test_the_local_hub_has_a_folder_for_each_type(tmp_path, repo_type):
    made = target.local(tmp_path, 'me/x', repo_type=repo_type)
    assert made.path == tmp_path / target.FOLDERS[repo_type] / 'me' / 'x.git'
    assert made.url == made.path.as_uri() and str(made) == 'me/x on local'


def test_each_repository_and_branch_has_a_slug_of_its_own(tmp_path):
    targets = [
        target.local(tmp_path, 'me/x'),
        target.local(tmp_path, 'me/x', branch='dev'),
        target.local(tmp_path, 'me/x', repo_type='dataset'),
        target.local(tmp_path / 'b', 'me/x'),
        target.at_url('https://h/me/x.git', 'me/x'),
    ]
    slugs = {made.slug for made in targets}
    assert len(slugs) == len(targets)
    assert all(slug.startswith('me-x-') and '/' not in slug for slug in slugs)


@pytest.mark.parametrize(
    'repo_id', ['me/x', 'a/b.c-d_e', 'A1/x_', 'me/_x', '_me/__x__', 'me/' + 'x' * 96, 'x' * 96 + '/x']
)
def test_a_name_by_the_hubs_rules_is_taken(repo_id):
    target.check_repo_id(repo_id)


NAMES = [
    'x',
    '_x',
    'x_',
    '_',
    '.x',
    'x.',
    '-x',
    'x-',
    'a.b',
    'a--b',
    'a..b',
    'x.git',
    'x y',
    'é',
    'x' * 96,
    'x' * 97,
]


@pytest.mark.parametrize('name', NAMES)
def test_a_name_is_taken_when_huggingface_hub_takes_it(name):
    def takes(check, refusal):
        try:
            check(f'me/{name}')
        except refusal:
            return False
        return True

    assert takes(target.check_repo_id, UsageError) == takes(validate_repo_id, HFValidationError)


@pytest.mark.parametrize(
    'repo_id',
    [
        'x',
        'a/b/c',
        'me/',
        '/x',
        'me/x--y',
        'me/x..y',
        'me/.x',
        'me/x-',
        'me/é',
        'me/x.git',
        'me/x y',
        'me/x\n',
        'me/' + 'x' * 97,
        'me/x.git.git',
        'me/.git',
        'me/' + 'x' * 79 + '.git',
        'x' * 97 + '/' + 'y' * 97,
        '/',
        '',
    ],
)
def test_any_other_name_is_refused_with_one_that_would_do(repo_id):
    with pytest.raises(UsageError, match='--repo') as refused:
        target.check_repo_id(repo_id)
    target.check_repo_id(str(refused.value).rpartition('Try --repo ')[2].rstrip('.'))


@pytest.mark.parametrize(
    ('repo_id', 'meant'),
    [
        ('datasets/me/x', 'me/x --repo-type dataset'),
        ('models/me/x', 'me/x'),
        ('https://huggingface.co/me/x', 'me/x'),
        ('https://huggingface.co/spaces/me/x/tree/main', 'me/x --repo-type space'),
        ('https://hf:hf_secretsecretsecret@huggingface.co/me/x', 'me/x'),
        ('https://[', 'me/model'),
        ('my model', 'me/my-model'),
        ('me/_my model', 'me/_my-model'),
    ],
)
def test_what_was_probably_meant_is_suggested(repo_id, meant):
    with pytest.raises(UsageError) as refused:
        target.check_repo_id(repo_id)
    assert str(refused.value).endswith(f'Try --repo {meant}.')
    assert 'secret' not in str(refused.value)


def test_the_owner_is_suggested_where_there_is_no_namespace():
    with pytest.raises(UsageError, match='Try --repo ada/x'):
        target.check_repo_id('x', owner='ada')


@pytest.mark.parametrize(
    ('repo_id', 'reason'),
    [
        ('x', 'the namespace is missing'),
        ('me/a b', 'blanks'),
        ('me/a--b', "'--'"),
        ('me/a..b', "'..'"),
        ('me/x.git', "'.git'"),
        ('me/' + 'x' * 97, '96'),
        ('a/b/c', 'two slashes'),
        ('https://h/me/x', 'an address'),
        ('me/-x', 'begins and ends with'),
    ],
)
def test_the_reason_is_told(repo_id, reason):
    with pytest.raises(UsageError, match=re.escape(reason)):
        target.check_repo_id(repo_id)


def test_a_long_hostile_name_costs_no_time():
    with pytest.raises(UsageError):
        target.check_repo_id('me/' + '-.git' * 100_000)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('My Model (v2)', 'My-Model-v2'),
        ('a--b..c', 'a-b.c'),
        ('..', 'model'),
        ('', 'model'),
        ('模型', 'model'),
        ('-x-', 'x'),
        ('x' * 200, 'x' * 80),
        ('x.git', 'x'),
        ('-.git.git', 'git'),
        ('.gitignore', 'gitignore'),
    ],
)
def test_a_slug_can_be_a_name(text, expected):
    assert target.slugify(text) == expected
    target.check_repo_id(f'me/{expected}')


@pytest.mark.parametrize(
    ('url', 'expected'),
    [
        ('https://h/me/x.git', 'me/x'),
        ('git@h:me/x.git', 'me/x'),
        ('ssh://h/~me/x', 'me/x'),
        ('/srv/git/x.git', 'git/x'),
        ('https://h/x', 'local/x'),
        ('https://h/', 'local/model'),
        ('file:///a/b%20c/d.git', 'b-c/d'),
    ],
)
def test_the_name_comes_from_the_end_of_the_address(url, expected):
    assert target.repo_id_of_url(url) == expected


# -- archives


@pytest.mark.parametrize(
    ('url', 'root'),
    [
        ('s3://bucket', 's3://bucket'),
        ('s3://bucket/', 's3://bucket'),
        ('S3://my-bucket.name/some/prefix/', 's3://my-bucket.name/some/prefix'),
        ('gs://bucket/a b', 'gs://bucket/a b'),
        ('file:///nas/archive/', 'file:///nas/archive'),
        ('file:///nas/x/../archive', 'file:///nas/archive'),
        ('file:///nas/a%20b', 'file:///nas/a%20b'),
        ('file://localhost/nas', 'file:///nas'),
    ],
)
def test_an_archive_has_one_address(url, root):
    assert target.archive_address(url) == root


@pytest.mark.parametrize(
    'url',
    ['hub', 'local', './x', '/x', 'https://example.org/me/x.git', 'git@example.org:me/x', 'file:///x/y.git'],
)
def test_what_git_can_use_is_no_archive(url):
    assert target.archive_address(url) is None


def test_a_directory_with_a_git_repository_is_that(tmp_path):
    git('init', '-q', '--bare', tmp_path / 'bare')
    git('init', '-q', tmp_path / 'work')
    assert target.archive_address((tmp_path / 'bare').as_uri()) is None
    assert target.archive_address((tmp_path / 'work').as_uri()) is None
    (tmp_path / 'other' / 'objects').mkdir(parents=True)
    assert target.archive_address((tmp_path / 'other').as_uri()) is not None


@pytest.mark.parametrize(
    'url',
    [
        's3://',
        's3:///prefix',
        's3://x',
        's3://bucket/../other',
        's3://bucket/a//b',
        's3://bucket/./b',
        's3://bucket?versions',
        's3://bucket/a?b',
        's3://bucket/a#b',
        's3://bucket/a\nb',
        's3://-bucket',
        's3://key:secretsecret@bucket',
        'gs://token@bucket/x',
        'file://nas/archive',
        'file:///',
        'file:///nas/a%00b',
        'file://[::1/x',
    ],
)
def test_an_address_that_names_no_archive_is_refused(url):
    with pytest.raises(UsageError, match='--remote') as failure:
        target.archive_address(url)
    assert 'secretsecret' not in str(failure.value)


def test_a_repository_in_an_archive_has_a_folder_of_its_own():
    made = target.archived('s3://bucket/x', 'me/bert', repo_type='dataset')
    assert made.git_url == made.url == 's3://bucket/x/datasets/me/bert'
    assert made.archive and made.path is None and made.endpoint is None and made.clone_url is None
    assert str(made) == 'me/bert on s3://bucket/x'
    others = [
        target.archived('s3://bucket/x', 'me/bert'),
        target.archived('s3://bucket/y', 'me/bert', repo_type='dataset'),
        target.archived('gs://bucket/x', 'me/bert', repo_type='dataset'),
    ]
    assert len({made.slug, *(other.slug for other in others)}) == 4


@pytest.mark.parametrize('url', ['hub', 'https://example.org/x.git', '/x', 'ssh://git@example.org/x'])
def test_other_targets_are_no_archives(url):
    made = target.hub('https://huggingface.co', 'me/x') if url == 'hub' else target.at_url(url, 'me/x')
    assert not made.archive


def test_git_gets_no_address_of_a_bucket():
    with pytest.raises(UsageError, match='hfmirror rebuild'):
        target.git_address('s3://bucket/x')
