import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from hfmirror import versions
from hfmirror.errors import ConfigError, ConflictError, UsageError
from hfmirror.versions import VersionInfo

NOON = datetime(2024, 1, 1, 12, 0, 0, tzinfo=UTC)


def info(name, date=NOON):
    return VersionInfo(name, '', 'c' * 40, date, None, None, {}, '')


def names(infos):
    return [item.name for item in infos]


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('v1.2.3', 'semantic'),
        ('1.2.3', 'semantic'),
        ('v0.0.0-alpha.1+build.5', 'semantic'),
        ('v20240101-120000', 'timestamp'),
        ('20240101', 'timestamp'),
        ('run-2024-02-29T23.59.58', 'timestamp'),
        ('exp-baseline-001', 'experiment'),
        ('exp-a-b-1000', 'experiment'),
        ('step-500', 'checkpoint'),
        ('epoch-3', 'checkpoint'),
        ('checkpoint-500', 'checkpoint'),
        ('long-run-step-500', 'checkpoint'),
        ('step-100.2', 'checkpoint'),
        ('global_step500', 'checkpoint'),
        ('step-20240101', 'checkpoint'),
        ('step-20240101-120000', 'timestamp'),
        ('exp-step-500', 'experiment'),
        ('misstep-500', None),
        ('step-', None),
        ('step-1.2.3', None),
        ('a/step-5', None),
        ('step-٣', None),
        ('v1.2', None),
        ('v01.2.3', None),
        ('docs-v9.9.9', None),
        ('v20241301-120000', None),
        ('v20240101-250000', None),
        ('exp-baseline-01', None),
        ('exp-001', None),
        ('v١.٢.٣', None),
        ('', None),
        ('nightly', None),
        ('v' + '9' * 5000 + '.0.0', None),
    ],
)
def test_kind_of_a_tag(name, kind):
    version = versions.parse(name)
    assert (version.kind if version else None) == kind


def test_prefix_of_the_configuration_makes_a_tag_semantic():
    assert versions.parse('model-1.2.3') is None
    assert versions.parse('model-1.2.3', prefix='model-').kind == 'semantic'
    assert versions.parse('v1.2.3', prefix='model-').kind == 'semantic'


def test_semantic_versions_are_ordered_as_semver_orders_them():
    ordered = [
        '1.0.0-alpha',
        '1.0.0-alpha.1',
        '1.0.0-alpha.beta',
        '1.0.0-beta',
        '1.0.0-beta.2',
        '1.0.0-beta.11',
    ]
    ordered += ['1.0.0-rc.1', '1.0.0', '1.0.1', '1.2.0', '1.10.0', '2.0.0']
    shuffled = random.Random(1).sample(ordered, len(ordered))
    assert sorted(shuffled, key=lambda name: versions.parse(name).order) == ordered


def test_two_builds_of_one_version_have_an_order():
    first, second = versions.parse('v1.0.0+a'), versions.parse('v1.0.0+b')
    assert first.order != second.order


def test_list_is_newest_first():
    infos = [
        info('v1.0.0', NOON),
        info('v0.1.0', NOON + timedelta(days=1)),
        info('nightly', NOON - timedelta(days=1)),
    ]
    assert names(versions.newest_first(infos)) == ['v0.1.0', 'v1.0.0', 'nightly']


def test_tags_of_the_same_second_are_ordered_by_version_whatever_their_order_was():
    expected = ['v1.10.0', 'v1.9.0', 'v20240101-120000', 'exp-b-001', 'exp-a-010', 'exp-a-009', 'z', 'y']
    for seed in range(10):
        shuffled = [info(name) for name in random.Random(seed).sample(expected, len(expected))]
        assert names(versions.newest_first(shuffled)) == expected


def test_dates_of_different_time_zones_compare_as_moments():
    later = datetime(2024, 1, 1, 12, 30, tzinfo=timezone(timedelta(hours=1)))
    assert names(versions.newest_first([info('early', later), info('late', NOON)])) == ['late', 'early']


@pytest.mark.parametrize(
    ('tags', 'expected'),
    [
        (['v1.0.0', 'v1.10.0', 'v1.9.0', 'v2.0.0-rc.1', 'v20240101-120000', 'exp-a-001'], 'v1.10.0'),
        (['v2.0.0-rc.1', 'v2.0.0-beta', 'v20240101-120000'], 'v2.0.0-rc.1'),
        (['v20240101-120000', 'v20231231-235959', 'exp-a-001'], 'v20240101-120000'),
        (['exp-a-002', 'exp-a-010', 'nightly'], 'exp-a-010'),
        (['nightly'], None),
        ([], None),
    ],
)
def test_latest_is_the_highest_release_else_the_newest_of_what_there_is(tags, expected):
    assert versions.latest(tags) == expected


@pytest.mark.parametrize(
    ('tags', 'level', 'expected'),
    [
        ([], 'major', 'v1.0.0'),
        ([], 'minor', 'v0.1.0'),
        ([], 'patch', 'v0.0.1'),
        (['v20240101-120000', 'exp-a-001', 'nightly'], 'minor', 'v0.1.0'),
        (['v1.9.0', 'v1.10.0'], 'minor', 'v1.11.0'),
        (['v1.2.3'], 'major', 'v2.0.0'),
        (['v1.2.3'], 'patch', 'v1.2.4'),
        (['v1.2.3+build.7'], 'patch', 'v1.2.4'),
        (['v1.1.0', 'v1.2.0-rc.1'], 'minor', 'v1.2.0'),
        (['v1.2.0-rc.1'], 'patch', 'v1.2.0'),
        (['v1.2.1-rc.1'], 'minor', 'v1.3.0'),
        (['v1.2.0-rc.1'], 'major', 'v2.0.0'),
        (['v2.0.0-rc.1'], 'major', 'v2.0.0'),
        (['1.2.0'], 'minor', 'v1.3.0'),
    ],
)
def test_bump_goes_on_from_the_highest_version(tags, level, expected):
    assert versions.next_semantic(tags, level) == expected


def test_bump_uses_the_prefix_of_the_configuration():
    assert versions.next_semantic(['model-1.2.0', 'v1.1.0'], 'minor', prefix='model-') == 'model-1.3.0'
    assert versions.next_semantic(['v1.1.0'], 'minor', prefix='') == '1.2.0'


def test_timestamp_names_the_moment():
    assert versions.timestamp(datetime(2024, 1, 2, 3, 4, 5)) == 'v20240102-030405'


def test_timestamp_takes_the_next_second_when_the_name_is_taken():
    taken = ['v20240101-120000', 'v20240101-120001']
    assert versions.timestamp(NOON, taken) == 'v20240101-120002'


def test_timestamp_of_a_template_without_seconds_takes_the_next_minute():
    template = 'v{year}{month:02d}{day:02d}-{hour:02d}{minute:02d}'
    assert versions.timestamp(NOON, ['v20240101-1200'], template=template) == 'v20240101-1201'


def test_template_with_no_free_name_is_a_conflict():
    with pytest.raises(ConflictError, match=r'Give the format \{second\}'):
        versions.timestamp(NOON, ['v2024'], template='v{year}')


@pytest.mark.parametrize(
    ('template', 'expected'),
    [
        ('v{timestamp}', 'v20240101-120000'),
        ('v{year}{month:02d}{day:02d}-{hour:02d}{minute:02d}{second:02d}', 'v20240101-120000'),
        ('nightly/{year}-{month:02}', 'nightly/2024-01'),
        ('{{{day}}}', '{1}'),
    ],
)
def test_template_of_the_configuration_makes_the_name(template, expected):
    assert versions.timestamp(NOON, template=template) == expected


@pytest.mark.parametrize(
    'template',
    [
        'v{year.__class__}',
        'v{year[0]}',
        'v{0}',
        'v{}',
        'v{version}',
        'v{year',
        'v}',
        'v{year!r}',
        'v{year:99999999d}',
        'v{year:{month}}',
        'v{hour}:{minute}',
        'v {year}',
        '',
        'latest',
        'v{year}\n',
    ],
)
def test_bad_template_is_a_configuration_error(template):
    with pytest.raises(ConfigError):
        versions.timestamp(NOON, template=template)


def test_timestamps_that_hfmirror_makes_are_versions():
    assert versions.parse(versions.timestamp(NOON)).kind == 'timestamp'


def test_prefix_is_read_from_the_format_of_semantic_versions():
    assert versions.semantic_prefix('v{major}.{minor}.{patch}') == 'v'
    assert versions.semantic_prefix('{major}.{minor}.{patch}') == ''


@pytest.mark.parametrize(
    'template', ['v{major}.{minor}', 'v{major}.{minor}.{patch}x', 'v 1{major}.{minor}.{patch}', '{']
)
def test_format_that_semver_cannot_order_is_a_configuration_error(template):
    with pytest.raises(ConfigError, match='not a format for semantic versions'):
        versions.semantic_prefix(template)


@pytest.mark.parametrize(
    ('tags', 'name', 'expected'),
    [
        ([], 'baseline', 'exp-baseline-001'),
        (['exp-baseline-001', 'exp-baseline-009', 'exp-other-100'], 'baseline', 'exp-baseline-010'),
        (['exp-baseline-999'], 'baseline', 'exp-baseline-1000'),
        (['exp-baseline-1000', 'exp-baseline-999'], 'baseline', 'exp-baseline-1001'),
        (['exp-my-run-2-004'], 'My run #2!', 'exp-my-run-2-005'),
        (['exp-baseline-long-007'], 'baseline', 'exp-baseline-001'),
        ([], 'Größe/é', 'exp-groe-e-001'),
    ],
)
def test_experiments_are_numbered_per_name(tags, name, expected):
    made = versions.next_experiment(tags, name)
    assert made == expected
    assert versions.parse(made).kind == 'experiment'
    versions.check_name(made)


@pytest.mark.parametrize('name', ['', '---', '基线', '\udcff\n'])
def test_experiment_of_which_no_name_is_left_is_a_usage_error(name):
    with pytest.raises(UsageError, match='no name for an experiment'):
        versions.next_experiment([], name)


GOOD = [
    'v1.0.0',
    'exp-a-001',
    'release/2024',
    'é',
    'v1+b',
    'a@b',
    'x{y',
    'a.lock.b',
    "v1'",
    'v1.LOCK',
    'main',
]
FORBIDDEN_BY_GIT = [
    'v1.0 beta', 'a..b', '.a', 'a/.b', 'a.lock', 'a.lock/b', 'a~1', 'a^', 'a:b', 'a?', 'a*', 'a[b', 'a\\b',
    '/a', 'a/', 'a//b', 'a.', 'a@{b', 'a\x7fb', 'a\tb', 'a\nb', '',
]  # fmt: skip
FORBIDDEN_BY_US = [
    '@',
    '-v1',
    'HEAD',
    'ORIG_HEAD',
    'a' * 40,
    'B' * 64,
    'latest',
    'refs/tags/v1',
    'a' * 251,
    'a\u202eb',
]


@pytest.mark.parametrize('name', GOOD)
def test_good_name_is_no_error(name):
    versions.check_name(name)


@pytest.mark.parametrize('name', [*FORBIDDEN_BY_GIT, *FORBIDDEN_BY_US, 'a\udcff'])
def test_bad_name_is_a_usage_error_that_proposes_a_good_one(name):
    with pytest.raises(UsageError, match='Use a name such as') as caught:
        versions.check_name(name)
    versions.check_name(str(caught.value).rpartition('such as ')[2].removesuffix('.'))


@pytest.mark.parametrize('name', [*GOOD, *FORBIDDEN_BY_GIT])
def test_git_has_the_same_opinion_of_a_name(name):
    found = subprocess.run(['git', 'check-ref-format', f'refs/tags/{name}'], check=False)
    assert (found.returncode == 0) == (name in GOOD)


@pytest.mark.parametrize('seed', range(4))
def test_every_name_that_git_forbids_is_refused(seed):
    random_names = random.Random(seed)
    letters = [
        'a',
        'b',
        '.',
        '.',
        '/',
        '-',
        '@',
        '{',
        '.lock',
        '~',
        '^',
        ':',
        '?',
        '*',
        '[',
        '\\',
        ' ',
        '\x01',
        '1',
        '日',
    ]
    for _ in range(60):
        name = ''.join(random_names.choices(letters, k=random_names.randint(1, 6)))
        git_allows = (
            subprocess.run(['git', 'check-ref-format', f'refs/tags/{name}'], check=False).returncode == 0
        )
        try:
            versions.check_name(name)
        except UsageError:
            continue
        assert git_allows, name


def test_message_says_which_rule_and_proposes_the_mended_name():
    with pytest.raises(UsageError) as caught:
        versions.check_name('v1.0 beta')
    assert (
        str(caught.value) == 'v1.0 beta: no name for a version: it has a blank. Use a name such as v1.0-beta.'
    )


def test_message_shows_no_control_characters():
    with pytest.raises(UsageError) as caught:
        versions.check_name('\x1b[31m' + 'x' * 10_000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_semver_is_imported_only_when_it_is_needed():
    code = "import sys, hfmirror.versions; sys.exit('semver' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


# -- checkpoints


def test_checkpoints_are_ordered_by_their_step():
    ordered = ['step-99', 'step-100', 'step-100.2', 'step-100.10', 'step-500', 'step-1000']
    shuffled = random.Random(7).sample(ordered, len(ordered))
    assert sorted(shuffled, key=lambda name: versions.parse(name).order) == ordered


@pytest.mark.parametrize(
    ('tags', 'expected'),
    [
        (['step-9', 'step-10', 'step-10.2', 'step-2'], 'step-10.2'),
        (['step-500', 'exp-baseline-001'], 'exp-baseline-001'),
        (['step-500', 'v20240101-120000'], 'v20240101-120000'),
        (['step-500', 'v0.1.0'], 'v0.1.0'),
        (['nightly', 'epoch-1'], 'epoch-1'),
    ],
)
def test_a_checkpoint_is_the_latest_only_where_there_is_no_other_version(tags, expected):
    assert versions.latest(tags) == expected


def test_tags_that_are_no_version_come_after_checkpoints_of_their_second():
    tags = [info('zebra'), info('step-1'), info('step-2'), info('exp-a-001')]
    assert names(versions.newest_first(tags)) == ['exp-a-001', 'step-2', 'step-1', 'zebra']
