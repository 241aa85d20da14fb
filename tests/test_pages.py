"""The pages for people: what they show, to whom, and that nothing of a card acts."""

from __future__ import annotations

import re
import urllib.error
import urllib.request

import pytest

from hfmirror.server.pages import cards, plots


def look(hub, path, token=None):
    """Return (status, headers, HTML) as a browser gets it."""
    request = urllib.request.Request(hub.endpoint + path, headers={'Accept': 'text/html'})
    if token:
        request.add_header('Authorization', f'Bearer {token}')
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read().decode()


@pytest.fixture
def released(mirror, folder, hub):
    """The repository local/m with two versions and their metrics."""
    folder.write('eval_results.json', '{"eval_loss": 0.5, "eval_accuracy": 0.75}')
    mirror.push(folder, '--repo', 'local/m', '--tag', 'v1.0.0')
    folder.write('eval_results.json', '{"eval_loss": 0.25, "eval_accuracy": 0.875}')
    mirror.push(folder, '--repo', 'local/m', '--tag', 'v1.1.0', '-m', 'more <b>data</b>')
    return hub


def test_the_first_page_lists_every_repository_with_its_version_and_metrics(released):
    _, _, html = look(released, '/')
    assert 'href="/local/m"' in html
    assert 'v1.1.0' in html
    assert '<b>0.875</b>' in html


def test_the_first_page_can_be_searched(released):
    assert 'href="/local/m"' in look(released, '/?q=LOCAL')[2]
    assert 'href="/local/m"' not in look(released, '/?q=elsewhere')[2]


def test_an_empty_hub_says_how_to_fill_it(hub):
    assert 'hfmirror push' in look(hub, '/')[2]


def test_the_page_of_a_repository_shows_its_card_and_how_to_load_it(released):
    _, _, html = look(released, '/local/m')
    assert '<h1>' in html
    assert f'git clone {released.endpoint}/local/m' in html
    assert f'export HF_ENDPOINT={released.endpoint}' in html
    assert '--revision v1.1.0' in html


@pytest.mark.heavy
def test_the_versions_are_listed_with_metrics_and_a_plot_of_each(released):
    _, _, html = look(released, '/local/m/versions')
    assert html.index('v1.1.0') < html.index('v1.0.0')
    assert re.findall(r'<figcaption>(\w+)</figcaption>', html) == ['eval_accuracy', 'eval_loss']
    assert '<title>v1.0.0: 0.75</title>' in html


def test_a_message_is_shown_as_text(released):
    html = look(released, '/local/m/versions')[2]
    assert 'more &lt;b&gt;data&lt;/b&gt;' in html


def test_the_files_of_a_version_are_listed_with_their_sizes(released):
    _, _, html = look(released, '/local/m/tree/v1.0.0')
    assert 'href="/local/m/blob/v1.0.0/config.json"' in html
    assert '<span class="badge lfs">LFS</span>' in html


def test_a_text_file_is_shown_and_can_be_downloaded(released):
    _, _, html = look(released, '/local/m/blob/v1.0.0/eval_results.json')
    assert '&#34;eval_loss&#34;: 0.5' in html
    assert '/local/m/resolve/v1.0.0/eval_results.json?download=true' in html


def test_the_history_names_the_versions(released):
    _, _, html = look(released, '/local/m/commits/main')
    assert html.count('<li>') == 2
    assert 'v1.1.0' in html


def test_a_commit_shows_what_it_changed(released):
    commit = re.search(r'/local/m/commit/([0-9a-f]{40})', look(released, '/local/m/commits/main')[2])[1]
    _, _, html = look(released, f'/local/m/commit/{commit}')
    assert '<td>modified</td><td>eval_results.json</td>' in html


@pytest.mark.heavy
@pytest.mark.parametrize(
    'path', ['/nobody', '/local/none', '/local/m/tree/none', '/local/m/blob/main/none', '/a/b/c/d']
)
def test_what_is_not_there_is_a_page_that_says_so(released, path):
    status, headers, html = look(released, path, released.token)
    assert status == 404
    assert headers['Content-Type'].startswith('text/html')
    assert '<h1>404</h1>' in html


def test_private_repositories_are_on_no_page_of_a_stranger(released):
    released.hub.repositories.find('model', 'local', 'm').change_settings({'private': True})
    assert 'local/m' not in look(released, '/')[2]
    assert look(released, '/local/m')[0] == 401
    assert look(released, '/local/m', released.token)[0] == 200


@pytest.mark.heavy
def test_no_page_runs_scripts_or_loads_anything_from_elsewhere(released):
    for path in ('/', '/local/m', '/local/m/versions', '/local/m/tree/main', '/local/m/commits/main'):
        _, headers, html = look(released, path)
        assert "default-src 'none'" in headers['Content-Security-Policy']
        assert headers['X-Content-Type-Options'] == 'nosniff'
        assert '<script' not in html


HOSTILE = [
    '<script>alert(1)</script>',
    '<img src=x onerror=alert(1)>',
    '[x](javascript:alert(1))',
    '<a href="jaVaScRiPt:alert(1)">x</a>',
    '<iframe src="https://example.org"></iframe>',
    '<form action="/x"><input name="token"><button>go</button></form>',
    '<style>body{display:none}</style>',
    '<svg onload=alert(1)><script>alert(1)</script></svg>',
    '<math><mtext></mtext><script>alert(1)</script></math>',
    '<base href="https://example.org/">',
    '<meta http-equiv="refresh" content="0;url=https://example.org">',
    '![x](data:text/html;base64,PHNjcmlwdD4=)',
]


@pytest.mark.parametrize('text', HOSTILE)
def test_nothing_of_a_card_acts(text):
    html = str(cards.render(f'# title\n\n{text}\n', web_path='a/b', revision='main')).lower()
    assert not re.search(
        r'<(script|iframe|form|button|style|svg|base|meta)|\son\w+=|(?:href|src)="?\s*(?:javascript|data:text)',
        html,
    ), html


def test_links_of_a_card_lead_to_files_of_the_same_revision():
    html = cards.render('[c](docs/a%20b.md#x) ![i](./img/p.png)', web_path='a/b', revision='feat/x')
    assert 'href="/a/b/blob/feat%2Fx/docs/a%20b.md#x"' in html
    assert 'src="/a/b/resolve/feat%2Fx/img/p.png"' in html


def test_links_of_a_card_never_lead_out_of_its_repository():
    html = cards.render('[c](../../../api/whoami-v2)', web_path='a/b', revision='main')
    assert 'href' not in html


def test_tables_of_a_card_are_tables():
    assert '<td>1</td>' in cards.render('| a |\n|---|\n| 1 |\n', web_path='a/b', revision='main')


def test_deep_markdown_is_rendered_in_bounded_time():
    cards.render('>' * 50_000 + 'x', web_path='a/b', revision='main')
    cards.render('[' * 50_000, web_path='a/b', revision='main')


def test_a_plot_of_one_version_has_one_point():
    assert plots.plot('loss', [('v1', 0.5)]).svg.count('<circle') == 1


def test_a_flat_metric_is_plotted_in_the_middle():
    svg = plots.plot('loss', [('v1', 0.0), ('v2', 0.0)]).svg
    heights = {float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', svg)}
    assert len(heights) == 1


def test_names_in_a_plot_are_escaped():
    svg = plots.plot('<b>', [('"><script>', 1.0)]).svg
    assert '<script' not in svg
    assert '<b>' not in svg


@pytest.mark.parametrize(
    'values',
    [(0.71, 0.93), (0.26, 1.01), (3e-7, 9e-7), (12, 48_000), (-3, 5), (0, 0), (1e300, 1.1e300)],
)
def test_the_rules_of_a_plot_are_two_to_four_round_numbers(values):
    svg = plots.plot('loss', [('v1', values[0]), ('v2', values[1])]).svg
    marks = re.findall(r'text-anchor="end">([^<v]+)<', svg)
    assert 2 <= len(set(marks)) <= 5
    digits = {
        mark.replace(',', '').lower().split('e')[0].strip('-').replace('.', '').strip('0') for mark in marks
    }
    assert all(len(number) <= 4 for number in digits)


def test_values_that_no_plot_has_room_for_are_left_out(mirror, folder, hub):
    folder.write('eval_results.json', '{"eval_loss": 1.7e308}')
    mirror.push(folder, '--repo', 'local/m', '--tag', 'v1.0.0')
    folder.write('eval_results.json', '{"eval_loss": 0.5}')
    mirror.push(folder, '--repo', 'local/m', '--tag', 'v1.1.0')
    status, _, html = look(hub, '/local/m/versions')
    assert status == 200
    assert html.count('<circle') == 1
