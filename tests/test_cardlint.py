import pytest

from hfmirror.card.lint import lint

GOOD = '---\nlicense: mit\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n# Hi\n'


def problems(yaml, repo_type='model'):
    """Return (line, key, severity, message) for the problems of a good card with ``yaml`` as its first lines."""
    text = GOOD.replace('---\n', f'---\n{yaml}\n', 1)
    for key in ('license', 'library_name', 'pipeline_tag'):
        if f'\n{key}:' in f'\n{yaml}':
            text = '\n'.join(
                line
                for i, line in enumerate(text.split('\n'))
                if not (i > yaml.count('\n') + 1 and line.startswith(f'{key}:'))
            )
    return [(one.line, one.key, one.severity, one.message) for one in lint(text, repo_type=repo_type)]


def test_good_card_has_no_problem():
    assert lint(GOOD) == []


def test_unknown_licence_is_a_warning_with_line_and_key():
    (problem,) = problems('# comment\nlicense: apache-2')
    assert problem[:3] == (3, 'license', 'warning')
    assert "did you mean 'apache-2.0'?" in problem[3]


@pytest.mark.parametrize(
    ('yaml', 'line', 'key', 'severity', 'words'),
    [
        ('library_name: transformer', 2, 'library_name', 'warning', "'transformers'"),
        ('pipeline_tag: text-generator', 2, 'pipeline_tag', 'warning', "'text-generation'"),
        ('pipeline_tag: [text-generation]', 2, 'pipeline_tag', 'error', 'is a list'),
        ('library_name: 3', 2, 'library_name', 'error', 'is a number'),
        ('license: [mit, 4]', 2, 'license[1]', 'error', 'is a number'),
        ('language:\n- en\n- no', 4, 'language[1]', 'warning', 'quotes'),
        ('language: no', 2, 'language', 'warning', 'quotes'),
        ('language: false', 2, 'language', 'error', 'quotes'),
        ('language: [en-US]', 2, 'language[0]', 'error', "did you mean 'en'?"),
        ('language: English', 2, 'language', 'error', 'ISO 639'),
        ('tags: one', 2, 'tags', 'error', 'expected a list'),
        ('tags:\n- a\n- 2020', 4, 'tags[1]', 'error', 'quotes'),
        ('base_model: /home/alice/out', 2, 'base_model', 'error', 'not a name on the Hub'),
        ('base_model: ./out', 2, 'base_model', 'error', 'not a name on the Hub'),
        ('datasets:\n- a/b/c', 3, 'datasets[0]', 'error', 'not a name on the Hub'),
        ('datasets: {a: b}', 2, 'datasets', 'error', 'is a mapping'),
        ('base_model_relation: child', 2, 'base_model_relation', 'error', 'finetune'),
        ('licence: mit', 2, 'licence', 'warning', "'license'"),
        ('model_name: x', 2, 'model_name', 'warning', "'model-index'"),
        ('co2: .nan', 2, 'co2', 'error', 'is NaN'),
        ('x:\n  y: [1, .inf]', 3, 'x.y[1]', 'error', 'Infinity'),
        ('license_name: mine', 2, 'license_name', 'warning', 'license: other'),
        ('size_categories: [1K<n<9K]', 2, 'size_categories[0]', 'warning', "'1K<n<10K'"),
        ('task_categories: [text-classify]', 2, 'task_categories[0]', 'warning', "'text-classification'"),
        ('configs: x', 2, 'configs', 'error', 'expected a list'),
        ('configs:\n- data_files: a.csv', 3, 'configs[0].config_name', 'error', 'config_name: default'),
        (
            'configs:\n- config_name: d\n  data_files:\n  - path: a.csv',
            5,
            'configs[0].data_files[0]',
            'error',
            'split and path',
        ),
        ('new_version: 2.0', 2, 'new_version', 'error', 'expected text'),
        ('3: x', 2, '3', 'error', 'quotes'),
    ],
)
def test_problem_has_line_key_and_severity(yaml, line, key, severity, words):
    (problem,) = problems(yaml)
    assert problem[:3] == (line, key, severity)
    assert words in problem[3]


@pytest.mark.parametrize(
    'yaml',
    [
        'language: "no"',
        "language: ['no', code, multilingual, yue]",
        'base_model: bert-base-uncased',
        'base_model: [a/b, c/d.e_f-1]',
        'datasets: [glue, stanfordnlp/imdb]',
        'thumbnail:',
        'tags:\n- 3d\n- "2020"',
        'pipeline_tag: translation',
        'license: [mit, apache-2.0]',
        'configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: [a.csv, b.csv]',
        'configs:\n- config_name: default\n  data_files: "*.csv"',
        'widget:\n- text: hi',
        'a: &x [*x]',
    ],
)
def test_right_value_is_no_problem(yaml):
    assert problems(yaml) == []


INDEX = """model-index:
- name: m
  results:
  - task:
      type: text-classification
    dataset:
      type: imdb
      name: IMDb
    metrics:
    - type: accuracy
      value: 0.9"""


def test_complete_model_index_is_no_problem():
    assert problems(INDEX) == []


@pytest.mark.parametrize(
    ('old', 'new', 'line', 'key'),
    [
        ('- name: m\n  results', '- results', 3, 'model-index[0].name'),
        ('      type: imdb\n', '', 7, 'model-index[0].results[0].dataset.type'),
        ('    dataset:\n      type: imdb\n      name: IMDb\n', '', 5, 'model-index[0].results[0].dataset'),
        ('type: text-classification', 'type: 3', 6, 'model-index[0].results[0].task.type'),
        ('      value: 0.9', '', 11, 'model-index[0].results[0].metrics[0].value'),
        ('value: 0.9', 'value: .nan', 12, 'model-index[0].results[0].metrics[0].value'),
        ('    - type: accuracy\n      value', '    - value', 11, 'model-index[0].results[0].metrics[0].type'),
    ],
)
def test_incomplete_model_index_is_an_error_at_its_place(old, new, line, key):
    (problem,) = problems(INDEX.replace(old, new))
    assert problem[:3] == (line, key, 'error')


@pytest.mark.parametrize(
    'value',
    [
        '{}',
        'x',
        '[1]',
        '[{name: x}]',
        '[{name: x, results: [2]}]',
        '[{name: x, results: [{task: a, dataset: b, metrics: c, source: d}]}]',
    ],
)
def test_model_index_of_another_shape_is_an_error(value):
    found = problems(f'model-index: {value}')
    assert found
    assert {one[2] for one in found} == {'error'}


def test_broken_yaml_is_one_error_with_its_line():
    (problem,) = lint('---\nlicense: mit\ntags: [a\n---\n', path='x/README.md')
    assert (problem.path, problem.line, problem.severity) == ('x/README.md', 3, 'error')


def test_key_twice_is_an_error():
    (problem,) = problems('license: mit\nlicense: mit')
    assert problem[0] == 3
    assert 'duplicate key' in problem[3]


@pytest.mark.parametrize(
    ('repo_type', 'keys'),
    [('model', ['library_name', 'license', 'pipeline_tag']), ('dataset', ['license']), ('space', ['sdk'])],
)
def test_missing_keys_are_warnings(repo_type, keys):
    found = lint('---\nfoo: 1\n---\n', repo_type=repo_type)
    assert [(one.key, one.severity, one.line) for one in found] == [(key, 'warning', 2) for key in keys]


def test_licence_other_needs_name_and_link():
    assert [one[1] for one in problems('license: other')] == ['license', 'license']
    assert problems('license: other\nlicense_name: mine\nlicense_link: LICENSE') == []


def test_card_without_front_matter_is_a_warning():
    (problem,) = lint('# Hi\n')
    assert (problem.line, problem.severity) == (1, 'warning')
    assert 'no front matter' in problem.message


def test_front_matter_without_end_is_told():
    (problem,) = lint('---\nlicense: mit\n# Hi\n')
    assert 'has no end' in problem.message


def test_byte_order_mark_is_told():
    (problem,) = lint('\ufeff' + GOOD)
    assert 'byte order mark' in problem.message


def test_information_needed_is_counted_at_its_first_line():
    (problem,) = lint(GOOD + '\n[More Information Needed]\n\nMore information needed\n')
    assert problem.line == 8
    assert '2 times' in problem.message


def test_broken_marker_is_an_error_with_its_line():
    (problem,) = lint(GOOD.replace('\n', '\r\n') + '<!-- hfmirror:end files -->')
    assert (problem.line, problem.severity) == (7, 'error')


def test_lines_are_those_of_the_card_with_crlf():
    (problem,) = lint(GOOD.replace('mit', 'mitt').replace('\n', '\r\n'))
    assert problem.line == 2


@pytest.mark.parametrize(
    'text',
    [
        '',
        '\x00\x01',
        '---\n' + '[' * 50_000 + '\n---\n',
        '---\n? [a, b]\n: c\n---\n',
        '---\n1: 2\n---\n',
        '---\n---\n',
    ],
)
def test_junk_is_told_and_never_raises(text):
    assert lint(text)


def test_aliases_that_multiply_are_passed_over():
    lines = ['l0: &l0 [.nan]', *(f'l{n}: &l{n} [{", ".join([f"*l{n - 1}"] * 10)}]' for n in range(1, 30))]
    found = lint('---\n' + '\n'.join(lines) + '\n---\n', repo_type='other')
    assert [one.key for one in found] == ['l0[0]']
