"""The pages for people, in a real headless Chromium, as somebody sees them who has released three versions."""

import json
import shutil
from pathlib import Path

import pytest

from hfmirror.server import running_hub
from tests.support.browser import Browser
from tests.support.clients import run_hf
from tests.support.folder import TrainingFolder
from tests.support.mirror import Mirror, bare, git

pytestmark = pytest.mark.heavy

REPO = 'me/tiny-model'
PICTURES = Path(__file__).parents[1] / 'build' / 'screenshots'
HOSTILE = """
<script>window.hacked = 1</script><img src="x" onerror="window.hacked = 2"><iframe src="javascript:1"></iframe>
[a link](javascript:window.hacked=3) ![a picture](http://example.org/seen.png) <style>body { display: none }</style>
"""


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    if shutil.which('chromium') is None:
        pytest.fail('chromium is not there; run scripts/setup clients')
    with Browser(tmp_path_factory.mktemp('browser')) as running:
        yield running


@pytest.fixture(scope='module')
def released(tmp_path_factory):
    """A Hub with three versions of REPO, each with metrics; not to be changed."""
    place = tmp_path_factory.mktemp('released')
    folder, mirror = TrainingFolder(place / 'tiny-model'), Mirror(place)
    person = {'HOME': str(place), 'HFMIRROR_HOME': str(mirror.home), 'GIT_CONFIG_NOSYSTEM': '1'}
    person |= {f'GIT_{who}_{what}': 'ada@x' for who in ('AUTHOR', 'COMMITTER') for what in ('NAME', 'EMAIL')}
    folder.write('config.json', '{"architectures": ["BertModel"], "model_type": "bert"}\n')
    folder.write('model.bin', bytes(range(256)) * 40)
    folder.write('notes/training.txt', 'three epochs\n')
    for tag, accuracy, loss in (('v1.0.0', 0.81, 0.5), ('v1.1.0', 0.86, 0.4), ('v2.0.0', 0.93, 0.125)):
        folder.write('eval_results.json', json.dumps({'eval_accuracy': accuracy, 'eval_loss': loss}))
        mirror.push(folder, '--tag', tag, env=person)
    with running_hub(mirror.home / 'hub') as running:
        yield running


@pytest.fixture
def page(browser, released):
    """Open a tab and show a page of the Hub with REPO."""

    def show(path='/', *, status=200, **options):
        opened = browser.page(**options)
        opened.open(released.endpoint + path)
        assert opened.status == status
        return opened

    return show


PAGES = {
    'home': '/',
    'card': f'/{REPO}',
    'files': f'/{REPO}/tree/main',
    'folder': f'/{REPO}/tree/v1.0.0/notes',
    'file': f'/{REPO}/blob/main/config.json',
    'versions': f'/{REPO}/versions',
    'history': f'/{REPO}/commits/main',
    'missing': '/me/nowhere',
}
every_page = pytest.mark.parametrize('name', PAGES)


def status(name):
    return 401 if name == 'missing' else 200


@every_page
def test_page_is_as_a_person_sees_it(page, name):
    for dark in (False, True):
        shown = page(PAGES[name], dark=dark, status=status(name))
        shown.screenshot(PICTURES / f'{name}{"-dark" if dark else ""}.png')
        assert shown.value('document.title')
        assert shown.texts('h1')


@every_page
def test_page_asks_no_other_host_and_has_no_errors(page, released, name):
    shown = page(PAGES[name], status=status(name))
    assert [url for url in shown.requests if not url.startswith(released.endpoint)] == []
    complaints = [text for text in shown.complaints if name != 'missing' or '401' not in text]
    assert complaints == []


@every_page
def test_page_reads_the_same_without_javascript(page, name):
    with_script, without = (page(PAGES[name], script=script, status=status(name)) for script in (True, False))
    assert with_script.value('document.body.innerText') == without.value('document.body.innerText')


@every_page
def test_page_fits_a_phone(page, name):
    shown = page(PAGES[name], width=360, height=740, status=status(name))
    shown.screenshot(PICTURES / f'{name}-phone.png')
    assert shown.value('document.documentElement.scrollWidth') <= 360


CONTRAST = """
(() => {
    const parts = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
    const behind = element => {
        for (; element; element = element.parentElement) {
            const colour = parts(getComputedStyle(element).backgroundColor);
            if (colour.length === 3 || colour[3] > .9) return colour;
        }
        return [255, 255, 255];
    };
    const poor = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!own || !element.checkVisibility() || element.closest('svg')) continue;
        const [a, b] = [light(parts(getComputedStyle(element).color)), light(behind(element))];
        const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (ratio < 4.5) poor.push(`${element.tagName}.${element.className} ${element.innerText.slice(0, 30)}: ${ratio.toFixed(1)}`);
    }
    return poor;
})()
"""


@every_page
@pytest.mark.parametrize('dark', [False, True], ids=['light', 'dark'])
def test_text_has_contrast(page, name, dark):
    assert page(PAGES[name], dark=dark, status=status(name)).value(CONTRAST) == []


def test_dark_is_dark_and_light_is_light(page):
    colour = 'getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)'
    assert min(page('/').value(colour)) > 200
    assert max(page('/', dark=True).value(colour)) < 60


def test_home_leads_to_the_repository(page):
    shown = page('/')
    shown.follow(f'a[href="/{REPO}"]')
    assert shown.texts('h1')[0] == REPO


def test_card_is_rendered(page):
    text = page(f'/{REPO}').value('document.body.innerText')
    assert 'BertModel' in text
    assert '---' not in text


def test_card_tells_how_to_clone_and_load_it(page, released):
    text = page(f'/{REPO}').value('document.body.innerText')
    assert f'git clone {released.endpoint}/{REPO}' in text
    assert f'HF_ENDPOINT={released.endpoint}' in text
    assert 'v2.0.0' in text


def test_versions_stand_with_their_metrics_newest_first(page):
    shown = page(f'/{REPO}/versions')
    rows = shown.texts('tbody tr')
    assert [row.split()[0] for row in rows] == ['v2.0.0', 'v1.1.0', 'v1.0.0']
    assert '0.93' in rows[0]
    assert '0.125' in rows[0]


def test_each_metric_has_a_plot_of_every_version(page):
    shown = page(f'/{REPO}/versions')
    assert shown.value("document.querySelectorAll('main svg').length") == 2
    text = shown.value("[...document.querySelectorAll('main svg')].map(plot => plot.textContent).join()")
    for version in ('v1.0.0', 'v1.1.0', 'v2.0.0'):
        assert version in text


def test_files_of_a_version_have_sizes(page):
    rows = page(f'/{REPO}/tree/v1.0.0').texts('tbody tr')
    (weights,) = [row for row in rows if 'model.bin' in row]
    assert '10.2 kB' in weights or '10 kB' in weights or '10,240' in weights


def test_folders_are_walked_by_links(page):
    shown = page(f'/{REPO}/tree/main')
    shown.follow(f'a[href="/{REPO}/tree/main/notes"]')
    shown.follow(f'a[href="/{REPO}/blob/main/notes/training.txt"]')
    assert 'three epochs' in shown.value('document.body.innerText')


def test_hostile_card_does_nothing(hub, browser, tmp_path):
    work = tmp_path / 'work'
    git('init', '-q', '-b', 'main', work)
    (work / 'README.md').write_text(f'# A card\n{HOSTILE}\nThe end is shown.\n')
    git('add', '-A', cwd=work)
    git('commit', '-q', '-m', 'hostile', cwd=work)
    git('push', '-q', bare(hub.root / 'models/eve/hostile.git'), 'main', cwd=work)
    shown = browser.page()
    shown.open(f'{hub.endpoint}/eve/hostile')
    assert shown.value('window.hacked') is None
    assert shown.value("document.querySelectorAll('main script, iframe, main style').length") == 0
    assert shown.value("document.querySelectorAll('[onerror], a[href^=javascript]').length") == 0
    assert [url for url in shown.requests if not url.startswith(hub.endpoint)] == []
    assert 'The end is shown.' in shown.value('document.body.innerText')


def test_private_repository_is_not_shown(hub, browser, tmp_path):
    run_hf(hub, tmp_path / 'ada', 'repos', 'create', 'local/secret', '--private')
    shown = browser.page()
    shown.open(hub.endpoint)
    assert 'secret' not in shown.value('document.body.innerText')
    shown.open(f'{hub.endpoint}/local/secret')
    assert shown.status == 401
    assert 'secret' not in shown.value('document.querySelector("main").innerText')


def test_empty_hub_says_what_to_do(hub, browser):
    shown = browser.page()
    shown.open(hub.endpoint)
    shown.screenshot(PICTURES / 'empty.png')
    assert 'hfmirror push' in shown.value('document.body.innerText')
