import base64
import json
import zlib
from datetime import UTC, datetime

import numpy
import pytest
from huggingface_hub import DatasetCard

from hfmirror.card import card
from hfmirror.card.lint import lint
from hfmirror.facts.datafiles import read_data, read_table, size_category, split_of
from hfmirror.facts.facts import read_facts
from hfmirror.facts.parquet import read_schema
from hfmirror.readme import frontmatter
from hfmirror.tree import Entry

# Written by pyarrow: three rows of id, text, emb (a list), meta (a struct), ok, day, when, u.
PARQUET = zlib.decompress(
    base64.b85decode(
        'c-noGy-piJ5Xa}%=j93uAxE?FNmsbwR)7LB2oQxOND~Qkg_VN-&a8xkzha*Q>39GN9)OCPl8P$IbEM1@q)5%|?)f9;4(q(T-'
        'u=yg{xf@W>(iHA1Z-mSBXU}B<N*LM`f|qs`(fE!%4XuWaH}97)<dF)HXS#x@s_hAsofsa;)I@)A`fipVR<g{U;=LD10Ap8YL'
        '3@3ZLH&Z&dD?lvuW~s1519`+*iKpR8cn(UH|t1)cCl4sd_Q4(MHH>taAZap@o~On>2(-2OqFnN%azB$fKtI?bh6GXPhDf^oU'
        '(iUDZ?lRD*6$r7^lz&55m;lVnN=I>+D&kkO)a5&sA)QP;T9Ij=8OKdeS~)gZ8iXv&#{B6|AZRcS+TKky$U1mr&C;A_7~yCM;'
        'Z^iBiRwKHgLa$nLN18B5jQB#qDTcRbu&S4T=#65!_>55I2)9Os<xj2_E&O#zd>}T^r*=Xx)!?eMPXWs7Ff94Kh$z2wZ%>4aj'
        'O9mH0Agg_FW$=BmFMpK^if5M9tv2wPIFtX1;H;_U9%j~my6;OnlbP^iIR_Pg%7ROeCfKMC<I%T?O1Im?;dVS44X*3o)o9!q^'
        'y_<vJB^)P|AB74=z(W?d0X^v@d~wqb%F'
    )
)


@pytest.fixture
def data(tmp_path):
    """Return a function that writes files and reads them as a dataset."""

    def read(**contents):
        for name, content in contents.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, numpy.ndarray):
                with path.open('wb') as file:
                    numpy.save(file, content)
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob('*') if path.is_file()}

    return read


def rows(*values):
    return ''.join(json.dumps(value) + '\n' for value in values)


def render(files, **about):
    tree = {
        name: Entry(name, 'a' * 64, path.stat().st_size, False)
        for name, path in files.items()
        if name != 'README.md'
    }
    release = card.About('me/data', 'dataset', 'v1.0.0', datetime(2026, 1, 1, tzinfo=UTC), tree, (), None)
    return card.render(read_facts(files, repo_type='dataset'), release._replace(**about), base=None)


def test_parquet_footer_tells_rows_and_columns(data):
    schema = read_schema(data(**{'a.parquet': PARQUET})['a.parquet'])
    assert schema.rows == 3
    assert schema.columns == (
        ('id', 'int64'),
        ('text', 'string'),
        ('emb', 'list'),
        ('meta', 'struct'),
        ('ok', 'bool'),
        ('day', 'date'),
        ('when', 'timestamp'),
        ('u', 'uint8'),
    )


def test_damaged_parquet_tells_nothing_and_never_raises(tmp_path):
    path = tmp_path / 'a.parquet'
    for position in range(0, len(PARQUET), 3):
        damaged = bytearray(PARQUET)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        read_schema(path)
    for content in (
        b'',
        b'PAR1',
        b'PAR1' + b'\xff' * 4 + b'PAR1',
        b'\x9c' * 100_000 + (100_000).to_bytes(4, 'little') + b'PAR1',
    ):
        path.write_bytes(content)
        assert read_schema(path) is None


def test_jsonl_tells_rows_and_types(data):
    files = data(
        **{
            'a.jsonl': '\ufeff'
            + rows({'text': 'x', 'n': 1, 'v': None}, {'text': 'y', 'n': 1.5, 'v': [1]})
            + '\n'
        }
    )
    table = read_table(files['a.jsonl'], 'a.jsonl')
    assert table.rows == 2
    assert table.features == (('text', 'string'), ('n', 'mixed'), ('v', 'list'))


@pytest.mark.parametrize('content', [b'', b'junk\n', b'[1]\n', b'\xff\xfe', b'[' * 100_000])
def test_jsonl_that_is_none_tells_no_columns(data, content):
    assert read_table(data(**{'a.jsonl': content})['a.jsonl'], 'a.jsonl').features == ()


def test_csv_tells_columns_and_counts_quoted_lines_once(data):
    table = read_table(data(**{'a.csv': 'id,text\r\n1,"two\nlines"\r\n2,x\r\n'})['a.csv'], 'a.csv')
    assert (table.rows, table.features) == (2, (('id', ''), ('text', '')))


def test_rows_of_a_long_text_file_are_not_guessed(data):
    table = read_table(data(**{'a.jsonl': rows({'a': 'x' * 100}) * 100})['a.jsonl'], 'a.jsonl', limit=1000)
    assert (table.rows, table.features) == (None, (('a', 'string'),))


def test_columns_of_a_long_csv_file_are_known_without_its_rows(data):
    files = data(**{'a.csv': 'id,text\n' + '1,"a\nb"\n' * 100})
    table = read_table(files['a.csv'], 'a.csv', limit=100)
    assert (table.rows, table.features) == (None, (('id', ''), ('text', '')))


def test_much_text_is_not_read_whole(data):
    line = rows({'a': 'x' * 1_000_000})
    found = read_data(data(**{f'train-{number}.jsonl': line * 3 for number in range(3)}))
    assert (found.rows, found.splits[0].files) == (None, 3)


def test_splits_come_from_names(data):
    files = data(
        **{'train.jsonl': rows({'a': 1}, {'a': 2}), 'test.jsonl': rows({'a': 3}), 'val.jsonl': rows({'a': 3})}
    )
    found = read_data(files)
    assert [(split.name, split.patterns, split.rows) for split in found.splits] == [
        ('train', ('train.jsonl',), 2),
        ('validation', ('val.jsonl',), 1),
        ('test', ('test.jsonl',), 1),
    ]
    assert (found.rows, found.size_category, found.loadable) == (4, 'n<1K', True)


@pytest.mark.parametrize(
    ('path', 'split'),
    [
        ('train.csv', 'train'),
        ('data/train-00000-of-00002.parquet', 'train'),
        ('dev/part1.csv', 'validation'),
        ('my_TEST_set.csv', 'test'),
        ('train/test.csv', 'test'),
        ('train_test.csv', None),
        ('contest.csv', None),
        ('training/x.csv', 'train'),
    ],
)
def test_split_of_a_path(path, split):
    assert split_of(path) == split


def test_many_shards_become_one_pattern(data):
    names = [f'data/train-{number:05}-of-00007.jsonl' for number in range(7)]
    found = read_data(data(**dict.fromkeys(names, rows({'a': 1}))))
    assert found.splits[0].patterns == ('data/train-*.jsonl',)
    assert (found.splits[0].files, found.rows) == (7, 7)


def test_patterns_match_each_file_once(data):
    names = [f'train-{number}.jsonl' for number in range(5)] + ['train-extra.jsonl']
    assert read_data(data(**dict.fromkeys(names, rows({'a': 1})))).splits[0].patterns == ('train-*.jsonl',)


def test_pattern_that_would_catch_other_files_is_not_written(data):
    names = [f'{number}/1.jsonl' for number in ('train', 'test')] + [
        f'train/{number}-x.jsonl' for number in range(4)
    ]
    found = read_data(
        data(
            **dict.fromkeys(names, rows({'a': 1})),
            **{'train/notes-x.jsonl': rows({'a': 1}), 'train/val-x.jsonl': rows({'a': 1})},
        )
    )
    assert found.splits == ()


def test_file_without_a_split_leaves_all_splits_open(data):
    assert read_data(data(**{'train.csv': 'a\n1\n', 'more.csv': 'a\n1\n'})).splits == ()


def test_rows_of_different_tables_are_not_added(data):
    found = read_data(data(**{'train.csv': 'a\n1\n', 'test.csv': 'b\n1\n'}))
    assert (found.rows, found.size_category, found.features) == (None, None, ())


def test_features_and_labels_are_not_added(data):
    found = read_data(
        data(**{'features.npy': numpy.zeros((10, 3), 'f4'), 'labels.npy': numpy.zeros(10, 'i8')})
    )
    assert (found.rows, found.loadable) == (None, False)
    assert found.features == (('features.npy', 'f4, 3 each'), ('labels.npy', 'i8'))


def test_arrays_of_splits_are_added(data):
    found = read_data(
        data(**{'x_train.npy': numpy.zeros((10, 3), 'f4'), 'x_test.npy': numpy.zeros((5, 3), 'f4')})
    )
    assert found.rows == 15


@pytest.mark.parametrize(
    ('count', 'word'),
    [(0, 'n<1K'), (999, 'n<1K'), (1000, '1K<n<10K'), (10**6, '1M<n<10M'), (10**12, 'n>1T'), (None, None)],
)
def test_size_category_is_the_word_of_the_hub(count, word):
    assert size_category(count) == word


def test_dataset_card_has_configs_size_and_columns(data):
    files = data(**{'data/train.parquet': PARQUET, 'data/test.parquet': PARQUET})
    text = render(files)
    values = frontmatter.read(text, 'README.md')
    assert values == {
        'size_categories': ['n<1K'],
        'configs': [
            {
                'config_name': 'default',
                'data_files': [
                    {'split': 'train', 'path': 'data/train.parquet'},
                    {'split': 'test', 'path': 'data/test.parquet'},
                ],
            }
        ],
    }
    assert '| `train` | 1 | 3 |' in text
    assert '| `emb` | list |' in text
    assert '- **Rows**: 6' in text
    assert 'load_dataset("me/data", revision="v1.0.0")' in text
    assert DatasetCard(text).data.size_categories == ['n<1K']
    assert [problem.key for problem in lint(text, repo_type='dataset')] == ['license']


def test_configs_name_the_files_where_the_repository_has_them(data):
    text = render(data(**{'train.csv': 'a\n1\n', 'test.csv': 'a\n2\n'}), path_in_repo='v2')
    files = frontmatter.read(text, 'README.md')['configs'][0]['data_files']
    assert [one['path'] for one in files] == ['v2/train.csv', 'v2/test.csv']


def test_arrays_are_listed_and_not_configured(data):
    text = render(data(**{'embeddings.npy': numpy.zeros((1200, 384), 'f4')}))
    values = frontmatter.read(text, 'README.md')
    assert values == {'size_categories': ['1K<n<10K']}
    assert '| `embeddings.npy` | f4, 384 each |' in text
    assert '1,200 rows' in text


def test_dataset_without_known_files_has_no_data_section(data):
    text = render(data(**{'a.wav': b'x'}))
    assert 'begin data' not in text


def test_hostile_column_names_stay_in_their_cells(data):
    text = render(data(**{'a.csv': 'a|b,<!-- hfmirror:begin data -->,"x\ny"\n1,2,3\n'}))
    assert text.count('hfmirror:begin data') == 1
    assert 'a&#124;b' in text
