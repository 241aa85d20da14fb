"""May anybody do or see what they may not? Every route is walked, with names that lead out, without a token, with another's."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import threading
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfmirror.server.answers import Problem, answer
from hfmirror.server.app import _routes
from hfmirror.server.pages import cards
from hfmirror.server.pages.shown import commands
from hfmirror.server.requests import parse_object
from tests.support.mirror import git
from tests.support.rest import call, commit_by_path, new_user

SECRET = 'what-strangers-must-not-read'
MARKUP = '<script>alert(1)</script><img src=x onerror=alert(1)>"\'<svg onload=alert(1)>'
INERT = {
    'html', 'head', 'meta', 'title', 'link', 'body', 'header', 'a', 'nav', 'form', 'input', 'main', 'div', 'h1', 'h2', 'h3', 'span', 'p',
    'article', 'aside', 'section', 'dl', 'dt', 'dd', 'code', 'pre', 'table', 'thead', 'tbody', 'tfoot', 'tr', 'th', 'td', 'time', 'ul',
    'ol', 'li', 'label', 'select', 'option', 'button', 'figure', 'figcaption', 'svg', 'line', 'text', 'polyline', 'circle', 'img', 'b',
}  # fmt: skip
WORDS = {
    'kind': 'models',
    'namespace': 'local',
    'revision': 'main',
    'path': 'README.md',
    'number': '1',
    'event': '1',
    'account': 'local',
    'branch': 'main',
    'tag': 'main',
    'range': 'main..main',
    'oid': 'ab' * 32,
    'hash': 'ab' * 32,
    'generation': '0' * 16,
    'part': '1',
    'file': 'hub.css',
    'rest': 'locks',
}
EVIL = [
    '..', '%2e%2e', '%2e%2e%2f%2e%2e', '..%2f..%2f..%2fcanary', '%2fetc%2fpasswd', '%00', 'a%00b', '.git', '.git%2fconfig', 'HEAD',
    '--upload-pack=x', '-', '%5c..%5c', 'a' * 3000, '%f0%9f%98%80', '%ff%fe', '%ed%a0%80', '%1b[31m', '%0d%0aX-Evil:1', '%01',
    '%7f', '%c2%85', '%e2%80%a8', 'main%5e%7btree%7d', 'main@%7b1%7d', '%3a%2f', '~', '*', '%5b', 'canary', 'models', 'api', '0',
    '-1', '%', '%zz', '%2', '%25', '%252e%252e', 'a%2fb', 'main..', '..main', 'refs%2fheads%2fmain', '0' * 40, 'x.git', '9' * 30,
]  # fmt: skip
PARTS = st.lists(st.sampled_from(EVIL), min_size=1, max_size=3).map(''.join)
BODIES = [
    None,
    b'{}',
    b'\xff\xfe\x00',
    b'{"name": "../../canary", "type": "model", "organization": "..", "fromRepo": "local/x", "toRepo": "../canary/y"}',
    b'{"repository": "../canary", "tag": "../../x", "startingPoint": "../../canary", "oid": "../../canary", "size": 1}',
    b'{"title": "a\\ud800b", "comment": "\\ud800", "status": "\\ud800", "content": "\\u0000"}',
    b'{"key":"header","value":{"summary":"x"}}\n{"key":"file","value":{"path":"../canary","content":"aGk=","encoding":"base64"}}\n',
    b'paths=..%2f..%2fcanary&paths=%00',
]


def addresses(name='x'):
    """Return (method, address, whether it names a repository) for every route of the application."""
    words = {**WORDS, 'name': name}
    return [
        (
            method,
            re.sub(r'\{(\w+)(?::\w+)?\}', lambda match: words.get(match[1], 'x'), route.path),
            'name' in route.param_convertors,
        )
        for route in _routes()
        for method in sorted(route.methods or {'POST'})
    ]


class Acting(HTMLParser):
    """What of a page could run or be sent elsewhere: its tags beyond the inert ones, and attributes that act."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        acts = [
            name
            for name, value in attrs
            if name.startswith('on') or name in ('style', 'formaction', 'srcdoc')
        ]
        acts += [
            value for name, value in attrs if re.match(r'\s*(javascript|data|vbscript):', value or '', re.I)
        ]
        if tag not in INERT or acts:
            self.found.append((tag, attrs))


def make(hub, **values):
    answer = call(hub, 'POST', '/api/repos/create', {'type': 'model', 'name': 'x', **values})
    assert answer.status == 200
    return hub.root / 'models' / 'local' / f'{values.get("name", "x")}.git'


def state(hub):
    """Return the bytes of every file below the root but locks."""
    return {
        path: path.read_bytes()
        for path in hub.root.rglob('*')
        if path.is_file() and path.suffix != '.lock' and not path.name.startswith('.')
    }


# -- names


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_name_in_any_route_leads_out_or_brings_the_hub_down(hub, data):
    canary = hub.root.parent / 'canary'
    if not canary.exists():
        canary.write_text(SECRET)
        make(hub)
    route = data.draw(st.sampled_from(_routes()))
    words = {**WORDS, 'name': 'x'}
    for name in data.draw(st.sets(st.sampled_from(sorted(route.param_convertors) or ['none']), min_size=1)):
        words[name] = words[name] if name == 'kind' else data.draw(PARTS)
    address = re.sub(r'\{(\w+)(?::\w+)?\}', lambda match: words.get(match[1], 'x'), route.path)
    query = data.draw(
        st.sampled_from(['', '?cursor={}', '?p={}', '?revision={}', '?q={}', '?signature={}&size=1'])
    )
    method = data.draw(st.sampled_from(sorted(route.methods or {'POST'})))
    accept = {'Accept': data.draw(st.sampled_from(['text/html', '*/*']))}
    body = data.draw(st.sampled_from(BODIES))
    got = call(hub, method, address + query.format(data.draw(PARTS)), body=body, headers=accept)
    assert got.status < 500
    assert SECRET.encode() not in got.body
    assert 'X-Evil' not in got.headers
    assert got.headers.get('Location', '/')[:2] not in ('//', '/\\')
    assert sorted(path.name for path in hub.root.parent.iterdir()) == ['canary', 'hub']


def test_links_in_a_tree_are_told_and_never_followed(hub):
    path = make(hub)
    lines = [
        'commit refs/heads/main', 'committer Ada <ada@example.org> 1700000000 +0000', 'data 1', 'x', 'from refs/heads/main^0',
        'M 120000 inline link', 'data 11', '/etc/passwd', 'M 120000 inline up', 'data 10', '../../HEAD', f'M 160000 {"1" * 40} sub', '',
    ]  # fmt: skip
    subprocess.run(['git', 'fast-import', '--quiet'], cwd=path, input='\n'.join(lines).encode(), check=True)
    got = [
        call(hub, 'GET', f'/local/x/{word}/main/{name}')
        for word in ('resolve', 'raw')
        for name in ('link', 'up')
    ]
    assert [one.body for one in got] == [b'/etc/passwd', b'../../HEAD'] * 2
    assert call(hub, 'GET', '/local/x/resolve/main/up/config').status == 404
    assert call(hub, 'GET', '/local/x/resolve/main/sub').status == 404


def test_a_linked_namespace_or_repository_is_none(hub, tmp_path):
    outside = tmp_path / 'outside' / 'x.git'
    git('init', '-q', '--bare', outside, cwd=tmp_path)
    make(hub)
    (hub.root / 'models' / 'evil').symlink_to(outside.parent)
    (hub.root / 'models' / 'local' / 'y.git').symlink_to(outside)
    asked = (
        '/api/models/evil/x',
        '/api/models/local/y',
        '/evil/x/info/refs?service=git-upload-pack',
        '/local/y',
    )
    assert [call(hub, 'GET', one).status for one in asked] == [404] * 4
    assert [one['id'] for one in call(hub, 'GET', '/api/models').json] == ['local/x']


@pytest.mark.parametrize(
    'text', ['a\x1bb', 'a\x01b', 'a\x7fb', 'a\r\nX-Evil: 1', 'a\ud800b', '\udcff', '\u2028']
)
@pytest.mark.parametrize('path', ['/api/models/a/b', '/a/b/info/lfs/objects/batch', '/a/b/info/refs'])
def test_an_error_can_quote_any_text(path, text):
    headers = answer(Problem(400, text), path).headers
    assert headers['X-Error-Message'].isprintable()


def test_an_error_about_a_control_character_is_answered(hub):
    make(hub)
    assert call(hub, 'GET', '/api/models/local/x/tree/main/%01').status == 404
    assert call(hub, 'GET', '/local/x/commits/%1b').status == 404


# -- who may


@pytest.fixture
def secrets(hub):
    """Private repositories of each kind, ``x`` and one that was called ``old``, with a discussion."""
    for kind in ('model', 'dataset', 'space'):
        about = {'type': kind, 'private': True, 'sdk': 'static'}
        make(hub, **about)
        make(hub, **about, name='old')
        moved = {'fromRepo': 'local/old', 'toRepo': f'local/{SECRET}', 'type': kind}
        assert call(hub, 'POST', '/api/repos/move', moved).status == 200
        commit_by_path(
            hub.root / f'{kind}s/local/x.git', {'README.md': f'---\nlicense: mit\n---\n{SECRET}\n'}
        )
        said = {'title': SECRET, 'description': SECRET}
        assert call(hub, 'POST', f'/api/{kind}s/local/x/discussions', said).status == 200
    return hub


@pytest.mark.parametrize(('user', 'allowed'), [(None, {400, 401, 403}), ('eve', {400, 401, 403, 404})])
def test_no_route_shows_or_changes_a_private_repository_of_others(secrets, user, allowed):
    hub = secrets
    token = new_user(hub, user) if user else None
    before, wrong = state(hub), []
    for name in ('x', 'old'):
        for method, address, named in addresses(name):
            values = {
                'name': name,
                'organization': 'local',
                'fromRepo': 'local/x',
                'toRepo': 'eve/x',
                'repository': 'eve/x',
            }
            got = call(hub, method, f'{address}?service=git-upload-pack', values, token=token)
            is_open = not named or address.startswith('/xet/') or '/info/lfs/locks' in address
            is_shown = SECRET in str(got.headers) + got.body.decode('utf-8', 'replace')
            if is_shown or not (got.status in allowed or (is_open and got.status < 500)):
                wrong.append((method, address, got.status))
    assert wrong == []
    assert state(hub) == before


def test_to_a_stranger_each_answer_is_that_of_a_repository_that_is_not_there(secrets):
    eve = new_user(secrets, 'eve')
    there, not_there = addresses('x'), addresses('nowhere')
    differing = [
        (method, one)
        for (method, one, named), (_, other, _) in zip(there, not_there, strict=True)
        if named
        for token in (None, eve)
        if call(secrets, method, one, {}, token=token)[::2]
        != call(secrets, method, other, {}, token=token)[::2]
    ]
    assert differing == []


def test_another_writer_changes_nothing_but_what_is_said_and_proposed(hub):
    make(hub)
    eve = new_user(hub, 'eve')
    call(hub, 'POST', '/api/models/local/x/discussions', {'title': 'A question', 'description': ''})
    before = state(hub)
    values = {
        'name': 'x', 'organization': 'local', 'fromRepo': 'local/x', 'toRepo': 'eve/x', 'repository': 'local/copy', 'tag': 'v2',
        'title': 'Another title', 'status': 'closed', 'private': True, 'message': 'x', 'files': [], 'operation': 'upload',
        'objects': [{'oid': 'ab' * 32, 'size': 3}], 'key': 'header', 'value': {'summary': 'x'},
    }  # fmt: skip
    for method, address, _ in addresses():
        # By design whoever sees a repository and may write at all opens discussions and pull requests, and comments.
        if method not in ('GET', 'HEAD') and not address.endswith(('/discussions', '/comment')):
            call(hub, method, address, values, token=eve)
    assert state(hub) == before


# -- browsers


def basic(hub):
    return 'Basic ' + base64.b64encode(f'local:{hub.token}'.encode()).decode()


@pytest.mark.parametrize(
    'sent',
    [
        {'Origin': 'http://evil.example'},
        {'Origin': 'null'},
        {'Origin': 'http://127.0.0.1:1'},
        {'Sec-Fetch-Site': 'cross-site'},
        {'Sec-Fetch-Site': 'same-site'},
    ],
)
def test_a_page_of_another_site_changes_nothing_with_a_remembered_password(hub, sent):
    make(hub)
    form = json.dumps({'type': 'model', 'name': 'x'})
    headers = {'Authorization': basic(hub), 'Content-Type': 'text/plain', **sent}
    for method, address, _ in addresses():
        if method not in ('GET', 'HEAD'):
            assert call(hub, method, address, token=None, body=form, headers=headers).status >= 204
    assert call(hub, 'DELETE', '/api/repos/delete', token=None, body=form, headers=headers).status == 403
    assert call(hub, 'GET', '/api/models/local/x').status == 200


def test_a_password_from_a_program_or_from_our_own_address_is_taken(hub):
    for name, sent in (('a', {}), ('b', {'Origin': hub.endpoint, 'Sec-Fetch-Site': 'same-origin'})):
        headers = {'Authorization': basic(hub), **sent}
        assert (
            call(hub, 'POST', '/api/repos/create', {'name': name}, token=None, headers=headers).status == 200
        )


def test_no_other_site_is_let_in_by_cors(hub):
    make(hub)
    headers = {'Origin': 'http://evil.example', 'Access-Control-Request-Method': 'POST'}
    for method in ('GET', 'OPTIONS'):
        got = call(hub, method, '/api/models/local/x', token=None, headers=headers)
        assert not any(name.lower().startswith('access-control') for name in got.headers)


@pytest.mark.parametrize('accept', ['text/html', '*/*'])
def test_no_answer_acts_in_a_browser(hub, accept):
    make(hub)
    wrong = []
    for method, address, _ in addresses():
        got = call(hub, method, address, {}, headers={'Accept': accept})
        policy = got.headers.get('Content-Security-Policy', '')
        if (
            not re.search(r"default-src 'none'|sandbox$", policy)
            or got.headers['X-Content-Type-Options'] != 'nosniff'
        ):
            wrong.append((method, address, got.status))
    assert wrong == []


@pytest.mark.parametrize(
    'name', ['evil.html', 'evil.svg', 'evil.xml', 'evil.xhtml', 'evil.js', 'evil.pdf', 'evil', 'evil.htm']
)
def test_no_file_of_a_repository_runs_in_our_origin(hub, name):
    commit_by_path(make(hub), {name: f'<html xmlns="http://www.w3.org/1999/xhtml">{MARKUP}</html>'})
    for word in ('resolve', 'raw'):
        got = call(hub, 'GET', f'/local/x/{word}/main/{name}')
        assert got.headers['Content-Type'].split(';')[0] in ('text/plain', 'application/octet-stream')
        assert 'sandbox' in got.headers['Content-Security-Policy']


@pytest.fixture
def hostile(hub):
    """A repository in which every name and text is markup, or no UTF-8."""
    path = make(hub)
    name = '"<img src=x onerror=alert(1)>.html"'
    card = f'---\ntags: ["<script>alert(1)</script>"]\npipeline_tag: <svg onload=alert(1)>\n---\n{MARKUP}\n'
    commit_by_path(
        path,
        {'README.md': card, name: 'x', '"\\377\\376.txt"': 'x', '"dir\\377/f"': 'x'},
        message=f'{MARKUP}\n\n{MARKUP}',
    )
    git('update-ref', 'refs/heads/<script>alert(1)</script>', 'main', cwd=path)
    git('tag', '-a', '-m', f'{MARKUP}\n\nMetrics:\n{MARKUP}: 0.5\n', 'exp-<script>-001', 'main', cwd=path)
    tree, parent = (git('rev-parse', what, cwd=path).encode() for what in ('main^{tree}', 'main'))
    person = b'\xff<script>alert(1)</script> <a@b> 99999999999999 +0000'
    lines = [
        b'tree ' + tree,
        b'parent ' + parent,
        b'author ' + person,
        b'committer ' + person,
        b'',
        b'\xff<script>\x1b[31m',
    ]
    command = ['git', 'hash-object', '-t', 'commit', '-w', '--stdin', '--literally']
    made = subprocess.run(command, cwd=path, input=b'\n'.join(lines), capture_output=True, check=True)
    git('update-ref', 'refs/heads/bad', made.stdout.decode().strip(), cwd=path)
    for ref in (b'refs/heads/\xff\xfe', b'refs/tags/exp-\xff<b>-002'):
        subprocess.run(['git', 'update-ref', ref, 'main'], cwd=path, check=True)
    return hub


@pytest.mark.parametrize(
    'address',
    [
        '/', '/local', '/?q=%3Cscript%3E%22', '/%3Cscript%3E', '/local/x', '/local/x/versions', '/local/x/tree/main', '/local/x/tree/bad',
        '/local/x/tree/%3Cscript%3Ealert(1)%3C%2Fscript%3E', '/local/x/commits/main', '/local/x/commits/bad', '/local/x/commit/bad',
        '/local/x/commit/main', '/local/x/blob/main/README.md', '/local/x/blob/main/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E.html',
        '/local/x/tree/main/%3Cscript%3E', '/local/x/tree/%22%3E%3Cscript%3E',
    ],
)  # fmt: skip
def test_nothing_that_a_pusher_wrote_acts_on_a_page(hostile, address):
    got = call(hostile, 'GET', address, headers={'Accept': 'text/html'})
    assert got.status in (200, 404)
    assert Acting(got.body.decode()).found == []
    assert "default-src 'none'" in got.headers['Content-Security-Policy']
    assert 'unsafe' not in got.headers['Content-Security-Policy']


@pytest.mark.parametrize(
    'there', ['//evil.example', '/\\evil.example', 'https://evil.example', '%0d%0aX-Evil:1', '\\\\evil']
)
def test_no_redirection_leads_to_another_site(hub, there):
    make(hub)
    call(hub, 'POST', '/api/repos/move', {'fromRepo': 'local/x', 'toRepo': 'local/y'})
    for address in (
        f'/local/y/tree?revision={there}',
        f'/local/x/tree/{there}',
        f'/local/x?next={there}',
        f'//local/x/tree/{there}',
    ):
        got = call(hub, 'GET', address)
        location = got.headers.get('Location', '/local/')
        assert re.match(r'/local/(y[/?]|$)', location)
        assert 'X-Evil' not in got.headers


def test_a_version_named_like_a_command_does_not_run_when_pasted(hub):
    make(hub)
    repo = hub.hub.repositories.find('model', 'local', 'x')
    shown = dict(commands(repo, 'http://h', "exp-$(touch${IFS}owned)';touch${IFS}owned;'-001", {}))
    for what in ('hf', 'git', 'hfmirror'):
        subprocess.run(
            ['bash', '-c', 'hf() { :; }; git() { :; }; hfmirror() { :; }; ' + shown[what]], check=True
        )
    assert not Path('owned').exists()


# -- cards


@pytest.mark.parametrize(
    'text',
    [
        '[a]: /' + 'x' * 100_000 + '\n\n' + '[a]' * 30_000,
        '[a]: /x "' + 'y' * 100_000 + '"\n\n' + '![a]' * 25_000,
    ],
    ids=['addresses', 'titles'],
)
def test_a_card_does_not_grow_when_it_is_rendered(text):
    assert len(cards.render(text, web_path='a/b', revision='main')) < 2_000_000


@pytest.mark.parametrize('tag', ['<div>', '<ul><li>', '<dl><dd>', '<b><p>', '<blockquote>'])
def test_a_card_of_tags_alone_is_shown_as_text(tag):
    html = cards.render('x\n\n' + tag * 100_000, web_path='a/b', revision='main')
    assert html.startswith('<p>x</p>')
    assert '&lt;' in html


def test_a_damaged_repository_keeps_no_other_from_the_list(hub):
    make(hub)
    damaged = make(hub, name='damaged')
    for path in damaged.rglob('*'):
        if path.is_file():
            path.write_bytes(b'\xff')
    got = call(hub, 'GET', '/', headers={'Accept': 'text/html'})
    assert got.status == 200
    assert b'href="/local/x"' in got.body


# -- bodies


@pytest.mark.parametrize(
    'content',
    [b'[' * 1_000_000, b'{"a":' * 1_000_000, b'{"a": [' + b'{},' * 500_000 + b'1]}', b'{"a": [' + b'1,' * 500_000 + b'1]}', b'9' * 10_000, b'\xff'],
    ids=['lists', 'objects', 'many', 'numbers', 'long', 'bytes'],
)  # fmt: skip
def test_json_that_would_fill_the_memory_is_refused(content):
    with pytest.raises(Problem) as refused:
        parse_object(content)
    assert refused.value.status == 400


def test_json_with_much_text_is_taken():
    text = ',[{' * 500_000
    assert parse_object(json.dumps({'content': text}).encode()) == {'content': text}


def test_what_nobody_in_particular_sends_is_short(hub):
    body = json.dumps({'content': 'x' * 2_000_000})
    assert call(hub, 'POST', '/api/validate-yaml', token=None, body=body).status == 413
    assert call(hub, 'POST', '/api/validate-yaml', body=body).status == 200


def test_a_token_of_nobody_is_refused_before_its_body_is_read(hub):
    body = b'x' * 2_000_000
    assert call(hub, 'POST', '/api/repos/create', token='hf_of_nobody', body=body).status == 401


@pytest.mark.parametrize('size', [-1, 10**14, 10**300, 1.5, '9', None, True])
def test_ten_thousand_files_of_absurd_sizes_are_refused(hub, size):
    path = make(hub)
    lines = [{'key': 'header', 'value': {'summary': 'x'}}]
    for i in range(10_000):
        oid = hashlib.sha256(b'%d' % i).hexdigest()
        lines.append({'key': 'lfsFile', 'value': {'path': f'{i}.bin', 'oid': oid, 'size': size}})
    body = '\n'.join(map(json.dumps, lines))
    head = git('rev-parse', 'main', cwd=path)
    assert call(hub, 'POST', '/api/models/local/x/commit/main', body=body).status == 400
    assert git('rev-parse', 'main', cwd=path) == head


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.sampled_from([b'{"key":"header","value":{"summary":"x"}}\n', b'\n', b'{', b'}', b'"', b'[' * 5000, b'\xff', b'\0', b'{"key":'])
        | st.binary(max_size=30)
        | st.sampled_from(['file', 'lfsFile', 'deletedFile', 'deletedFolder', 'x']).map(lambda key: b'{"key":"%s","value":{"path":"../x","content":"aGk=","oid":1}}\n' % key.encode()),
        max_size=8,
    ).map(b''.join)
)  # fmt: skip
def test_whatever_is_sent_for_a_commit_is_refused_and_changes_nothing(hub, body):
    path = hub.root / 'models' / 'local' / 'x.git'
    if not path.exists():
        make(hub)
    head = git('rev-parse', 'main', cwd=path)
    got = call(
        hub,
        'POST',
        '/api/models/local/x/commit/main',
        body=body,
        headers={'Content-Type': 'application/x-ndjson'},
    )
    if got.status != 200:  # a header alone is a commit
        assert 400 <= got.status < 500
        assert git('rev-parse', 'main', cwd=path) == head
    assert git('ls-tree', '-r', '--name-only', 'main', cwd=path) == '.gitattributes'


# -- at the same time


def test_what_an_upload_left_after_a_deletion_takes_no_name(hub):
    left = hub.root / 'models' / 'local' / 'x.git'
    (left / 'lfs' / 'objects').mkdir(parents=True)
    (left / 'hub.json').write_text('{"private": true}')
    path = make(hub)
    assert not (path / 'lfs').exists()
    assert json.loads((path / 'hub.json').read_text())['private'] is False


def test_what_is_not_ours_is_not_put_away(hub):
    theirs = hub.root / 'models' / 'local' / 'x.git'
    theirs.mkdir(parents=True)
    (theirs / 'notes.txt').write_text('mine')
    assert call(hub, 'POST', '/api/repos/create', {'name': 'x'}).status == 409
    assert (theirs / 'notes.txt').read_text() == 'mine'


def test_settings_of_a_repository_that_is_gone_are_private_and_not_written(hub):
    path = make(hub, private=True)
    repo = hub.hub.repositories.find('model', 'local', 'x')
    path.rename(path.with_name('y.git'))
    assert repo.private
    with pytest.raises(Problem) as refused:
        repo.change_settings({'discussionsDisabled': True})
    assert refused.value.status == 404
    assert not path.exists()


def test_who_deletes_moves_and_writes_at_once_hears_no_error_of_ours(hub):
    statuses, ends = [], threading.Barrier(5)
    content = os.urandom(200_000)
    oid = hashlib.sha256(content).hexdigest()
    batch = {'operation': 'upload', 'objects': [{'oid': oid, 'size': len(content)}]}
    commit = '{"key":"header","value":{"summary":"c"}}\n{"key":"file","value":{"path":"a","content":"aGk=","encoding":"base64"}}'

    def upload(name):
        got = call(hub, 'POST', f'/local/{name}.git/info/lfs/objects/batch', batch)
        if got.status == 200 and 'actions' in got.json['objects'][0]:
            href = urlsplit(got.json['objects'][0]['actions']['upload']['href'])
            got = call(hub, 'PUT', f'{href.path}?{href.query}', token=None, body=content)
        return got

    works = [
        upload,
        lambda name: call(hub, 'POST', f'/api/models/local/{name}/commit/main', body=commit),
        lambda name: call(hub, 'POST', f'/api/models/local/{name}/branch/b', {}),
        lambda name: call(hub, 'GET', f'/local/{name}/tree/main'),
    ]

    def run(work):
        for number in range(8):
            ends.wait(30)
            statuses.append(work(f'r{number}').status)

    for number in range(8):
        make(hub, name=f'r{number}')
    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for number in range(8):
        ends.wait(30)
        if number % 2:
            call(hub, 'DELETE', '/api/repos/delete', {'name': f'r{number}'})
        else:
            call(
                hub, 'POST', '/api/repos/move', {'fromRepo': f'local/r{number}', 'toRepo': f'local/m{number}'}
            )
    for thread in threads:
        thread.join()
    assert [status for status in statuses if status >= 500] == []
    with suppress(FileNotFoundError):
        for path in hub.root.glob('models/*/m*.git'):
            git('fsck', '--full', '--strict', cwd=path)
