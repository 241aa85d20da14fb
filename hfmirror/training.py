"""Training is over: is the run published, and where to? Whatever comes of it, the training has succeeded."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hfmirror import auth, errors, gitcmd, output

Urls = Mapping[str, str | None]


class Run(NamedTuple):
    """A finished training run. ``version_tag`` None: as the configuration names versions."""

    model_path: Path
    experiment_name: str
    config_file: Path
    version_tag: str | None = None

    @property
    def command(self) -> str:
        """The command that publishes the run, or goes on where that ended."""
        words = ['hfmirror', 'sync', str(self.model_path), '--experiment', self.experiment_name]
        words += ['--tag', self.version_tag] if self.version_tag else []
        return shlex.join([*words, '--config', str(self.config_file)])


def check_before_training(config_file: Path) -> None:
    """Warn, while there is time to mend it, when the configuration would keep the run from being published."""
    from hfmirror.config.loading import load_config

    try:
        load_config(config_file)
    except errors.HfmirrorError as e:
        output.warn(f'{e}\nThe model will be trained all the same, and can be published when this is mended.')


def sync_after_training(run: Run, *, skip: bool = False, force: bool = False) -> Urls | None:
    """Publish a run and return {model_url, config_url, results_url}; None when it is not published, which is told.

    1. ``skip`` and ``force``, the options ``--skip-hf-sync`` and ``--force-hf-sync``, say whether it is
    2. ``huggingface.enabled`` and ``huggingface.auto_sync`` of the configuration, both of which have to be on

    Without a token the release is kept in the local Hub. Raises nothing: an upload that fails ends in a warning with its
    reason and the command that finishes it.
    """
    if skip:
        _tell_why_not(run, '--skip-hf-sync')
        return None
    try:
        return _sync(run, force=force)
    except errors.HfmirrorError as e:
        reason = str(e)
    except Exception as e:
        # Nothing that happens here may cost hours of training, not even an error of ours.
        reason = gitcmd.redact(f'{type(e).__name__}: {e}')
    output.warn(f'the training is done, but not published yet: {reason}')
    output.say(f'The model is in {run.model_path}. To finish: {run.command}')
    return None


def _sync(run: Run, *, force: bool) -> Urls | None:
    from hfmirror import publishing
    from hfmirror.config.loading import load_config
    from hfmirror.manager import HuggingFaceManager

    config = load_config(run.config_file)
    if not force and not (config.enabled and config.auto_sync):
        _tell_why_not(run, f'huggingface.{"auto_sync" if config.enabled else "enabled"} is off')
        return None
    wanted = config.remotes or ['hub']
    lacks_token = 'hub' in wanted and auth.find_token(folder=run.model_path) is None
    if lacks_token:
        output.warn(publishing.NO_TOKEN, prefix='')
        wanted = publishing.without_token(wanted)
    urls: Urls = HuggingFaceManager(str(run.config_file)).sync_training_workflow(
        model_path=str(run.model_path),
        experiment_name=run.experiment_name,
        version_tag=run.version_tag,
        remotes=wanted,
    )
    if lacks_token:
        output.say(
            'Skipping HuggingFace upload: the release is kept in the local Hub on this machine. To upload it, log in '
            f"with 'hf auth login' or set HF_TOKEN, then: {run.command}"
        )
    return urls


def _tell_why_not(run: Run, reason: str) -> None:
    output.say(f'Not published: {reason}. The model is in {run.model_path}. To publish it: {run.command}')
