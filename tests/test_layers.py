"""Who may import and touch what, kept true by walking the sources; and that the words about commands and errors are true."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import time
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import click
import pytest

import hfmirror
from hfmirror import errors
from hfmirror.main import COMMANDS

ROOT = Path(hfmirror.__file__).parent
# Highest first, as docs/architecture.md draws them. A module may use those of its own layer and below.
LAYERS = (
    '__main__ main',
    'commands',
    'integrations',
    'manager features experiments training checkpoints hooks running preflight watching adopting rebuilding',
    'sender',
    'publishing preview pruning',
    'place release standing underway outcome lately hubcache pulling verifying notify notices server',
    'repository',
    'compose holding delivery replay layout naming objects',
    'clone clonedir worktree refs outbox spool archive card message origin backup backupdir',
    'hub rights transfers fingerprint gates facts finished jobs readme store statcache lfsapi rules folder ignore gitignore versions config auth',
    'statuses target tree lfs gitcmd output durable fastimport copying process',
    'errors',
)
HEAVY = {
    'git',
    'huggingface_hub',
    'jinja2',
    'numpy',
    'picklescan',
    'pydantic',
    'ruamel',
    'safetensors',
    'semver',
    'tqdm',
}


class Imported(NamedTuple):
    """One import: ``at_start`` when it runs as soon as the module is imported."""

    name: str
    at_start: bool


@cache
def modules():
    """Return {module: its syntax tree} of the whole package."""
    paths = {path: path.relative_to(ROOT.parent).with_suffix('') for path in sorted(ROOT.rglob('*.py'))}
    return {
        '.'.join(name.parts).removesuffix('.__init__'): ast.parse(path.read_text('utf-8'))
        for path, name in paths.items()
    }


def imports(tree):
    """Return every import of a module, those for type checkers left out."""
    return list(_imports(tree, at_start=True))


def _imports(node, *, at_start):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == 'TYPE_CHECKING':
            continue
        if isinstance(child, ast.Import):
            yield from (Imported(alias.name, at_start) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (Imported(f'{child.module}.{alias.name}', at_start) for alias in child.names)
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(child, at_start=at_start and not inside)


def own(name):
    """Return the module of the package that an imported name is or is in, None for one of others."""
    found = next((part for part in (name, name.rpartition('.')[0]) if part in modules()), None)
    return None if found == 'hfmirror' and name != 'hfmirror' else found


def who_imports(package):
    return {
        module.removeprefix('hfmirror.')
        for module, tree in modules().items()
        if any(name == package or name.startswith(f'{package}.') for name, _ in imports(tree))
    }


def who_uses(*names):
    """Return the modules in which one of these dotted names or calls stands."""
    return {
        module.removeprefix('hfmirror.')
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in names)
    }


# -- who may import whom


def test_no_module_imports_itself_in_a_circle():
    graph = {
        module: {name for found, at_start in imports(tree) if at_start and (name := own(found))}
        for module, tree in modules().items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as e:
        pytest.fail(' -> '.join(e.args[1]))


def test_nothing_below_imports_the_command_line():
    above = {'hfmirror.main', *(name for name in modules() if name.startswith('hfmirror.commands'))}
    for module, tree in modules().items():
        if module not in above and module != 'hfmirror.__main__':
            assert {own(name) for name, _ in imports(tree)} & above == set(), module


def layer_of(module):
    """Return the number of the layer that a module is in, 0 for the highest."""
    name = module.removeprefix('hfmirror').strip('.').partition('.')[0]
    return next((number for number, layer in enumerate(LAYERS) if name in layer.split()), None)


def test_every_module_is_in_a_layer():
    assert [module for module in modules() if module != 'hfmirror' and layer_of(module) is None] == []


def test_no_module_imports_one_of_a_higher_layer():
    for module, tree in modules().items():
        for name in {own(name) for name, _ in imports(tree)} - {None, 'hfmirror'}:
            assert layer_of(module) <= layer_of(name), f'{module} imports {name}'


def test_card_builds_on_facts_and_facts_on_readme_and_never_back():
    order = ['card', 'facts', 'readme']
    for module, tree in modules().items():
        package = module.split('.')[1] if '.' in module else ''
        if package in order:
            used = {own(name).split('.')[1] for name, _ in imports(tree) if own(name) and '.' in own(name)}
            assert used & set(order[: order.index(package)]) == set(), module


def test_errors_imports_nothing():
    assert {name for name, _ in imports(modules()['hfmirror.errors'])} == {'__future__.annotations'}


def test_there_is_no_module_for_odds_and_ends():
    names = {part for module in modules() for part in module.split('.')}
    assert names & {'utils', 'util', 'helpers', 'helper', 'common', 'misc'} == set()


# -- who may touch what


def test_only_these_read_the_environment():
    assert who_uses('os.environ', 'os.getenv', 'environ', 'getenv') <= {
        'auth',
        'config.environment',
        'config.places',
        'gitcmd',
        'main',
    }


def test_only_these_write_to_the_terminal():
    streams = ('print', 'sys.stdout', 'sys.stderr', 'click.echo', 'click.secho', 'input', 'click.prompt')
    assert who_uses(*streams) <= {'main', 'output'}


def test_only_gitcmd_starts_processes():
    # The Hub streams packs through git, asks one git many questions, and looks into git's quarantine.
    assert who_imports('subprocess') == {
        'gitcmd',
        'process',
        'sender',
        'server.git.catfile',
        'server.git.checks',
    }
    starters = ('os.system', 'os.popen', 'os.execvp', 'os.spawnvp', 'os.posix_spawn', 'os.fork', 'pty.spawn')
    assert who_uses(*starters) == set()


def test_only_these_use_gitpython():
    assert who_imports('git') <= {'clone', 'clonedir', 'worktree'}


def test_only_these_use_huggingface_hub_and_inside_functions():
    assert who_imports('huggingface_hub') <= {'auth', 'card.card', 'hub', 'hubcache'}
    for module, tree in modules().items():
        started = {name.partition('.')[0] for name, at_start in imports(tree) if at_start}
        assert 'huggingface_hub' not in started, module


def test_what_is_slow_to_import_is_imported_where_it_is_needed():
    above = [name for name in modules() if name in ('hfmirror.main', 'hfmirror.commands')]
    above += [name for name in modules() if name.startswith('hfmirror.commands.')]
    for module in above:
        started = {name.partition('.')[0] for name, at_start in imports(modules()[module]) if at_start}
        assert started & HEAVY == set(), module


@pytest.mark.parametrize('option', ['--help', '--version'])
def test_help_and_version_import_nothing_slow(option):
    code = f"""
import sys
sys.argv = ['hfmirror', {option!r}]
from hfmirror.main import main
try:
    main()
except SystemExit:
    print(sorted(set(sys.modules) & {HEAVY!r}))
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == '[]'


@pytest.mark.parametrize('option', ['--help', '--version'])
def test_help_and_version_start_in_at_most_twice_the_time_of_click(option):
    ours, clicks = [], []
    for _ in range(11):
        ours.append(_seconds('-m', 'hfmirror', option))
        clicks.append(_seconds('-c', 'import click'))
    assert statistics.median(ours) <= 2 * statistics.median(clicks)


def _seconds(*args):
    started = time.perf_counter()
    subprocess.run([sys.executable, *args], capture_output=True, check=True)
    return time.perf_counter() - started


# -- words that must stay true


def command_of(name):
    return import_module(f'hfmirror.commands.{name.replace("-", "_")}').command


def each(name):
    """Return [(its words, the command)] of a command; of a group, of those in it."""
    inside = getattr(command_of(name), 'commands', None) or {}
    return [(f'{name} {sub}', command) for sub, command in inside.items()] or [(name, command_of(name))]


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_has_help_with_an_example(name):
    for words, command in [(name, command_of(name)), *each(name)]:
        with click.Context(command, info_name=words) as context:
            assert f'\n  hfmirror {words}' in command.get_help(context)
    assert command_of(name).short_help.rstrip('.') == COMMANDS[name].rstrip('.')


@pytest.mark.parametrize('name', COMMANDS)
def test_every_option_has_help(name):
    options = [
        option for _, command in each(name) for option in command.params if isinstance(option, click.Option)
    ]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_is_in_the_readme(name):
    assert f'`hfmirror {name}' in (ROOT.parent / 'README.md').read_text('utf-8')


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_prints_json(name):
    for words, command in each(name):
        assert '--json' in {opt for option in command.params for opt in option.opts}, words


def test_every_module_of_commands_is_a_command():
    files = {path.stem for path in (ROOT / 'commands').glob('*.py')} - {'__init__', 'options'}
    assert files == {name.replace('-', '_') for name in COMMANDS}


def drawn_errors():
    """Return {class: (exit code, the class it is drawn under)} of the tree at the top of errors.py."""
    drawn, above = {}, {}
    for indent, name, code in re.findall(r'^( *)\* (\w+) \((\d+)\)', errors.__doc__, re.MULTILINE):
        depth = len(indent) // 4
        above[depth] = name
        drawn[name] = (int(code), above.get(depth - 1))
    return drawn


def test_every_error_is_drawn_with_its_exit_code_under_its_base():
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    made = {kind.__name__: (kind.exit_code, _base(kind)) for kind in classes}
    assert drawn_errors() == made


def _base(kind):
    base = kind.__base__.__name__
    return base if base != 'Exception' else None


def test_every_error_anywhere_in_the_package_is_one_of_ours():
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name.endswith(('Error', 'Failed', 'Exists', 'Moved')):
                kind = getattr(import_module(module), node.name)
                assert issubclass(kind, errors.HfmirrorError), f'{module}.{node.name}'


def test_every_exit_code_is_in_the_readme():
    text = (ROOT.parent / 'README.md').read_text('utf-8')
    codes = {int(code) for code in re.findall(r'^\| (\d+) \|', text, re.MULTILINE)}
    assert {code for code, _ in drawn_errors().values()} <= codes


def test_everything_in_all_is_there():
    for name in getattr(hfmirror, '__all__', ()):
        assert hasattr(hfmirror, name)
