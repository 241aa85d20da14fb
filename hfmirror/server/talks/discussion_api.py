"""How are discussions and pull requests read and written over REST?

Everybody who sees a repository and has a token to write with may open one and comment; its author and the repository's
writers may rename and close it; the writers merge.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hfmirror.server.access import contributable, hub_of, readable, require_identity, writable
from hfmirror.server.answers import Problem, bad_request, forbidden
from hfmirror.server.git.objects import Commit
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.requests import is_true, number, origin, text, with_json
from hfmirror.server.rest.jsonable import Json
from hfmirror.server.talks import discussions, pull_requests
from hfmirror.server.talks.discussions import (
    Discussion,
    Event,
    changing,
    checked_text,
    moment,
    new_event,
    save,
)
from hfmirror.server.tokens import Identity

_PAGE = 50  # discussions
_BODY_MAX = 1_000_000  # bytes: the longest comment, each character escaped
_BASE = '/api/{kind:kind}/{namespace:segment}/{name:segment}/discussions'


def listing(request: Request) -> Response:
    """List discussions and pull requests, newest first, 50 a page."""
    repo = readable(request)
    wanted = _filter(request)
    every = (pull_requests.settled(repo, hub_of(request), one) for one in discussions.every(repo))
    found = [one for one in every if wanted(one)]
    start = number(request, 'p', 0, most=10**6) * _PAGE
    shown = [_summary(repo, one) for one in found[start : start + _PAGE]]
    return JSONResponse({'count': len(found), 'start': start, 'discussions': shown})


def details(request: Request) -> Response:
    """Show a discussion with all that happened in it."""
    repo, hub = readable(request), hub_of(request)
    found = pull_requests.settled(repo, hub, discussions.find(repo, _number(request)))
    shown = {**_summary(repo, found), 'events': [_event(event) for event in found.events]}
    if found.is_pull_request:
        first, *later = shown['events']
        made = [_commit_event(commit) for commit in pull_requests.commits(hub, repo, found)]
        shown['events'] = [first, *sorted([*later, *made], key=lambda event: str(event['createdAt']))]
        merged = {'mergeCommitId': found.merge.commit} if found.merge and found.status == 'merged' else {}
        shown['changes'] = {'base': found.base, **merged}
        shown['filesWithConflicts'] = pull_requests.conflicts(hub, repo, found)
        if is_true(request, 'diff'):
            shown['diff'] = pull_requests.diff(hub, repo, found)
    return Json(shown)


def create(request: Request, values: dict[str, Any]) -> Response:
    """Open a discussion, or a pull request without a commit, which is a draft until its status is changed."""
    repo, hub = contributable(request), hub_of(request)
    author = require_identity(request).user
    title = discussions.checked_title(text(values, 'title'))
    description = text(values, 'description', '')
    if len(description) > discussions.TEXT_MAX:
        raise bad_request(f'A description has at most {discussions.TEXT_MAX} characters.')
    about = {'author': author, 'title': title, 'description': description}
    if values.get('pullRequest') is True:
        opened = discussions.open_pull_request(hub, repo, **about, base='main', status='draft')
    else:
        opened = discussions.open_discussion(repo, **about)
    found = discussions.find(repo, opened)
    address = f'{origin(request)}/{repo.web_path}/discussions/{opened}'
    answer = {'num': opened, 'url': address, 'pullRequest': found.is_pull_request}
    return JSONResponse({**answer, 'references': {'base': found.base}} if found.base else answer)


def comment(request: Request, values: dict[str, Any]) -> Response:
    """Add a comment."""
    repo = contributable(request)
    said = {'raw': checked_text(text(values, 'comment'))}
    with changing(repo):
        event = new_event('comment', require_identity(request).user, said)
        save(repo, discussions.find(repo, _number(request)).with_event(event))
    return JSONResponse({'newMessage': _event(event)})


def edit(request: Request, values: dict[str, Any]) -> Response:
    """Change what one's own comment says; what it said before is kept."""
    content = checked_text(text(values, 'content'))

    def edited(event: Event, identity: Identity, _: Repo) -> Event:
        if event.author != identity.user:
            raise forbidden(f'Only {event.author} may edit this comment')
        if event.data.get('hidden'):
            raise bad_request('This comment is hidden.')
        history = [*event.data.get('history', ()), {'raw': event.data['raw'], 'at': _said_at(event)}]
        at = new_event('', '', {}).created_at
        return event._replace(data={'raw': content, 'at': at, 'history': history})

    return _changed_comment(request, edited)


def hide(request: Request, _: dict[str, Any]) -> Response:
    """Forget what a comment said."""

    def hidden(event: Event, identity: Identity, repo: Repo) -> Event:
        if event.author != identity.user and not identity.may_write_to(repo.namespace):
            raise forbidden(f'{identity.user} may hide neither this comment nor any of {repo.repo_id}')
        return event._replace(data={'raw': '', 'hidden': True})

    return _changed_comment(request, hidden)


def status(request: Request, values: dict[str, Any]) -> Response:
    """Open or close a discussion, with a comment or without; a draft that is opened is ready to be merged."""
    repo = contributable(request)
    new = text(values, 'status')
    if new not in ('open', 'closed'):
        raise bad_request('"status" is open or closed.')
    said = text(values, 'comment', '')
    with changing(repo):
        found = pull_requests.settled(repo, hub_of(request), discussions.find(repo, _number(request)))
        user = _refuse_others(request, repo, found)
        if found.status == 'merged':
            raise bad_request(f'Pull request {found.number} is merged')
        if said.strip():
            found = found.with_event(new_event('comment', user, {'raw': checked_text(said)}))
        event = new_event('status-change', user, {'status': new})
        save(repo, found._replace(status=new).with_event(event))
    return JSONResponse({'newStatus': _event(event)})


def rename(request: Request, values: dict[str, Any]) -> Response:
    """Give a discussion another title."""
    repo = contributable(request)
    title = discussions.checked_title(text(values, 'title'))
    with changing(repo):
        found = discussions.find(repo, _number(request))
        user = _refuse_others(request, repo, found)
        event = new_event('title-change', user, {'from': found.title, 'to': title})
        save(repo, found._replace(title=title).with_event(event))
    return JSONResponse({'newTitle': _event(event)})


def merge(request: Request, values: dict[str, Any]) -> Response:
    """Merge a pull request into its base."""
    repo = writable(request)
    user, said = require_identity(request).user, text(values, 'comment', '')
    checked = checked_text(said) if said.strip() else None
    merged = pull_requests.merge(hub_of(request), repo, _number(request), user=user)
    if checked is not None:
        with changing(repo):
            event = new_event('comment', user, {'raw': checked})
            save(repo, discussions.find(repo, merged.number).with_event(event))
    return JSONResponse({'mergeCommitId': merged.merge.commit if merged.merge else None})


def _changed_comment(request: Request, change: Callable[[Event, Identity, Repo], Event]) -> Response:
    repo, identity = contributable(request), require_identity(request)
    with changing(repo):
        found = discussions.find(repo, _number(request))
        events = {event.id: event for event in found.events if event.kind == 'comment'}
        event = events.get(request.path_params['event'])
        if event is None:
            raise Problem(404, 'There is no such comment')
        new = change(event, identity, repo)
        save(repo, found._replace(events=[new if one.id == new.id else one for one in found.events]))
    return JSONResponse({'updatedComment': _event(new)})


def _refuse_others(request: Request, repo: Repo, found: Discussion) -> str:
    """Return who asks. Raises Problem 403 unless it is the author or a writer of the repository."""
    identity = require_identity(request)
    if found.author != identity.user and not identity.may_write_to(repo.namespace):
        raise forbidden(f'Only {found.author} and who may write to {repo.namespace} may do this')
    return identity.user


def _number(request: Request) -> int:
    given: str = request.path_params['number']
    if not discussions.is_number(given):
        raise Problem(404, f'There is no discussion or pull request {given[:20]}')
    return int(given)


def _filter(request: Request) -> Callable[[Discussion], bool]:
    query = request.query_params
    kind, wanted, author = query.get('type', 'all'), query.get('status', 'all'), query.get('author')
    if kind not in ('all', 'discussion', 'pull_request'):
        raise bad_request('"type" is all, discussion or pull_request.')
    if wanted not in ('all', 'open', 'closed'):
        raise bad_request('"status" is all, open or closed.')
    return lambda one: (
        (kind == 'all' or one.is_pull_request == (kind == 'pull_request'))
        and (wanted == 'all' or one.is_open == (wanted == 'open'))
        and (not author or one.author == author)
    )


def _summary(repo: Repo, one: Discussion) -> dict[str, Any]:
    return {
        'num': one.number,
        'title': one.title,
        'status': one.status,
        'isPullRequest': one.is_pull_request,
        'createdAt': one.created_at,
        'author': _person(one.author),
        'repo': {'name': repo.repo_id, 'type': repo.repo_type},
        'numComments': sum(event.kind == 'comment' for event in one.events),
    }


def _event(event: Event) -> dict[str, Any]:
    data = _comment_data(event) if event.kind == 'comment' else event.data
    return {
        'id': event.id,
        'type': event.kind,
        'createdAt': event.created_at,
        'author': _person(event.author),
        'data': data,
    }


def _comment_data(event: Event) -> Mapping[str, Any]:
    history = event.data.get('history', ())
    return {
        'edited': bool(history),
        'hidden': bool(event.data.get('hidden')),
        'latest': _wording(event, event.data['raw'], _said_at(event)),
        'numEdits': len(history),
        'history': [_wording(event, old['raw'], old['at']) for old in history],
    }


def _wording(event: Event, raw: str, at: str) -> Mapping[str, Any]:
    shown = f'<p>{html.escape(raw)}</p>'
    return {'raw': raw, 'html': shown, 'updatedAt': at, 'author': _person(event.author)}


def _said_at(event: Event) -> str:
    return str(event.data.get('at', event.created_at))


def _commit_event(commit: Commit) -> dict[str, Any]:
    return {
        'id': commit.oid[:24],
        'type': 'commit',
        'createdAt': moment(commit.date),
        'author': _person(commit.author),
        'data': {'subject': commit.title, 'oid': commit.oid},
    }


def _person(name: str) -> Mapping[str, Any]:
    return {'name': name, 'fullname': name, 'type': 'user', 'avatarUrl': ''}


def _post(path: str, handler: Callable[[Request, dict[str, Any]], Response]) -> Route:
    return Route(f'{_BASE}{path}', with_json(handler, _BODY_MAX), methods=['POST'])


ROUTES: list[Route] = [
    Route(_BASE, listing),
    _post('', create),
    Route(f'{_BASE}/{{number:segment}}', details),
    _post('/{number:segment}/comment', comment),
    _post('/{number:segment}/comment/{event:segment}/edit', edit),
    _post('/{number:segment}/comment/{event:segment}/hide', hide),
    _post('/{number:segment}/status', status),
    _post('/{number:segment}/title', rename),
    _post('/{number:segment}/merge', merge),
]
