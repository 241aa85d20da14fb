"""What is known of a repository? One JSON object, the whole of it or the fields that are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hfmirror.server.access import hub_of, readable
from hfmirror.server.answers import bad_request
from hfmirror.server.git.bare import Bare, File
from hfmirror.server.hub import Hub
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.requests import is_true
from hfmirror.server.rest import metadata
from hfmirror.server.rest.jsonable import Json, date_text


class Subject:
    """A repository at one commit, None when it has none yet. What costs something is found out when it is asked for."""

    def __init__(self, repo: Repo, bare: Bare, commit: str | None) -> None:
        self.repo, self.bare, self.commit = repo, bare, commit

    @classmethod
    def at_main(cls, hub: Hub, repo: Repo) -> Subject:
        """Return the repository at its branch main, or at what HEAD names when there is no such branch."""
        bare = hub.bare(repo)
        return cls(repo, bare, bare.find_commit('main') or bare.find_commit('HEAD'))

    @cached_property
    def told(self) -> metadata.Metadata:
        """What the card and configuration files tell."""
        if self.commit is None:
            return metadata.Metadata()
        return metadata.read(self.bare, self.commit, self.repo.repo_type, self.repo.objects)

    @property
    def modified_at(self) -> str:
        """When the commit was made."""
        return date_text(self.bare.date(self.commit) if self.commit else self.repo.created_at)

    @property
    def siblings(self) -> list[dict[str, Any]]:
        """The names of all files."""
        if self.commit is None:
            return []
        nodes = self.bare.walk(self.commit, recursive=True)
        return [{'rfilename': path} for path, node in nodes if not node.is_folder]

    @property
    def siblings_with_sizes(self) -> list[dict[str, Any]]:
        """All files, with their sizes and ids."""
        if self.commit is None:
            return []
        return [
            _sibling(file) for file in self.bare.listing(self.commit, recursive=True) if not file.is_folder
        ]

    @property
    def used_storage(self) -> int:
        """The bytes of all LFS objects, of every commit, as they were when this commit was asked for first."""
        objects = self.repo.objects / 'objects'
        return self.bare.kept(f'{self.commit} storage', lambda: sum(_sizes(objects)))

    @property
    def safetensors(self) -> dict[str, Any] | None:
        """The parameters by their type, and all of them."""
        found = self.told.safetensors
        return {'parameters': found, 'total': sum(found.values())} if found else None

    def card(self, key: str) -> Any:
        """Return a value of the front matter."""
        return (self.told.card or {}).get(key)


def _sibling(file: File) -> dict[str, Any]:
    shown: dict[str, Any] = {'rfilename': file.path, 'size': file.size, 'blobId': file.oid}
    if file.pointer is not None:
        shown['lfs'] = {
            'sha256': file.pointer.oid,
            'size': file.pointer.size,
            'pointerSize': len(file.pointer.text),
        }
    return shown


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.stat(f'{parent}/{name}').st_size
            except FileNotFoundError:
                continue


_Field = Callable[[Subject], Any]
_COMMON: Mapping[str, _Field] = {
    'author': lambda at: at.repo.namespace,
    'sha': lambda at: at.commit,
    'lastModified': lambda at: at.modified_at,
    'createdAt': lambda at: date_text(at.repo.created_at),
    'private': lambda at: at.repo.private,
    'disabled': lambda at: False,
    'likes': lambda at: 0,
    'tags': lambda at: at.told.tags,
    'cardData': lambda at: at.told.card,
    'siblings': lambda at: at.siblings,
    'usedStorage': lambda at: at.used_storage,
    # Asked by clients of 2025 before they upload. Those of today use Xet unasked, and it is taken.
    'xetEnabled': lambda at: False,
}
_COUNTED: Mapping[str, _Field] = {'gated': lambda at: False, 'downloads': lambda at: 0}
# What each kind has, in the order of the answer.
_FIELDS: Mapping[str, Mapping[str, _Field]] = {
    'model': {
        **_COMMON,
        **_COUNTED,
        'modelId': lambda at: at.repo.repo_id,
        'pipeline_tag': lambda at: at.told.pipeline_tag,
        'library_name': lambda at: at.told.library_name,
        'config': lambda at: at.told.config,
        'model-index': lambda at: at.card('model-index'),
        'transformersInfo': lambda at: at.told.transformers_info,
        'safetensors': lambda at: at.safetensors,
        'spaces': lambda at: [],
    },
    'dataset': {
        **_COMMON,
        **_COUNTED,
        'paperswithcode_id': lambda at: at.card('paperswithcode_id'),
    },
    'space': {
        **_COMMON,
        'sdk': lambda at: at.card('sdk'),
        'models': lambda at: at.card('models'),
        'datasets': lambda at: at.card('datasets'),
    },
}
# What a client may ask for although this Hub has nothing to say about it.
_UNKNOWN = {
    'model': 'baseModels childrenModelCount downloadsAllTime evalResults gguf inference inferenceProviderMapping '
    'mask_token resourceGroup trendingScore widgetData',
    'dataset': 'citation description downloadsAllTime mainSize resourceGroup trendingScore',
    'space': 'region resourceGroup runtime subdomain trendingScore',
}


def shown(at: Subject, fields: Sequence[str]) -> dict[str, Any]:
    """Return the object with these fields; those without a value are left out."""
    known = _FIELDS[at.repo.repo_type]
    values = {field: known[field](at) for field in fields if field in known}
    kept = {field: value for field, value in values.items() if value is not None}
    return {'_id': at.repo.identifier, 'id': at.repo.repo_id, **kept}


def expanded(request: Request, repo_type: str) -> list[str]:
    """Return the fields that the query asks for, [] for none. Raises Problem 400, with all there are, for one there is not."""
    asked = [
        *request.query_params.getlist('expand'),
        *request.query_params.getlist('expand[]'),
    ]
    allowed = sorted({*_FIELDS[repo_type], *_UNKNOWN[repo_type].split()} - {'modelId'})
    wrong = next((field for field in asked if field not in allowed), None)
    if wrong is not None:
        raise bad_request(f'Invalid value for "expand": {wrong[:100]!r}. It is one of {", ".join(allowed)}.')
    return asked


def info(request: Request) -> Response:
    """Answer with what is known of a repository, at the revision of the address or at main."""
    hub, repo = hub_of(request), readable(request)
    revision = request.path_params.get('revision')
    if revision is None:
        at = Subject.at_main(hub, repo)
    else:
        bare = hub.bare(repo)
        at = Subject(repo, bare, bare.commit(revision))
    fields = expanded(request, repo.repo_type)
    answer = shown(at, fields or list(_FIELDS[repo.repo_type]))
    if not fields and is_true(request, 'blobs'):
        answer['siblings'] = at.siblings_with_sizes
    return Json(answer)


_REPOSITORY = '/api/{kind:kind}/{namespace:segment}/{name:segment}'
ROUTES = [
    Route(_REPOSITORY, info),
    Route(f'{_REPOSITORY}/revision/{{revision:segment}}', info),
]
