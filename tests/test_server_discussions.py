"""Do discussions and pull requests work for the stock client, and is a merge git's own, whoever is at work beside it?"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from hfmirror.server.talks import discussions
from tests.support.mirror import git
from tests.support.rest import call, commit_by_path, new_user

BASE = '/api/models/local/x/discussions'


@pytest.fixture
def ada(hub, api):
    """Somebody who is no member of the namespace."""
    return HfApi(endpoint=hub.endpoint, token=new_user(hub, 'ada'))


@pytest.fixture
def path(hub, api):
    """The bare repository of local/x."""
    path = hub.root / 'models' / 'local' / 'x.git'
    commit_by_path(path, {'a.txt': 'one\ntwo\nthree\n', 'b.txt': 'b\n'})
    return path


@pytest.fixture
def ready(api, ada, path):
    """Pull request 1, by ada, with one commit, open."""
    ada.create_pull_request('local/x', 'Better')
    commit_by_path(path, {'a.txt': 'ONE\ntwo\nthree\n'}, ref='refs/pr/1', message='shout')
    return ada.change_discussion_status('local/x', 1, 'open') and 1


def details(api, number=1):
    return api.get_discussion_details('local/x', number)


def head(path, ref='main'):
    return git('rev-parse', ref, cwd=path)


# -- discussions


def test_a_discussion_begins_with_its_description(ada):
    made = ada.create_discussion('local/x', '  A question ', description='Why?')
    assert (made.num, made.title, made.status, made.author) == (1, 'A question', 'open', 'ada')
    assert [event.content for event in made.events] == ['Why?']
    assert not made.is_pull_request


def test_numbers_are_those_of_discussions_and_pull_requests_together(api, path):
    numbers = [
        api.create_discussion('local/x', 'Some title', pull_request=pr).num for pr in (False, True, False)
    ]
    assert numbers == [1, 2, 3]


def test_a_number_whose_ref_is_there_is_not_used(api, path):
    git('update-ref', 'refs/pr/1', 'main', cwd=path)
    assert api.create_discussion('local/x', 'A question').num == 2


@pytest.mark.parametrize('what', ['main', 'main:a.txt', 'main^{tree}'])
def test_a_number_whose_ref_was_pushed_is_not_used_whatever_it_leads_to(api, path, what):
    git('update-ref', 'refs/pr/1', head(path, what), cwd=path)
    assert api.create_pull_request('local/x', 'Two').num == 2


@pytest.mark.parametrize('what', ['main', 'main:a.txt'])
def test_a_ref_without_a_discussion_is_no_discussion(hub, api, path, what):
    git('update-ref', 'refs/pr/7', head(path, what), cwd=path)
    answers = [call(hub, 'GET', f'{BASE}/7'), call(hub, 'POST', f'{BASE}/7/comment', {'comment': 'x'})]
    assert [answer.status for answer in answers] == [404, 404]


def test_its_address_is_below_the_repository(hub, api):
    answer = call(hub, 'POST', BASE, {'title': 'A question', 'description': 'Why?', 'pullRequest': False})
    assert answer.json == {'num': 1, 'url': f'{hub.endpoint}/local/x/discussions/1', 'pullRequest': False}


def test_of_many_opened_at_once_each_has_its_own_number(hub, api, path):
    def opened(number):
        values = {'title': f'Number {number}', 'description': '', 'pullRequest': number % 2 == 0}
        return call(hub, 'POST', BASE, values).json['num']

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(opened, range(16))) == list(range(1, 17))


def test_a_comment_is_added(ada, api):
    ada.create_discussion('local/x', 'A question')
    said = api.comment_discussion('local/x', 1, 'Because <b>.')
    assert (said.author, said.content, said.edited) == ('local', 'Because <b>.', False)
    assert said.rendered == '<p>Because &lt;b&gt;.</p>'
    assert details(api).events[-1].content == 'Because <b>.'


def test_comments_at_once_are_all_kept(hub, api):
    api.create_discussion('local/x', 'A question')
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: call(hub, 'POST', f'{BASE}/1/comment', {'comment': f'{n}'}), range(16)))
    assert sorted(int(event.content) for event in details(api).events[1:]) == list(range(16))


def test_a_comment_is_edited_by_who_wrote_it_and_its_history_kept(ada, api):
    ada.create_discussion('local/x', 'A question')
    said = ada.comment_discussion('local/x', 1, 'helo')
    edited = ada.edit_discussion_comment('local/x', 1, said.id, 'hello')
    assert (edited.content, edited.edited, edited.number_of_edits) == ('hello', True, 1)
    assert edited.edit_history[0]['raw'] == 'helo'
    with pytest.raises(HfHubHTTPError, match='Only ada may edit'):
        api.edit_discussion_comment('local/x', 1, said.id, 'bye')


def test_a_hidden_comment_is_forgotten(hub, ada, api, path):
    ada.create_discussion('local/x', 'A question')
    said = ada.comment_discussion('local/x', 1, 'a secret')
    with pytest.warns(UserWarning, match='irreversible'):
        hidden = api.hide_discussion_comment('local/x', 1, said.id)
    assert (hidden.hidden, hidden.content) == (True, '')
    assert 'a secret' not in (path / 'discussions' / '1.json').read_text()


def test_strangers_hide_no_comments(hub, ada, api):
    said = api.create_discussion('local/x', 'A question').events[0]
    assert call(hub, 'POST', f'{BASE}/1/comment/{said.id}/hide', token=ada.token).status == 403


def test_a_discussion_is_renamed(ada):
    ada.create_discussion('local/x', 'A question')
    change = ada.rename_discussion('local/x', 1, 'An answer')
    assert (change.old_title, change.new_title) == ('A question', 'An answer')
    assert details(ada).title == 'An answer'


def test_a_discussion_is_closed_with_a_comment_and_opened_again(api):
    api.create_discussion('local/x', 'A question')
    assert api.change_discussion_status('local/x', 1, 'closed', comment='Done').new_status == 'closed'
    assert [event.type for event in details(api).events] == ['comment', 'comment', 'status-change']
    api.change_discussion_status('local/x', 1, 'open')
    assert details(api).status == 'open'


def test_others_neither_rename_nor_close_it(hub, ada, api):
    api.create_discussion('local/x', 'A question')
    for change in (lambda: ada.rename_discussion('local/x', 1, 'Mine'), lambda: close(ada)):
        with pytest.raises(HfHubHTTPError, match='403'):
            change()


def close(api):
    api.change_discussion_status('local/x', 1, 'closed')


def test_discussions_are_listed_newest_first_and_by_what_is_asked_for(api, ada, path):
    ada.create_discussion('local/x', 'By ada')
    api.create_pull_request('local/x', 'By local')
    api.create_discussion('local/x', 'Closed')
    api.change_discussion_status('local/x', 3, 'closed')

    def numbers(**asked):
        return [one.num for one in api.get_repo_discussions('local/x', **asked)]

    assert numbers() == [3, 2, 1]
    assert numbers(discussion_type='pull_request') == [2]
    assert numbers(discussion_type='discussion') == [3, 1]
    assert numbers(discussion_status='open') == [2, 1]
    assert numbers(discussion_status='closed') == [3]
    assert numbers(author='ada') == [1]


def test_many_discussions_come_in_pages(hub, api):
    repo = hub.hub.repositories.find('model', 'local', 'x')
    for _ in range(51):
        discussions.open_discussion(repo, author='ada', title='Again', description='')
    assert len(call(hub, 'GET', BASE).json['discussions']) == 50
    assert [one.num for one in api.get_repo_discussions('local/x')] == list(range(51, 0, -1))


def test_where_discussions_are_disabled_none_is_opened(hub, api, path):
    call(hub, 'PUT', '/api/models/local/x/settings', {'discussionsDisabled': True})
    for pull_request in (False, True):
        with pytest.raises(HfHubHTTPError, match='disabled for local/x'):
            api.create_discussion('local/x', 'A question', pull_request=pull_request)


@pytest.mark.parametrize(
    'values',
    [{}, {'title': 'ab'}, {'title': 'x' * 201}, {'title': 'two\nlines'}, {'title': 3}, {'title': 'abc', 'description': 'x' * 65_537}],
)  # fmt: skip
def test_a_title_or_description_against_the_rules_is_refused(hub, api, values):
    assert call(hub, 'POST', BASE, values).status == 400


@pytest.mark.parametrize('comment', [None, '', ' ', 3, 'x' * 65_537, '\udfff'])
def test_a_comment_against_the_rules_is_refused(hub, api, comment):
    api.create_discussion('local/x', 'A question')
    assert call(hub, 'POST', f'{BASE}/1/comment', {'comment': comment}).status == 400


def test_a_longer_body_than_a_comment_can_be_is_refused(hub, api):
    api.create_discussion('local/x', 'A question')
    assert call(hub, 'POST', f'{BASE}/1/comment', {'comment': 'x' * 1_000_000}).status == 413


@pytest.mark.parametrize('number', ['0', '2', '01', '-1', '1.json', 'x', '%2e%2e', '9' * 5000, '١'])
def test_a_number_that_is_none_is_not_found(hub, api, number):
    from urllib.parse import quote

    api.create_discussion('local/x', 'A question')
    assert call(hub, 'GET', f'{BASE}/{quote(number, safe="%")}').status == 404


@pytest.mark.parametrize('content', ['', '[]', '{', '{"title": 1}', '[' * 100_000])
def test_a_damaged_discussion_is_not_there_and_hurts_no_other(hub, api, path, content):
    api.create_discussion('local/x', 'A question')
    api.create_discussion('local/x', 'Another one')
    (path / 'discussions' / '1.json').write_text(content)
    assert call(hub, 'GET', f'{BASE}/1').status == 404
    assert [one.num for one in api.get_repo_discussions('local/x')] == [2]


def test_a_reading_token_says_nothing(hub, api, path):
    api.create_discussion('local/x', 'A question')
    reader = new_user(hub, 'local', 'read')
    assert call(hub, 'POST', BASE, {'title': 'Another', 'description': ''}, token=reader).status == 403
    assert call(hub, 'POST', f'{BASE}/1/comment', {'comment': 'a'}, token=reader).status == 403


def test_who_may_not_see_the_repository_sees_no_discussion(hub, api, ada):
    api.create_discussion('local/x', 'A question')
    api.update_repo_settings('local/x', private=True)
    assert call(hub, 'GET', f'{BASE}/1', token=ada.token).status == 404
    assert call(hub, 'POST', f'{BASE}/1/comment', {'comment': 'a'}, token=ada.token).status == 404
    assert call(hub, 'GET', BASE, token=None).status == 401


# -- pull requests


def test_a_pull_request_begins_as_a_draft_at_the_head_of_main(ada, path):
    made = ada.create_pull_request('local/x', 'Better')
    assert (made.status, made.git_reference, made.target_branch) == ('draft', 'refs/pr/1', 'refs/heads/main')
    assert head(path, 'refs/pr/1') == head(path)
    assert (made.conflicting_files, made.diff, made.merge_commit_oid) == ([], '', None)


def test_it_is_answered_with_its_base(hub, api, path):
    answer = call(hub, 'POST', BASE, {'title': 'Better', 'description': '', 'pullRequest': True})
    assert answer.json['references'] == {'base': 'refs/heads/main'}


def test_into_an_empty_repository_there_is_no_pull_request(hub):
    hub.hub.repositories.create('model', 'local/x', {})
    answer = call(hub, 'POST', BASE, {'title': 'Better', 'description': '', 'pullRequest': True})
    assert (answer.status, answer.code) == (404, 'RevisionNotFound')


def test_its_commits_and_its_diff_are_shown(api, path, ready):
    found = details(api)
    (commit,) = [event for event in found.events if event.type == 'commit']
    assert (commit.summary, commit.oid) == ('shout', head(path, 'refs/pr/1'))
    assert '-one\n+ONE\n' in found.diff


def test_a_diff_of_large_files_names_them_only(api, path, ready):
    commit_by_path(path, {'large.txt': 'x\n' * 2_100_000}, ref='refs/pr/1')
    assert details(api).diff.splitlines() == ['M\ta.txt', 'A\tlarge.txt']


def test_bytes_that_are_no_text_are_shown_all_the_same(api, path, ready):
    commit_by_path(path, {'a.txt': 'caf\udce9\n'}, ref='refs/pr/1')
    assert '+caf\ufffd\n' in details(api).diff


def test_it_is_merged_without_a_commit_of_its_own_when_main_stood_still(api, path, ready):
    api.merge_pull_request('local/x', 1)
    assert head(path) == head(path, 'refs/pr/1')
    found = details(api)
    assert (found.status, found.merge_commit_oid) == ('merged', head(path))


def test_it_is_merged_by_a_merge_commit_when_main_went_on(api, path, ready):
    commit_by_path(path, {'b.txt': 'changed\n'})
    api.merge_pull_request('local/x', 1, comment='Thanks')
    assert git('log', '-1', '--format=%s|%an|%cn', 'main', cwd=path) == 'Better (#1)|local|local'
    assert git('show', 'main:a.txt', cwd=path).startswith('ONE')
    assert git('show', 'main:b.txt', cwd=path) == 'changed'
    assert head(path, 'main^2') == head(path, 'refs/pr/1')
    assert details(api).events[-1].content == 'Thanks'


def test_a_merged_one_shows_the_commits_it_had(api, path, ready):
    commit_by_path(path, {'b.txt': 'changed\n'})
    api.merge_pull_request('local/x', 1)
    found = details(api)
    assert [event.summary for event in found.events if event.type == 'commit'] == ['shout']
    assert '+ONE' in found.diff


def test_files_that_conflict_are_named_and_nothing_is_merged(api, path, ready):
    before = commit_by_path(path, {'a.txt': 'Uno\ntwo\nthree\n'})
    assert details(api).conflicting_files == ['a.txt']
    with pytest.raises(HfHubHTTPError, match=r'conflicts with refs/heads/main in: a\.txt'):
        api.merge_pull_request('local/x', 1)
    assert (head(path), details(api).status) == (before, 'open')


def test_pointers_that_both_sides_changed_conflict(api, ada, path):
    def pointer(oid):
        return f'version https://git-lfs.github.com/spec/v1\noid sha256:{oid * 64}\nsize 12\n'

    commit_by_path(path, {'m.bin': pointer('a')})
    ada.create_pull_request('local/x', 'Better')
    commit_by_path(path, {'m.bin': pointer('b')}, ref='refs/pr/1')
    commit_by_path(path, {'m.bin': pointer('c')})
    assert details(api).conflicting_files == ['m.bin']


def test_two_sound_cards_that_merge_into_a_broken_one_are_not_merged(api, ada, path):
    card = '---\nlicense: mit\nx1: 1\nx2: 2\nx3: 3\nx4: 4\ntags:\n- a\n---\n'
    commit_by_path(path, {'README.md': card})
    ada.create_pull_request('local/x', 'Better')
    commit_by_path(path, {'README.md': card.replace('x1: 1', 'x1: 1\nbase_model: a/b')}, ref='refs/pr/1')
    before = commit_by_path(path, {'README.md': card.replace('- a\n', '- a\nbase_model: c/d\n')})
    ada.change_discussion_status('local/x', 1, 'open')
    with pytest.raises(BadRequestError, match='metadata'):
        api.merge_pull_request('local/x', 1)
    assert head(path) == before


def test_histories_with_nothing_in_common_are_not_merged(api, path, ready):
    alone = git('commit-tree', 'main^{tree}', '-m', 'alone', cwd=path)
    git('update-ref', 'refs/pr/1', alone, cwd=path)
    with pytest.raises(HfHubHTTPError, match='no commit in common'):
        api.merge_pull_request('local/x', 1)


def test_one_with_nothing_in_common_with_its_base_is_shown(api, path, ready):
    orphan = git('commit-tree', head(path, 'main^{tree}'), '-m', 'alone', cwd=path)
    git('update-ref', 'refs/pr/1', orphan, cwd=path)
    assert details(api).conflicting_files is True


def test_one_whose_ref_leads_to_no_commit_is_shown(api, path, ready):
    git('update-ref', 'refs/pr/1', head(path, 'main:a.txt'), cwd=path)
    assert details(api).title == 'Better'


def test_one_without_a_commit_is_not_merged(api, path):
    api.create_pull_request('local/x', 'Better')
    api.change_discussion_status('local/x', 1, 'open')
    with pytest.raises(BadRequestError, match='has no commit'):
        api.merge_pull_request('local/x', 1)


@pytest.mark.parametrize('status', ['draft', 'closed', 'merged'])
def test_only_an_open_one_is_merged(api, ada, path, ready, status):
    if status == 'draft':
        ada.create_pull_request('local/x', 'Another')
    elif status == 'closed':
        api.change_discussion_status('local/x', 1, 'closed')
    else:
        api.merge_pull_request('local/x', 1)
    with pytest.raises(BadRequestError, match=status):
        api.merge_pull_request('local/x', 2 if status == 'draft' else 1)


def test_a_discussion_is_not_merged(api):
    api.create_discussion('local/x', 'A question')
    with pytest.raises(BadRequestError, match='no pull request'):
        api.merge_pull_request('local/x', 1)


def test_a_merged_one_is_not_opened_again(api, path, ready):
    api.merge_pull_request('local/x', 1)
    with pytest.raises(BadRequestError, match='is merged'):
        api.change_discussion_status('local/x', 1, 'open')


def test_its_author_alone_does_not_merge_it(ada, path, ready):
    with pytest.raises(HfHubHTTPError, match='403'):
        ada.merge_pull_request('local/x', 1)


def test_merges_at_once_lose_nothing(hub, api, path):
    for number in range(1, 7):
        api.create_pull_request('local/x', f'Number {number}')
        commit_by_path(path, {f'{number}.txt': 'new\n'}, ref=f'refs/pr/{number}')
        api.change_discussion_status('local/x', number, 'open')
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: call(hub, 'POST', f'{BASE}/{n}/merge').status, range(1, 7)))
    assert answers == [200] * 6
    assert {f'{number}.txt' for number in range(1, 7)} <= set(
        git('ls-tree', '--name-only', 'main', cwd=path).split()
    )


def test_a_merge_beside_a_push_by_path_loses_neither(hub, api, path, ready):
    with ThreadPoolExecutor(2) as pool:
        merged = pool.submit(call, hub, 'POST', f'{BASE}/1/merge')
        for number in range(5):
            _pushed(path, number)
    assert merged.result().status == 200
    assert git('show', 'main:a.txt', cwd=path).startswith('ONE')
    assert {f'pushed{number}' for number in range(5)} <= set(
        git('ls-tree', '--name-only', 'main', cwd=path).split()
    )


def _pushed(path, number):
    """Add a file to main as a push does: when somebody was faster, again on top of theirs."""
    for _ in range(50):
        old = head(path)
        new = commit_by_path(path, {f'pushed{number}': 'x\n'}, ref='refs/heads/temporary', start=old)
        done = subprocess.run(
            ['git', 'update-ref', 'refs/heads/main', new, old], cwd=path, capture_output=True, check=False
        )
        if done.returncode == 0:
            return
    pytest.fail('main never stood still')


_KILLED_MERGE = """
    import os, signal, sys
    from pathlib import Path
    from hfmirror.server.talks import discussions, pull_requests
    from hfmirror.server.hub import Hub

    hub = Hub(Path(sys.argv[1]))
    repo = hub.repositories.find('model', 'local', 'x')
    real, calls = {name}, []

    def counted(*args, **kwargs):
        calls.append(args)
        if len(calls) == {call} and not {after}:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*args, **kwargs)
        if len(calls) == {call}:
            os.kill(os.getpid(), signal.SIGKILL)

    {name} = counted
    pull_requests.merge(hub, repo, 1, user='local')
"""


@pytest.mark.parametrize(
    ('name', 'number', 'after', 'status'),
    [
        ('discussions.save', 1, False, 'open'),
        ('discussions.save', 1, True, 'open'),
        ('pull_requests.move_ref', 1, True, 'merged'),
        ('discussions.save', 2, False, 'merged'),
        ('discussions.save', 2, True, 'merged'),
    ],
)
def test_a_kill_in_a_merge_leaves_it_open_or_merged(hub, api, path, ready, name, number, after, status):
    commit_by_path(path, {'b.txt': 'changed\n'})
    program = textwrap.dedent(_KILLED_MERGE).format(name=name, call=number, after=after)
    done = subprocess.run([sys.executable, '-c', program, str(hub.root)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert [one.status for one in api.get_repo_discussions('local/x')] == [status]
    assert details(api).status == status
    assert git('show', 'main:a.txt', cwd=path).startswith('ONE' if status == 'merged' else 'one')
    if status == 'open':
        api.merge_pull_request('local/x', 1)
    git('fsck', '--no-dangling', cwd=path)


def test_a_pull_request_is_made_by_a_commit(api, ada, path):
    from huggingface_hub import CommitOperationAdd

    made = ada.create_commit(
        'local/x', [CommitOperationAdd('c.txt', b'c\n')], commit_message='Add c', create_pr=True
    )
    assert (made.pr_num, made.pr_revision) == (1, 'refs/pr/1')
    found = details(api)
    assert (found.title, found.author, found.status) == ('Add c', 'ada', 'open')
    api.merge_pull_request('local/x', 1)
    assert git('show', 'main:c.txt', cwd=path) == 'c'


def test_git_fetches_a_pull_request(hub, path, ready, tmp_path):
    git('init', '-q', tmp_path / 'clone')
    git('fetch', '-q', f'{hub.endpoint}/local/x', 'refs/pr/1', cwd=tmp_path / 'clone')
    assert git('rev-parse', 'FETCH_HEAD', cwd=tmp_path / 'clone') == head(path, 'refs/pr/1')


def test_records_are_whole_json_with_nothing_beside_them(api, path, ready):
    assert json.loads((path / 'discussions' / '1.json').read_text())['title'] == 'Better'
    assert [one.name for one in (path / 'discussions').iterdir() if one.suffix == '.tmp'] == []
