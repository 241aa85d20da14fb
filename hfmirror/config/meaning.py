"""Can every value be meant? Names the Hub takes, formats that make versions, addresses that can be called, and so on.

Each rule yields sentences for one key, or for several that disagree; none raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hfmirror import errors, gitcmd, ignore, rules, target, versions
from hfmirror.config import mailserver
from hfmirror.config.checking import shown
from hfmirror.config.config import Config
from hfmirror.config.given import Given, KeyPath, Problem, at, problem
from hfmirror.config.keys import either, keys
from hfmirror.config.places import home, user_file
from hfmirror.facts import vocabulary

Faults = Iterator[str]

MESSAGE_FIELDS = ('item_type', 'experiment_name', 'version')  # what message.from_template is given
_NAME_FIELDS = ('username', 'model_name')
_FIELD = re.compile(r'\{([^{}]*)\}')
_EMAIL = re.compile(r'[^@\s<>,;]+@[^@\s<>,;]+')
_LANGUAGE = re.compile(r'[a-z]{2,3}')
_NO_LANGUAGES = ('code', 'multilingual')
_A_MOMENT = datetime(2024, 1, 2, 3, 4, 5)
# A key may be there and say nothing, as in the configurations that people copy.
_MAY_BE_EMPTY = {
    'user.username',
    'user.email',
    'model_card.license',
    'notifications.webhook_url',
    'notifications.email_url',
    'layout.path_in_repo',
    'versioning.tag_prefix',
}


def meant(config: Config, given: Given, *, refused: Collection[str] = ()) -> list[Problem]:
    """Return the problems of values that have the right type. ``given`` says where they stand.

    ``refused`` are the keys, as problems name them, of values that were given and cannot be used: they are not missing.
    """
    faults = [*_one_by_one(config), *_together(config, given, refused)]
    return [problem(at(given, path).origin, path, fault) for path, fault in faults]


def _one_by_one(config: Config) -> Iterator[tuple[KeyPath, str]]:
    for dotted, key in keys().items():
        value: Any = config
        for part in key.path:
            value = getattr(value, part)
        if value == key.default:
            continue
        rule = _RULES.get(dotted)
        for path, item in _items(key.path, value):
            if isinstance(item, str) and not item.strip():
                if dotted not in _MAY_BE_EMPTY or item:
                    yield path, 'is empty. Give it a value, or remove the line.'
            elif rule is not None:
                yield from ((path, fault) for fault in rule(item))


def _items(path: tuple[str, ...], value: Any) -> Iterable[tuple[KeyPath, Any]]:
    """Return (path, value) of what a rule looks at: each item of a list, else the value."""
    if isinstance(value, list):
        return [((*path, number), item) for number, item in enumerate(value)]
    return [(path, value)]


# -- names of repositories, users and branches


def _model_name(name: str) -> Faults:
    if '/' in name:
        yield from _repo_id(name)
    else:
        yield from (fault.replace('me/', '') for fault in _repo_id(f'me/{name}'))


def _repo_id(repo_id: str) -> Faults:
    try:
        target.check_repo_id(repo_id)
    except errors.UsageError as e:
        yield str(e).replace('--repo ', '')


def _username(name: str) -> Faults:
    if '/' in name or any(_repo_id(f'{name}/model')):
        yield f"{shown(name)} is no name on the Hub. Use the one in the address of your page, such as 'ada'."


def _repo_template(template: str) -> Faults:
    unknown = _unknown_field(template, _NAME_FIELDS)
    if unknown is not None:
        yield unknown
        return
    made = template.replace('{username}', 'me').replace('{model_name}', 'model')
    if any(_repo_id(made)):
        yield f"{shown(template)} makes {shown(made)}, which is no namespace/name. Use one such as '{{username}}/{{model_name}}'."


def _unknown_field(template: str, known: tuple[str, ...]) -> str | None:
    """Return what is wrong with the fields of a template, None when nothing is."""
    fields = either([f'{{{name}}}' for name in known])
    if re.search('[{}]', _FIELD.sub('', template)):
        return f'{shown(template)} has a brace without its other one. The fields are {fields}.'
    unknown = next((field for field in _FIELD.findall(template) if field not in known), None)
    if unknown is None:
        return None
    near = get_close_matches(unknown, known, n=1)
    meaning = f'Did you mean {{{near[0]}}}?' if near else f'Use {fields}.'
    return f'{{{shown(unknown)[1:-1]}}} is no field here. {meaning}'


def _branch(name: str) -> Faults:
    if name.startswith('-') or not gitcmd.succeeds('check-ref-format', f'refs/heads/{name}'):
        yield f"{shown(name)} is no name of a branch in git. Use letters, digits, ., _, / and -, such as 'main'."


def _remote(remote: str) -> Faults:
    if remote in ('hub', 'local'):
        return
    near = get_close_matches(remote.lower(), ('hub', 'local'), n=1)
    try:
        target.require_address(remote)
    except errors.UsageError as e:
        yield str(e).replace('--remote ', '') + (f" Did you mean '{near[0]}'?" if near else '')


# -- versions and messages


def _tag_format(template: str) -> Faults:
    yield from _semantic(template) if '{major}' in template else _timestamp(template)


def _semantic(template: str) -> Faults:
    try:
        versions.semantic_prefix(template)
    except errors.ConfigError as e:
        yield str(e)


def _timestamp(template: str) -> Faults:
    try:
        versions.timestamp(_A_MOMENT, template=template)
    except errors.ConfigError as e:
        yield str(e)
        return
    if '{' not in template:
        yield f"{shown(template)} is the same for every release. Use a format such as 'v{{timestamp}}'."


def _tag_prefix(prefix: str) -> Faults:
    try:
        versions.check_name(f'{prefix}1.0.0')
    except errors.UsageError:
        yield f"{shown(prefix)} cannot be the beginning of a tag in git. Use one such as 'v' or 'release-'."


def _commit_message(template: str) -> Faults:
    unknown = _unknown_field(template, MESSAGE_FIELDS)
    if unknown is not None:
        yield unknown


# -- files and folders


def _file_name(name: str) -> Faults:
    if (
        name in ('.', '..')
        or re.search('[/\\\\\x00-\x1f\x7f]', name)
        or name in (rules.CARD, rules.ATTRIBUTES)
    ):
        yield f"{shown(name)} is no name for this file. Use a plain one, such as 'experiment_metadata.json'."


def _path_in_repo(path: str) -> Faults:
    try:
        rules.clean_path_in_repo(path)
    except errors.UsageError:
        yield f"{shown(path)} is no folder inside the repository. Use one such as 'v2/checkpoints'."


def _glob(pattern: str) -> Faults:
    try:
        ignore.Globs([pattern], option='')
    except errors.UsageError as e:
        yield str(e).strip()


def _backup_dir(path: str) -> Faults:
    folder = Path(path)
    if folder == Path(folder.anchor):
        yield 'is the root of the disk. Use a folder of its own, such as ./backups.'
    own = home()
    if any(folder == one or one in folder.parents for one in own):
        yield 'is where hfmirror keeps what is its own. Use a folder of its own, such as ./backups.'
    if folder.exists() and not folder.is_dir():
        yield f'{shown(path)} is a file. Use a folder, such as ./backups.'


# -- people, cards, notifications


def _email(address: str) -> Faults:
    if not _EMAIL.fullmatch(address):
        yield f"{shown(address)} is no e-mail address. Use one such as 'ada@example.org'."


def _author(author: Any) -> Faults:
    if not author.name.strip():
        yield 'has an empty name. Give it a value, or remove the line.'
    if author.email:
        yield from _email(author.email)


def _language(code: str) -> Faults:
    if code not in _NO_LANGUAGES and not _LANGUAGE.fullmatch(code):
        near = re.split('[-_]', code.lower())[0]
        meaning = f" Did you mean '{near}'?" if _LANGUAGE.fullmatch(near) else ''
        yield f'{shown(code)} is no ISO 639 code of two or three small letters, such as en or zh.{meaning}'


def _license(name: str) -> Faults:
    """Yield a fault for a known licence that is written another way; the Hub's list grows, so others may be right."""
    if name in vocabulary.words('licenses'):
        return
    flat = {re.sub('[^a-z0-9.]', '', one): one for one in vocabulary.words('licenses')}
    known = flat.get(re.sub('[^a-z0-9.]', '', name.lower().removesuffix('license')))
    if known:
        yield f"{shown(name)} is not how the Hub writes it. Write '{known}'."


def _webhook(url: str) -> Faults:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ('http', 'https') or re.search(r'\s', url):
        yield "is no http(s) address. Use one such as 'https://hooks.example.org/training'."
    elif parts.password is not None or parts.username is not None:
        yield 'has a user or password in it. Use an address without, such as one with a key that the service made.'


def _email_url(url: str) -> Faults:
    fault = mailserver.fault_of(url)
    if fault is not None:
        yield fault


_RULES: dict[str, Callable[[Any], Faults]] = {
    'remotes': _remote,
    'repository.model_name': _model_name,
    'repository.model_repo_template': _repo_template,
    'repository.config_repo_template': _repo_template,
    'versioning.tag_format': _tag_format,
    'versioning.tag_prefix': _tag_prefix,
    'versioning.formats.timestamp': _timestamp,
    'versioning.formats.semantic': _semantic,
    'experiment_tracking.metadata_file': _file_name,
    'user.username': _username,
    'user.email': _email,
    'settings.commit_message_template': _commit_message,
    'settings.default_branch': _branch,
    'model_card.language': _language,
    'model_card.license': _license,
    'model_card.authors': _author,
    'backup.local_backup_dir': _backup_dir,
    'notifications.webhook_url': _webhook,
    'notifications.email_url': _email_url,
    'gates.allow_secrets': _glob,
    'gates.allow_unsafe': _glob,
    'layout.include': _glob,
    'layout.exclude': _glob,
    'layout.path_in_repo': _path_in_repo,
}


# -- keys that disagree


def _together(config: Config, given: Given, refused: Collection[str]) -> Iterator[tuple[KeyPath, str]]:
    yield from _prefixes(config, given)
    yield from _formats(config, given)
    if not config.upload_items:
        yield ('upload_items',), 'nothing would be uploaded. Name model, config or results.'
    yield from _notifications(config, refused)
    if config.hooks.folder and _is_inside(config.backup.local_backup_dir, config.hooks.folder):
        yield (
            ('backup', 'local_backup_dir'),
            'is inside hooks.folder, so it would be released too. Use another one.',
        )


def _notifications(config: Config, refused: Collection[str]) -> Iterator[tuple[KeyPath, str]]:
    told = config.notifications

    def lacks(key: str, value: object) -> bool:
        return not value and not any(f'.{one}'.endswith(f'.{key}') for one in refused)

    if told.email_notifications:
        recipient = config.user.email or mailserver.names_recipient(told.email_url)
        for key, value in (('user.email', recipient), ('notifications.email_url', told.email_url)):
            if lacks(key, value):
                missing = f'{key} is missing. Set it, or email_notifications: false.'
                yield ('notifications', 'email_notifications'), missing
    if (
        told.enabled
        and lacks('notifications.webhook_url', told.webhook_url)
        and lacks('notifications.email_notifications', told.email_notifications)
    ):
        yield (
            ('notifications', 'enabled'),
            'nobody would be told. Set webhook_url or email_notifications, or enabled: false.',
        )


def _prefixes(config: Config, given: Given) -> Iterator[tuple[KeyPath, str]]:
    prefix, path = config.versioning.tag_prefix, ('versioning', 'tag_prefix')
    here = at(given, path)
    if not isinstance(here.content, str) or here.origin.source == str(user_file()):
        return  # a habit gives way to what the project says
    for name in ('tag_format', 'formats.semantic'):
        template = config.versioning.formats.semantic if '.' in name else config.versioning.tag_format
        if template and '{major}' in template and not any(_semantic(template)):
            other = versions.semantic_prefix(template)
            if other != prefix:
                yield (
                    path,
                    f'{shown(prefix)} disagrees with versioning.{name}, which begins with {shown(other)}. Keep one.',
                )
                return


def _formats(config: Config, given: Given) -> Iterator[tuple[KeyPath, str]]:
    """Yield a format that makes other names than ``tag_format``, after which it would never be asked."""
    first = config.versioning.tag_format or ''
    name, rule = ('semantic', _semantic) if '{major}' in first else ('timestamp', _timestamp)
    second = getattr(config.versioning.formats, name) or ''
    path = ('versioning', 'formats', name)
    if not (first and second):
        return
    if at(given, path).origin.source == str(user_file()) or any((*rule(first), *rule(second))):
        return  # a habit gives way to what the project says, and what makes no name is a fault of its own
    made = [_example(template) for template in (first, second)]
    if made[0] != made[1]:
        yield (
            path,
            f'{shown(second)} disagrees with versioning.tag_format: that makes {made[0]}, this {made[1]}. Keep one.',
        )


def _example(template: str) -> str:
    if '{major}' in template:
        return f'{versions.semantic_prefix(template)}1.2.3'
    return versions.timestamp(_A_MOMENT, template=template)


def _is_inside(path: str, folder: str) -> bool:
    return Path(path) == Path(folder) or Path(folder) in Path(path).parents
