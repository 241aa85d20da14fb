from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from huggingface_hub import ModelCard

from hfmirror.card import card
from hfmirror.card.lint import lint
from hfmirror.errors import CardError
from hfmirror.facts.facts import Facts, read_facts
from hfmirror.facts.weights import Weights
from hfmirror.readme import frontmatter
from hfmirror.tree import Entry
from hfmirror.versions import VersionInfo

DAY = datetime(2026, 11, 21, 12, tzinfo=UTC)
FACTS = Facts(
    library_name='transformers',
    pipeline_tag='text-classification',
    base_model=('ns/base',),
    datasets=('ns/data',),
    language=('no',),
    license='mit',
    tags=('generated_from_trainer',),
    metrics={'eval_loss': 0.5, 'eval_accuracy': 0.91},
    main_metric='eval_accuracy',
    training={'learning_rate': 5e-05, 'fp16': True, 'optim': 'adamw_torch'},
    weights=(Weights('model.safetensors', 90_868_376, {'F32': 22_713_216, 'I64': 512}, 22_713_728),),
    architecture='BertForSequenceClassification',
    context_length=512,
)


def tree(**sizes):
    return {path: Entry(path, 'a' * 64, size, size > 10**6) for path, size in sizes.items()}


ABOUT = card.About(
    repo_id='me/my-model',
    repo_type='model',
    version='v1.1.0',
    date=DAY,
    tree=tree(**{'model.safetensors': 90_868_376, 'config.json': 612, 'tokenizer.json': 466_247}),
    history=(),
    url=None,
)


def version(name, *, days=0, metrics=None, files=3, size=1000):
    return VersionInfo(
        name, 'semantic', 'c' * 40, DAY - timedelta(days=days), size, files, metrics or {}, 'message'
    )


def render(base=None, *, facts=FACTS, source=None, **about):
    return card.render(facts, ABOUT._replace(**about), base=base, source=source)


def data(text):
    return frontmatter.read(text, 'README.md')


def region(text, name):
    return text.partition(f'<!-- hfmirror:begin {name} -->\n')[2].partition(f'<!-- hfmirror:end {name} -->')[
        0
    ]


PERSON = """---
# who wrote this: a person
license: apache-2.0   # decided in May
tags: [mine, "two"]
language:
    - no
extra_gated_prompt: "Say 'please'"
---
# My model

Words of mine.\t
* a
"""


def test_card_from_nothing_has_all_that_is_known():
    assert data(render()) == {
        'language': ['no'],
        'license': 'mit',
        'library_name': 'transformers',
        'pipeline_tag': 'text-classification',
        'base_model': 'ns/base',
        'datasets': ['ns/data'],
        'tags': ['generated_from_trainer'],
        'model-index': [
            {
                'name': 'my-model',
                'results': [
                    {
                        'task': {'type': 'text-classification'},
                        'dataset': {'name': 'ns/data', 'type': 'ns/data'},
                        'metrics': [
                            {'type': 'loss', 'value': 0.5, 'name': 'Loss'},
                            {'type': 'accuracy', 'value': 0.91, 'name': 'Accuracy'},
                        ],
                    }
                ],
            }
        ],
    }


def test_card_parses_as_the_hub_reads_it():
    parsed = ModelCard(render())
    assert parsed.data.language == ['no']
    assert [(one.metric_type, one.metric_value) for one in parsed.data.eval_results] == [
        ('loss', 0.5),
        ('accuracy', 0.91),
    ]


def test_generated_card_has_no_problem():
    assert lint(render()) == []


def test_same_arguments_give_the_same_bytes():
    assert render(PERSON) == render(PERSON)


@pytest.mark.parametrize(
    'base', [None, PERSON, PERSON.replace('\n', '\r\n'), 'words without end', '\ufeff# T\n', '---\n---\n']
)
def test_rendering_again_changes_nothing(base):
    once = render(base)
    assert render(once) == once


@pytest.mark.parametrize('newline', ['\n', '\r\n'])
def test_every_byte_of_a_person_stays(newline):
    base = PERSON.replace('\n', newline)
    text = render(base)
    for part in base.partition(f'---{newline}# My model')[::2]:
        assert part in text
    assert newline == '\n' or '\n' not in text.replace('\r\n', '')
    assert text.count('language:') == 1


def test_missing_final_newline_stays_when_regions_stand_before():
    text = render() + 'the end'
    assert render(text, version='v2.0.0').endswith('-->\nthe end')


def test_keys_of_a_person_are_never_changed():
    text = render(render(PERSON), facts=replace(FACTS, license='bsd', tags=('other',)))
    assert data(text)['license'] == 'apache-2.0'
    assert data(text)['tags'] == ['mine', 'two']


def test_what_a_person_says_is_in_the_overview():
    assert '- **License**: `apache-2.0`' in region(render(PERSON), 'overview')


def test_generated_key_follows_the_facts():
    text = render(render(), facts=replace(FACTS, pipeline_tag='fill-mask'))
    assert data(text)['pipeline_tag'] == 'fill-mask'


def test_generated_key_goes_when_the_facts_no_longer_tell():
    text = render(render(), facts=replace(FACTS, license=None, metrics={}))
    assert 'license' not in data(text)
    assert 'model-index' not in data(text)
    assert data(render(text))['license'] == 'mit'


@pytest.mark.parametrize('edit', ['license: gpl', 'license: mit # sure', "license: 'mit'"])
def test_edited_key_is_the_persons_from_then_on(edit):
    text = render().replace('license: mit', edit, 1)
    again = render(render(text), facts=replace(FACTS, license='bsd'))
    assert f'\n{edit}\n' in again


def test_crlf_conversion_does_not_make_a_key_the_persons():
    text = render(render().replace('\n', '\r\n'), facts=replace(FACTS, license='bsd'))
    assert data(text)['license'] == 'bsd'


def test_key_that_a_person_took_out_stays_out():
    text = render().replace('pipeline_tag: text-classification\n', '', 1)
    again = render(render(text), facts=replace(FACTS, pipeline_tag='fill-mask'))
    assert 'pipeline_tag' not in data(again)


def test_key_put_back_by_a_person_is_theirs():
    text = render(render().replace('license: mit\n', '', 1)).replace('---\n', '---\nlicense: isc\n', 1)
    assert data(render(text))['license'] == 'isc'


def test_model_index_of_a_person_is_left_alone():
    index = 'model-index:\n- name: a\n  results: []\n- name: b\n  results: []\n'
    text = render(render(f'---\n{index}---\n'))
    assert index in text
    assert [model['name'] for model in data(text)['model-index']] == ['a', 'b']


@pytest.mark.parametrize(
    'facts', [{'datasets': ()}, {'datasets': ('a/b', 'c/d')}, {'pipeline_tag': None}, {'metrics': {}}]
)
def test_no_model_index_without_task_and_one_dataset(facts):
    assert 'model-index' not in data(render(facts=replace(FACTS, **facts)))


def test_whole_numbers_of_metrics_stay_whole_in_the_model_index():
    facts = replace(FACTS, metrics={'size': 45_434_188.0, 'error': 1.5e-09})
    metrics = data(render(facts=facts))['model-index'][0]['results'][0]['metrics']
    assert [repr(metric['value']) for metric in metrics] == ['45434188', '1.5e-09']


def test_base_model_is_never_the_model_itself():
    assert 'base_model' not in data(render(facts=replace(FACTS, base_model=('me/my-model',))))


def test_several_base_models_are_a_list():
    assert data(render(facts=replace(FACTS, base_model=('a/b', 'c/d'))))['base_model'] == ['a/b', 'c/d']


def test_region_that_a_person_took_out_stays_out():
    text = render()
    start, end = text.index('<!-- hfmirror:begin files'), text.index('<!-- hfmirror:end files -->\n') + 28
    again = render(render(text[:start] + text[end:]), version='v9.0.0')
    assert 'hfmirror:begin files' not in again
    assert '`v9.0.0`' in again


def test_region_that_had_nothing_to_say_comes_when_it_has():
    before = render(facts=replace(FACTS, metrics={}))
    assert 'begin metrics' not in before
    after = render(before)
    assert after.index('end usage') < after.index('begin metrics') < after.index('begin training')


def test_region_with_nothing_left_to_say_keeps_its_place():
    text = render(render(), facts=replace(FACTS, metrics={}))
    assert '<!-- hfmirror:begin metrics -->\n<!-- hfmirror:end metrics -->' in text


def test_words_between_regions_stay_where_they_are():
    text = render().replace(
        '<!-- hfmirror:end usage -->\n', '<!-- hfmirror:end usage -->\nSee also: my notes.\n'
    )
    assert '<!-- hfmirror:end usage -->\nSee also: my notes.\n' in render(text, version='v3.0.0')


def test_title_is_ours_only_when_a_person_has_none():
    assert '# my-model\n' in render()
    assert '# my-model' not in render(PERSON)
    assert '# my-model' not in render('Some words first.\n')
    assert '# my-model' not in render(
        render().replace('<!-- hfmirror:end usage -->\n', '<!-- hfmirror:end usage -->\n\n# Mine\n')
    )


def test_overview_tells_version_day_files_and_size_with_the_card():
    text = render()
    total = sum(entry.size for entry in ABOUT.tree.values()) + len(text.encode())
    assert f'This is version `v1.1.0` of 2026-11-21: 4 files, {total / 1e6:.1f} MB.' in text
    small = render(tree=tree(**{'a.txt': 10}))
    assert f'2 files, {(10 + len(small.encode())) / 1e3:.1f} kB' in small


def test_day_is_that_of_utc():
    assert '2026-11-20' in render(date=datetime(2026, 11, 21, 1, tzinfo=timezone(timedelta(hours=5))))


def test_release_without_tag_names_no_version():
    text = render(version=None)
    assert 'This is the state of 2026-11-21' in text
    assert 'revision' not in text


def test_parameters_are_exact():
    assert '- **Parameters**: 22,713,728 (F32 22,713,216, I64 512)' in render()


def test_files_have_size_type_and_parameters():
    assert '| `model.safetensors` | 90.9 MB | F32, I64 | 22,713,728 |' in region(render(), 'files')
    assert '| `config.json` | 612 B |  |  |' in region(render(), 'files')


def test_header_of_a_file_of_another_size_is_not_told():
    changed = tree(**{'model.safetensors': 5})
    assert '| `model.safetensors` | 5 B |' in region(render(tree=changed), 'files')
    assert 'F32, I64 |' not in region(render(tree=changed), 'files')


def test_files_of_a_path_in_the_repository_are_found():
    moved = tree(**{'fp32/model.safetensors': 90_868_376})
    assert '| `fp32/model.safetensors` | 90.9 MB | F32, I64 |' in render(tree=moved, path_in_repo='/fp32/')


def test_many_files_are_cut_to_the_largest_with_the_rest_counted():
    text = region(
        render(tree=tree(**{f'part-{number:05}': 1000 + number for number in range(10_000)})), 'files'
    )
    assert text.count('\n| `part-') == 25
    assert '| `part-09999` | 11.0 kB |' in text
    assert 'The 25 largest files are shown; 9,975 more have 59.7 MB together.' in text


def test_metric_has_its_change_since_the_newest_version_that_has_it():
    history = [
        version('v1.0.1'),
        version('v1.0.0', metrics={'eval_accuracy': 0.89}),
        version('v0.9.0', metrics={'eval_accuracy': 0.5}),
    ]
    text = region(render(history=history), 'metrics')
    assert '| Metric | Value | Change since `v1.0.0` |' in text
    assert '| `eval_accuracy` | 0.91 | +0.02 |' in text
    assert '| `eval_loss` | 0.5 |  |' in text


@pytest.mark.parametrize(
    ('old', 'new', 'shown'),
    [
        (0.93, 0.91, '-0.02'),
        (0.91, 0.91, 'unchanged'),
        (0.1 + 0.2, 0.3, '-4e-17'),
        (0.9, 0.91234567, '+0.012346'),
        (10, 12, '+2'),
        (90_868_376, 45_434_188, '-45,434,188'),
        (0, 1.25e-07, '+1.25e-07'),
        (1.7e308, 0.5, '-1.7e+308'),
        (1e30, 0.123, '-1e+30'),
        (-1.7e308, 1.7e308, '+1.79769e+308'),
    ],
)
def test_change_is_exact_to_the_digits_shown(old, new, shown):
    facts = replace(FACTS, metrics={'m': float(new)}, main_metric='m')
    assert f'| {shown} |' in region(
        render(facts=facts, history=[version('v1', metrics={'m': old})]), 'metrics'
    )


def test_versions_compared_with_are_named_when_they_differ():
    history = [version('v2', metrics={'eval_loss': 0.6}), version('v1', metrics={'eval_accuracy': 0.9})]
    text = region(render(history=history), 'metrics')
    assert '| +0.01 since `v1` |' in text
    assert '| -0.1 since `v2` |' in text


def test_metrics_without_earlier_version_have_no_change():
    assert '| Metric | Value |\n' in region(render(), 'metrics')


def test_version_list_has_this_one_and_nine_before_it():
    history = [
        version(f'v0.{number}.0', days=30 - number, metrics={'eval_accuracy': number / 100})
        for number in range(25, 0, -1)
    ]
    text = region(render(history=history), 'versions')
    assert text.count('\n| `v0.') == 9
    assert '| **`v1.1.0`** | 2026-11-21 | 4 | 91.3 MB | 0.91 |' in text
    assert '| `v0.25.0` | 2026-11-16 | 3 | 1.0 kB | 0.25 |' in text
    assert 'And 16 earlier.' in text


def test_version_made_again_is_not_its_own_predecessor():
    text = render(history=[version('v1.1.0', metrics={'eval_accuracy': 0.1})])
    assert text.count('`v1.1.0`**') == 1
    assert 'Change' not in text


def test_version_that_tells_nothing_has_empty_cells():
    text = render(
        history=[VersionInfo('v0', 'other', 'c', DAY, None, None, {'eval_accuracy': float('nan')}, '')]
    )
    assert '| `v0` | 2026-11-21 |  |  |  |' in text


def test_training_parameters_are_as_in_the_file():
    text = region(render(), 'training')
    assert '| `learning_rate` | 5e-05 |' in text
    assert '| `fp16` | true |' in text
    assert '| `optim` | `adamw_torch` |' in text


HOSTILE = 'x|y`z\n<!-- hfmirror:begin files -->\n[a](b) \u202e*c* \udc80'


def test_foreign_text_forges_neither_tables_nor_markers():
    facts = replace(FACTS, metrics={HOSTILE: 1.0}, main_metric=HOSTILE, library_name=HOSTILE, tags=())
    about = {
        'tree': tree(**{HOSTILE: 5}),
        'history': [version(HOSTILE)],
        'url': 'https://host/\n<!-- hfmirror:end files -->',
    }
    text = card.render(
        replace(facts, library_name=None, metrics={'a|b<c': 1.0}), ABOUT._replace(**about), base=None
    )
    assert text.count('hfmirror:begin files') == 1
    assert 'x&#124;y&#96;z&#92;n&#60;&#33;-- hfmirror&#58;begin files --&#62;' in text
    assert '\u202e' not in text
    text.encode()
    assert render(text, **about)


def test_card_never_says_information_needed():
    nothing = card.render(Facts(), ABOUT._replace(tree={}), base=None)
    assert 'needed' not in nothing.lower()
    assert not nothing.startswith('---')
    assert '- **' not in nothing


def test_source_is_remembered():
    assert card.source(render(source='5d41402a')) == '5d41402a'
    assert card.source(render(render(source='5d41402a'))) is None
    assert card.source('words') is None


def test_words_are_what_people_wrote():
    assert card.words(render()) == ''
    assert card.words(render(PERSON)) == card.words(PERSON)
    assert card.words(render(PERSON.replace('\n', '\r\n'))) == card.words(PERSON)
    assert 'Words of mine.' in card.words(PERSON)


def test_words_differ_when_a_person_edits_a_generated_key():
    assert card.words(render().replace('license: mit', 'license: gpl', 1)) == '---\nlicense: gpl\n---\n'


def test_transplant_puts_ours_into_theirs():
    ours = render(version='v2.0.0', facts=replace(FACTS, pipeline_tag='fill-mask'), source='abc')
    theirs = (
        render()
        .replace('<!-- hfmirror:end usage -->', '<!-- hfmirror:end usage -->\n\nEdited on the web.')
        .replace('license: mit', 'license: gpl', 1)
    )
    text = card.transplant(ours, theirs)
    assert 'Edited on the web.' in text
    assert '`v2.0.0`' in text
    assert 'v1.1.0' not in text
    assert data(text)['license'] == 'gpl'
    assert data(text)['pipeline_tag'] == 'fill-mask'
    assert card.source(text) == 'abc'
    assert card.transplant(ours, text) == text


def test_transplant_into_a_card_of_another_hand_adds_all():
    text = card.transplant(render(), PERSON)
    assert PERSON.partition('---\n# My model')[2] in text
    assert data(text)['library_name'] == 'transformers'
    assert data(text)['license'] == 'apache-2.0'


def test_transplant_takes_generated_keys_out_that_are_no_longer_true():
    ours = render(facts=replace(FACTS, metrics={}))
    assert 'model-index' not in data(card.transplant(ours, render()))


@pytest.mark.parametrize(
    'base', ['---\ntags: [a\n---\n', '<!-- hfmirror:begin files -->\n', '---\n- a\n---\n']
)
def test_broken_base_is_an_error_and_nothing_is_guessed(base):
    for act in (render, card.words, lambda text: card.transplant(render(), text)):
        with pytest.raises(CardError, match=r'^README.md, line \d'):
            act(base)


def test_space_gets_no_model_keys():
    text = render('---\nsdk: gradio\n---\n# App\n', repo_type='space')
    assert data(text) == {'sdk': 'gradio'}
    assert 'repo_type="space"' in text


def test_real_model_gets_a_card_around_its_own(minilm):
    files = {path.relative_to(minilm).as_posix(): path for path in minilm.rglob('*') if path.is_file()}
    sizes = {name: path.stat().st_size for name, path in files.items() if name != 'README.md'}
    base = files['README.md'].read_text('utf-8')
    text = card.render(read_facts(files), ABOUT._replace(tree=tree(**sizes)), base=base)
    for part in base.partition('\n---\n'):
        assert part in text
    assert ModelCard(text).data.base_model == 'nreimers/MiniLM-L6-H384-uncased'
    assert '- **Parameters**: 22,713,728 (F32 22,713,216, I64 512)' in text
    assert '- **Context**: 256 tokens' in text
    assert 'model = SentenceTransformer("me/my-model", revision="v1.1.0")' in text
    assert '| `model.safetensors` | 90.9 MB | F32, I64 | 22,713,728 |' in text
    assert card.words(text) == card.words(base)
    assert lint(text) == []
