"""``hfmirror init``: the configuration of a project, written with what can be found out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import click

from hfmirror import errors, output
from hfmirror.commands import options

SECOND_FILE = Path('configs') / 'huggingface_config.yaml'

_ENV_LINES = {'.env', '/.env', '.env*', '*.env', '**/.env'}
_LINE_MAX = 1024


class Answers(NamedTuple):
    """What the files are filled in with. ``username`` None: found out when it is needed."""

    model_name: str
    username: str | None
    private: bool = True


class Written(NamedTuple):
    """What was written, and what was there already and is as it was; paths relative to the folder."""

    written: list[str]
    kept: list[str]


def init(folder: Path, answers: Answers) -> Written:
    """Write the project file, the one it names and ``.gitignore``, as far as they are missing, each whole or not at all.

    An existing project file gets the section ``huggingface:``, everything else in it stays as it is. Raises ConfigError
    when that cannot be, before anything is written.
    """
    project = folder / 'config.yaml'
    section = _filled('config.yaml', answers)
    content, second = _with_section(project, section)
    steps: dict[Path, bytes | None] = {folder / '.gitignore': _ignoring_env(folder / '.gitignore')}
    if second is not None:
        path = folder / second
        missing = not os.path.lexists(path)
        steps[path] = _filled('huggingface_config.yaml', answers).encode() if missing else None
    steps[project] = content
    for path, new in steps.items():
        if new is not None:
            _write(path, new)
    shown = {path: path.relative_to(folder).as_posix() for path in steps}
    return Written(
        [shown[path] for path, new in steps.items() if new is not None],
        [shown[path] for path, new in steps.items() if new is None],
    )


def _filled(name: str, answers: Answers) -> str:
    template = (resources.files('hfmirror') / 'templates' / name).read_text('utf-8')
    username = json.dumps(answers.username) if answers.username else None
    values = {
        '%model_name%': json.dumps(answers.model_name),
        '%private%': str(answers.private).lower(),
        '%username%': f'username: {username}' if username else '# username: "you"  # found out by the token',
    }
    for field, value in values.items():
        template = template.replace(field, value)
    return template


def _with_section(path: Path, section: str) -> tuple[bytes | None, Path | None]:
    """Return (the project file with the section, None when it has one; the file that the section names)."""
    from hfmirror.config.given import at
    from hfmirror.config.loading import SECTION
    from hfmirror.config.yamlfile import Document

    if not os.path.lexists(path):
        return section.encode(), SECOND_FILE
    document = Document(path, str(path))
    if document.problems:
        raise errors.ConfigError('\n'.join(map(str, document.problems)))
    if SECTION not in document.lines:
        return _appended(path, section), SECOND_FILE
    found = document.section(SECTION)
    named = at(found, ('config_file',)).content if found is not None else None
    is_ours = isinstance(named, str) and Path(named) == SECOND_FILE
    return None, SECOND_FILE if is_ours else None


def _appended(path: Path, section: str) -> bytes:
    """Return the file with the section after it. Raises ConfigError when that would change what it says."""
    from hfmirror.config.given import plain
    from hfmirror.config.loading import SECTION
    from hfmirror.config.yamlfile import Document

    old = path.read_bytes()
    line_end = b'\r\n' if b'\r\n' in old else b'\n'
    gap = b'' if not old else line_end if old.endswith(b'\n') else line_end * 2
    new = old + gap + section.encode().replace(b'\n', line_end)
    before, after = (
        Document(path, str(path)).whole(),
        Document(path, str(path), text=new.decode('utf-8-sig')).whole(),
    )
    others = plain(after) if after is not None else {}
    is_mapping = isinstance(others, dict) and others.pop(SECTION, None) is not None
    if not is_mapping or others != (plain(before) if before is not None else {}):
        raise errors.ConfigError(
            f"{path}: the section 'huggingface:' cannot be put at its end. Put it in by hand: 'hfmirror init' in an empty "
            'folder writes one to copy from.'
        )
    return new


def _ignoring_env(path: Path) -> bytes | None:
    """Return ``.gitignore`` with ``.env`` in it; None when it has it."""
    try:
        old = path.read_bytes()
    except FileNotFoundError:
        return b'.env\n'
    if any(line.strip() in _ENV_LINES for line in old.decode('utf-8', 'replace').splitlines()):
        return None
    line_end = b'\r\n' if b'\r\n' in old else b'\n'
    return old + (b'' if not old or old.endswith(b'\n') else line_end) + b'.env' + line_end


def _write(path: Path, content: bytes) -> None:
    """Write a file that others may read as they may read any new one, through a link where one is there."""
    from hfmirror import durable

    real = path.resolve()
    mask = os.umask(0)
    os.umask(mask)
    mode = real.stat().st_mode & 0o777 if real.exists() else 0o666 & ~mask
    durable.write(real, content)
    real.chmod(mode)


# -- what can be found out


def answers_for(folder: Path, given: Mapping[str, Any], ask: Callable[[str, str], str] | None) -> Answers:
    """Return what the options say, what can be found out, and what ``ask(question, proposal)`` is answered.

    Raises UsageError for a name that the Hub does not take.
    """
    from hfmirror import target

    for option in ('username', 'model_name'):
        if given[option] == '':
            name = option.replace('_', '-')
            raise errors.UsageError(f'--{name}: the value is empty. Give one, or leave the option out.')
    username = given['username'] or _known_username()
    model_name = given['model_name'] or target.slugify(folder.absolute().name)
    if ask is not None:
        username = username or ask('your user name on the Hub (empty: found out by the token)', '') or None
        model_name = given['model_name'] or ask("the name of the model's repository", model_name)
    if username is not None:
        _check('--username', f'{username}/model', username)
        model_name = model_name if '/' in model_name else f'{username}/{model_name}'
    _check('--model-name', model_name if '/' in model_name else f'me/{model_name}', username)
    return Answers(model_name, username, given['private'])


def _check(option: str, repo_id: str, owner: str | None) -> None:
    from hfmirror import target

    try:
        target.check_repo_id(repo_id, owner=owner)
    except errors.UsageError as e:
        raise errors.UsageError(str(e).replace('--repo', option)) from e


def _known_username() -> str | None:
    """Return who the person is on the Hub as far as this machine knows: configured, the token's owner, git's settings."""
    from hfmirror import auth, gitcmd, place
    from hfmirror.config.loading import inspect
    from hfmirror.config.places import home

    token = None
    with suppress(errors.HfmirrorError):
        token = auth.find_token()
    found = place.owner(inspect().config, token, home())
    if found is None:
        with suppress(errors.HfmirrorError):
            found = gitcmd.git('config', '--get', 'huggingface.username') or None
    return found


def _ask(question: str, proposal: str) -> str:
    output.ask(f'{question}{f" [{proposal}]" if proposal else ""}:')
    return sys.stdin.readline(_LINE_MAX).strip() or proposal


@click.command(short_help='Write a configuration for this project.')
@click.option('--model-name', metavar='NAME', help="The model's repository.  [default: this folder's name]")
@click.option(
    '--username', metavar='NAME', help='You on the Hub.  [default: HF_USERNAME, or whose token it is]'
)
@click.option(
    '--private/--public', default=True, help='What is created is private or public.  [default: private]'
)
@click.option('-y', '--yes', is_flag=True, help='Ask nothing.')
@options.as_json
def command(yes: bool, as_json: bool, **given: Any) -> None:
    """Write config.yaml and configs/huggingface_config.yaml for this project, and keep .env out of git.

    \b
    hfmirror init
    hfmirror init --yes --model-name my-model

    What is there stays as it is: a config.yaml without the section huggingface: gets it at its end.
    """
    folder = Path()
    answers = answers_for(folder, given, _ask if not yes and not as_json and sys.stdin.isatty() else None)
    done = init(folder, answers)
    if as_json:
        output.document(done._asdict())
        return
    for path in done.written:
        output.data(f'{path}: written')
    for path in done.kept:
        output.data(f'{path}: kept as it is')
    output.say(
        "next: look through config.yaml, check it with 'hfmirror validate-config', log in with 'hf auth login'"
    )
    output.say("then: 'hfmirror push FOLDER', or auto_sync: true to publish after each training")
