"""What is configured here? Every source becomes one Config, or a list of all that is wrong.

The first of these that says something about a key:

1. the environment: ``HF_USERNAME``, and ``HFMIRROR_VERSIONING__AUTO_INCREMENT`` for ``versioning.auto_increment``
2. the same names in ``.env`` of the working directory
3. the section ``huggingface:`` of the project file, ``config.yaml``
4. the file that the section names in ``config_file``, the same keys at its top level
5. the person's own file for all projects
6. the default
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from hfmirror import errors
from hfmirror.config import checking, environment, places, tokens, variables
from hfmirror.config.config import Config
from hfmirror.config.environment import Variables
from hfmirror.config.given import Given, Origin, Problem, at, merged, of_values, problem, replaced, without
from hfmirror.config.keys import keys
from hfmirror.config.meaning import meant
from hfmirror.config.places import PROJECT_FILE, user_file
from hfmirror.config.yamlfile import Document

SECTION = 'huggingface'

_PATHS = (('settings', 'download', 'cache_dir'), ('backup', 'local_backup_dir'), ('hooks', 'folder'))
_NOTHING = Given({}, Origin('the defaults'))


class Loaded(NamedTuple):
    """What there is: the configuration, where each value stands, the files that were read, and all that is wrong."""

    config: Config
    given: Given
    files: list[str]
    problems: list[Problem]


class Setting(NamedTuple):
    """An effective value, and where it comes from: ``config.yaml:12``, a variable's name, or ``default``."""

    key: str
    value: Any
    source: str


def load_config(path: Path | None = None) -> Config:
    """Return the configuration of ``path``, or of ``config.yaml`` in the working directory, with all it is overlaid by.

    Raises ConfigError naming every wrong value at once.
    """
    return _without_problems(inspect(path))


def config_from(values: Mapping[str, Any], *, folder: Path | None = None) -> Config:
    """Return the configuration that a program gives in place of a project file, with or without ``huggingface:`` around it.

    Paths in it are relative to ``folder``, the working directory when there is none. Raises ConfigError as ``load_config``.
    """
    section = values.get(SECTION) if SECTION in values else values
    origin = Origin('configuration', section=f'{SECTION}.')
    if not isinstance(section, Mapping):
        raise errors.ConfigError(f'{SECTION}: {type(section).__name__} is here; expected keys and values.')
    sources = _Sources(folder or Path())
    return _without_problems(sources.load(sources.usable(of_values(section, origin))))


def inspect(path: Path | None = None) -> Loaded:
    """Return what there is, with its problems; nothing is raised for them."""
    project = path or Path(PROJECT_FILE)
    sources = _Sources(project.parent)
    if path is None and not os.path.lexists(project):
        return sources.load(_NOTHING)
    return sources.load(sources.project(project))


def effective(path: Path | None = None) -> list[Setting]:
    """Return every key with its value and where that comes from, secrets masked. Raises ConfigError as ``load_config``."""
    loaded = inspect(path)
    config = _without_problems(loaded).model_dump()
    return [_setting(dotted, config, loaded.given) for dotted in keys()]


def _setting(dotted: str, config: Mapping[str, Any], given: Given) -> Setting:
    value: Any = config
    source: Given | None = given
    for part in dotted.split('.'):
        value = value[part]
        content = source.content if source is not None else None
        source = content.get(part) if isinstance(content, dict) else None
    return Setting(dotted, tokens.masked(dotted, value), str(source.origin) if source else 'default')


def _without_problems(loaded: Loaded) -> Config:
    if loaded.problems:
        lines = [str(one) for one in loaded.problems]
        head = [f'{len(lines)} problems in the configuration:'] if len(lines) > 1 else []
        raise errors.ConfigError('\n'.join([*head, *lines]))
    return loaded.config


class _Sources:
    """Reads one source after the other, and keeps what is wrong in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[Problem] = []
        self.files: list[str] = []
        self.variables: list[Variables] = [environment.variables()]
        try:
            self.variables += environment.of_dotenv()
        except errors.ConfigError as e:
            where, _, what = str(e).partition(': ')
            self.problems.append(Problem(Origin(where), '', what))

    def load(self, project: Given) -> Loaded:
        """Return all sources in one. ``project`` is what can be used of the project file."""
        overlaid = [self._of_variables(one) for one in self.variables]
        named = self._named(_together([*overlaid, project]))
        layers = [
            *(_absolute(given, Path()) for given in overlaid),
            *(_absolute(given, self.folder) for given in (project, named)),
            _absolute(self._person(), Path()),
        ]
        given = _together(layers)
        config = checking.config_of(_absolute(merged(given, _default_paths(self.folder)), self.folder))
        problems = self.problems + meant(config, given, refused=[one.key for one in self.problems])
        return Loaded(config, given, self.files, sorted(dict.fromkeys(problems), key=_order))

    def project(self, path: Path) -> Given:
        """Return what the section of the project file says."""
        document = self._open(path)
        found = document.section(SECTION)
        if found is None:
            by_word = {name.lower(): name for name in document.lines}
            for word in get_close_matches(SECTION, by_word, n=1, cutoff=0.9):
                origin = Origin(str(path), document.lines[by_word[word]])
                message = f"nothing reads this section. Did you mean '{SECTION}:'?"
                self.problems.append(Problem(origin, by_word[word], message))
        return self._read(document, found)

    def _named(self, above: Given) -> Given:
        """Return what the file that ``config_file`` names says."""
        naming = at(above, ('config_file',))
        if not isinstance(naming.content, str):
            return _NOTHING
        path = self.folder / Path(naming.content).expanduser()
        if not path.is_file():
            message = f'{path}: there is no such file. Write it, or remove the line.'
            self.problems.append(problem(naming.origin, ('config_file',), message))
            return _NOTHING
        return self._whole(path)

    def _person(self) -> Given:
        path = user_file()
        return self._whole(path) if path.is_file() else _NOTHING

    def _whole(self, path: Path) -> Given:
        """Return what a file says that has the keys at its top level, or below ``huggingface:``."""
        document = self._open(path)
        found = document.section(SECTION) if SECTION in document.lines else document.whole()
        given = self._read(document, found)
        nested = at(given, ('config_file',))
        if isinstance(given.content, dict) and 'config_file' in given.content:
            message = 'only the project file names another one. Remove the line.'
            self.problems.append(problem(nested.origin, ('config_file',), message))
            return without(given, ('config_file',))
        return given

    def _open(self, path: Path) -> Document:
        self.files.append(str(path))
        return Document(path, str(path))

    def _read(self, document: Document, found: Given | None) -> Given:
        self.problems += document.problems
        return self.usable(found) if found is not None else _NOTHING

    def _of_variables(self, source: Variables) -> Given:
        given, problems = variables.given_by(source)
        self.problems += problems
        return self.usable(given)

    def usable(self, given: Given) -> Given:
        """Return what can be used of a source; what cannot becomes a problem."""
        if given.content is None:
            return _NOTHING
        if not isinstance(given.content, dict):
            message = f"{checking.found(given)}; expected keys and values, such as 'remotes: [local]'."
            self.problems.append(problem(given.origin, (), message))
            return _NOTHING
        given, problems = tokens.refused(given)
        self.problems += problems
        given, problems = variables.expanded(given, self.variables)
        self.problems += problems
        given, problems = tokens.refused(given)
        self.problems += problems
        given, problems = checking.checked(given)
        self.problems += problems
        return self._with_known_homes(given)

    def _with_known_homes(self, given: Given) -> Given:
        for path in (('config_file',), *_PATHS):
            found = at(given, path)
            if isinstance(found.content, str) and not places.has_known_home(found.content):
                message = f'{checking.shown(found.content)} begins with {places.UNKNOWN_HOME}'
                self.problems.append(problem(found.origin, path, message))
                given = without(given, path)
        return given


def _together(layers: Sequence[Given]) -> Given:
    """Return sources in one, the first of them on top."""
    found = _NOTHING
    for layer in reversed(layers):
        found = merged(layer, found)
    return found


def _default_paths(folder: Path) -> Given:
    """Return the paths that are relative by default."""
    return of_values({'backup': {'local_backup_dir': Config().backup.local_backup_dir}}, Origin('default'))


def _absolute(given: Given, folder: Path) -> Given:
    """Return ``given`` with its paths from ``folder`` on."""
    for path in _PATHS:
        found = at(given, path)
        if isinstance(found.content, str) and found.content.strip():
            absolute = os.path.abspath(folder / Path(found.content).expanduser())
            given = replaced(given, path, found._replace(content=absolute))
    return given


def _order(one: Problem) -> tuple[str, int, int]:
    return one.origin.source, one.origin.line or 0, one.origin.column or 0
