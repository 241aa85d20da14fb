"""What a training is asked of its releases is checked before it begins; and what it logged becomes a plot and a table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hfmirror import errors
from hfmirror.integrations import curve
from hfmirror.integrations.terms import Terms

PNG = b'\x89PNG\r\n\x1a\n'


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'tag': 'step'}, 'every save would have the same name'),
        ({'tag': '{metric}'}, 'every save would have the same name'),
        ({'tag': 'step-{stp}'}, '{stp} is not known. Use {step}, {epoch}, {metric}'),
        ({'tag': 'step-{step:05d}'}, '{step} is not known'),
        ({'tag': 'step-{step!r}'}, '{step} is not known'),
        ({'tag': 'step {step}'}, 'has a blank'),
        ({'tag': '-{step}'}, 'begins with -'),
        ({'tag': 'step-{step'}, 'not a template'),
        ({'tag': 7}, 'not a template'),
        ({'keep': 0}, 'Use 1 or more, or None'),
        ({'keep': '3'}, 'Use 1 or more, or None'),
        ({'keep': True}, 'Use 1 or more, or None'),
        ({'repo_type': 'models'}, "Use one of 'model', 'dataset', 'space'. Did you mean 'model'?"),
        ({'repo_id': 'a/b/c'}, 'repo_id=a/b/c: two slashes'),
        ({'repo_id': 'me/a b'}, 'repo_id=me/a b'),
        ({'final_tag': 'v 1'}, 'no name for a version'),
        ({'token': ''}, 'the value is empty'),
        ({'config_file': 'nowhere.yaml'}, 'nowhere.yaml'),
    ],
)
def test_what_cannot_be_meant_is_told_at_once(given, message):
    with pytest.raises(errors.UsageError) as raised:
        Terms(**given)
    assert message in str(raised.value)


def test_a_fault_in_the_configuration_is_told_at_once(tmp_path):
    (tmp_path / 'config.yaml').write_text('huggingface: {remotez: [local]}\n')
    with pytest.raises(errors.ConfigError, match='remotez'):
        Terms()


def test_a_term_that_is_not_known_is_told():
    with pytest.raises(TypeError, match='keeps'):
        Terms(keeps=3)


@pytest.mark.parametrize(
    ('template', 'name'),
    [
        ('step-{step}', 'step-7'),
        ('a/{epoch}', 'a/2'),
        ('{step}-{metric}', '7-0.125'),
        ('e{epoch}', 'e2'),
    ],
)
def test_saves_are_called_as_the_template_says(template, name):
    assert Terms(tag=template).tag_of(step=7, epoch=2.0, metric=0.125) == name


def test_a_part_of_an_epoch_is_short_and_a_missing_metric_has_a_word():
    assert Terms(tag='{epoch}-{step}-{metric}').tag_of(step=7, epoch=1 / 3) == '0.3333-7-none'


def test_a_metric_that_is_no_number_has_a_word():
    assert Terms(tag='{step}-{metric}').tag_of(step=7, metric=float('nan')) == '7-none'


def test_a_save_knows_its_series_and_a_final_one_has_none(tmp_path):
    terms = Terms('me/x', keep=2, final_tag='v2.0.0', remotes='local')
    save, last = terms.save(tmp_path, 'step-1'), terms.save(tmp_path, None)
    assert (save.tag, save.series, save.keep_tags, save.remotes) == ('step-1', 'step-{step}', 2, ('local',))
    assert (last.tag, last.series, last.keep_tags) == ('v2.0.0', None, None)
    assert Path(save.folder).is_absolute()


# -- the curve


def history(steps=5):
    return [
        entry
        for step in range(1, steps + 1)
        for entry in (
            {'loss': 1 / step, 'learning_rate': 0.1, 'grad_norm': 2.0, 'epoch': step / 2, 'step': step},
            {
                'eval_loss': 2 / step,
                'eval_accuracy': step / 9,
                'eval_runtime': 3,
                'epoch': step / 2,
                'step': step,
            },
        )
    ] + [{'train_runtime': 9, 'train_loss': 0.5, 'total_flos': 1e9, 'step': steps}]


def test_the_curve_is_a_png():
    assert curve.plot(history()).startswith(PNG)


def test_no_pyplot_is_touched():
    curve.plot(history())
    assert 'matplotlib.pyplot' not in sys.modules


@pytest.mark.parametrize('nothing', [[], [{'step': 1}], [{'loss': 1.0}], [{'loss': float('nan'), 'step': 1}]])
def test_where_there_is_nothing_to_show_nothing_is_shown(nothing):
    assert curve.plot(nothing) is None
    assert curve.section(nothing, has_plot=False) == ''


def test_the_table_has_the_evaluations():
    assert curve.section(history(2), has_plot=True).splitlines() == [
        '![Losses and metrics over the steps of the training](training_curve.png)',
        '',
        '| step | epoch | loss | eval&#95;loss | eval&#95;accuracy |',
        '|--:|--:|--:|--:|--:|',
        '| 1 | 0.5 | 1 | 2 | 0.1111 |',
        '| 2 | 1 | 0.5 | 1 | 0.2222 |',
    ]


def test_without_evaluations_the_table_has_the_losses():
    rows = [{'loss': 1.0, 'step': 1}, {'loss': 0.5, 'step': 2}]
    assert curve.section(rows, has_plot=False).splitlines()[2:] == ['| 1 | 1 |', '| 2 | 0.5 |']


@pytest.mark.heavy
def test_a_long_training_is_thinned():
    long = history(50_000)
    assert curve.section(long, has_plot=False).count('\n') == 26
    assert '| 50,000 |' in curve.section(long, has_plot=False)
    assert len(curve.plot(long)) < 400_000


def test_names_and_values_of_strangers_do_no_harm():
    odd = [
        {
            'step': step,
            '_|<b>$x^': 1.0,
            'loss': float('nan'),
            'eval_loss': float('inf'),
            'text': 'x',
            'flag': True,
        }
        for step in (1, 2)
    ]
    assert curve.plot(odd).startswith(PNG)
    assert '<b>' not in curve.section(odd, has_plot=False)
    assert 'nan' not in curve.section(odd, has_plot=False)


def test_steps_that_a_resumed_training_has_done_again_count_once():
    run = [{'step': step, 'loss': loss} for step, loss in ((1, 9), (2, 8), (3, 7), (2, 6), (3, 5), (4, 4))]
    assert [entry['loss'] for entry in curve.trajectory(run)] == [9, 6, 5, 4]


def test_without_matplotlib_there_is_a_line_that_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    assert curve.account(history())[0] is None
    assert "pip install 'hf-mirror[plot]'" in capsys.readouterr().err
