"""How do the saves of a ``transformers.Trainer`` become releases?

::

    from hfmirror.integrations.transformers import HfMirrorCallback

    trainer = Trainer(model, args, callbacks=[HfMirrorCallback('me/my-model', every='save', keep=3)])
    trainer.train()

Each checkpoint is a release under its own tag, the finished model one under the next version. The Trainer calls us when a
checkpoint is whole, and after it has removed older ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import HubStrategy

from hfmirror import output
from hfmirror.integrations import curve, trainer
from hfmirror.integrations.releases import Releases
from hfmirror.integrations.terms import Terms, require_one_of
from hfmirror.spool import Part, Result, Save

EVERY = ('save', 'epoch', 'end', 'best', 'every_save', 'checkpoint', 'all_checkpoints')


class HfMirrorCallback(TrainerCallback):
    """Releases what a Trainer saves. All but ``every`` is said in ``Terms``.

    ``every``: *save*, each checkpoint whole; *epoch*, one at the end of each epoch, which the Trainer is asked to save; *best*,
    each that is better than all before; *end*, the finished model alone. Or as ``hub_strategy`` has it: *every_save*, each
    without what only resuming needs; *checkpoint*, the same and the whole one in ``last-checkpoint/``; *all_checkpoints*, each
    in a folder of its own, and all of them stay. None is what TrainingArguments say of the Hub, else *save*.

    The repository is ``repo_id``, else ``hub_model_id`` of the arguments, else the configured one, else called as ``output_dir``.
    """

    def __init__(self, repo_id: str | None = None, every: str | None = None, **terms: Any) -> None:
        if every is not None:
            require_one_of('every', every, EVERY)
        self._given = terms if repo_id is None else {'repo_id': repo_id, **terms}
        self._every = every
        self.terms = Terms(**self._given)
        self.every = every or 'save'
        self._releases: Releases | None = None
        self._told: dict[str, Any] | None = None  # what the arguments say of the Hub
        self._best: str | None = None
        self._saved = self._asked = -1  # the step of the last save, and of one that we have asked for

    @property
    def results(self) -> list[Result]:
        """What came of the saves so far, oldest first; after ``train()`` of all of them."""
        return self._releases.results if self._releases else []

    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._take_over(args)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._take_over(args)
        self._best, self._saved, self._asked = state.best_model_checkpoint, -1, -1
        self._releases = None
        if state.is_world_process_zero:
            folder = trainer.folder_of(args)
            self._releases = Releases(strict=self.terms.strict, token=self.terms.given_token(folder))
            self._releases.begin(folder)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self._releases:
            self._releases.look()
        # A model that is spread over several processes can be written by all of them together, and by nobody later.
        if state.global_step >= state.max_steps and trainer.is_sharded(args):
            control.should_save = True
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self.every != 'epoch':
            return control
        if self._saved == state.global_step:
            self._put(args, state, self._saved)
            return control
        self._asked = state.global_step
        control.should_save = True
        return control

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        trainer.wait_for_others(args)
        self._saved = state.global_step
        if self.every == 'end' or (self.every == 'epoch' and self._asked != state.global_step):
            return
        if self.every != 'best':
            self._put(args, state, state.global_step)
        elif state.best_model_checkpoint not in (None, self._best):
            self._best = state.best_model_checkpoint
            self._put(args, state, state.best_global_step or state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._releases is None:
            return
        with self._releases.guarded():
            self._put_final(args, state, kwargs.get('model'), kwargs.get('processing_class'))
        self._releases.finish()

    # -- what is released

    def _take_over(self, args: TrainingArguments) -> None:
        """Fill in what was not given from what the arguments say of the Hub, and from where they write to."""
        tells = bool(args.push_to_hub or args.hub_model_id)
        strategy = HubStrategy(args.hub_strategy).value
        self.every = self._every or (strategy if tells else 'save')
        told: dict[str, Any] = {
            'repo_id': args.hub_model_id,
            'token': args.hub_token,
            'private': args.hub_private_repo,
            'branch': args.hub_revision,
        }
        if told == self._told:
            return
        self._told = told
        self.terms = Terms(
            **self._given,
            **{name: value for name, value in told.items() if name not in self._given},
        )
        if args.push_to_hub and args.process_index == 0:
            output.warn('hfmirror: push_to_hub=True lets the Trainer upload by itself as well. Leave it out.')

    def _put(self, args: TrainingArguments, state: TrainerState, step: int) -> None:
        """Hand over the checkpoint of a step."""
        if self._releases is None:
            return
        epoch = round(state.epoch or 0) if self.every == 'epoch' else state.epoch
        with self._releases.guarded():
            folder = trainer.checkpoint_of(trainer.folder_of(args), step)
            if folder is None:
                output.warn(f'hfmirror: {args.output_dir}: no checkpoint of step {step} to be released')
                return
            tag = self.terms.tag_of(step=step, epoch=epoch, metric=_metric(args, state))
            save = _with_keep(self.terms.save(trainer.folder_of(args), tag), self.every)
            self._releases.put(save, self._parts(folder), written=trainer.finite_state(folder))

    def _parts(self, folder: Path) -> Sequence[Part]:
        model = Part(folder, exclude=trainer.STATE)
        match self.every:
            case 'every_save':
                return [model]
            case 'checkpoint':
                return [model, Part(folder, trainer.LAST, exclude=trainer.NEVER)]
            case 'all_checkpoints':
                return [model, Part(folder, folder.name, exclude=trainer.NEVER)]
        return [Part(folder, exclude=trainer.NEVER)]

    def _put_final(self, args: TrainingArguments, state: TrainerState, model: Any, processor: Any) -> None:
        """Hand over the finished model, with the card's account of the training."""
        assert self._releases is not None
        folder = trainer.folder_of(args)
        image, account = curve.account(state.log_history)
        written = trainer.written(folder, state, image)
        save = replace(self.terms.save(folder, None), sections={curve.HEADING: account} if account else {})
        with trainer.model_of(args, state, model, processor) as source:
            parts = [Part(source, exclude=trainer.STATE)]
            last = trainer.checkpoint_of(folder, state.global_step)
            if self.every == 'checkpoint' and last is not None:
                parts.append(Part(last, trainer.LAST, exclude=trainer.NEVER))
            self._releases.put(_with_keep(save, self.every), parts, written=written)


def _with_keep(save: Save, every: str) -> Save:
    """Return the save as ``all_checkpoints`` wants it: on top of the others, which stay."""
    return replace(save, keep=True, keep_tags=None) if every == 'all_checkpoints' else save


def _metric(args: TrainingArguments, state: TrainerState) -> float | None:
    """Return the last value of what the best model is chosen by, of the loss of an evaluation where nothing is."""
    name = args.metric_for_best_model or 'loss'
    for entry in reversed(state.log_history):
        for key in (f'eval_{name}', name):
            value = entry.get(key)
            if isinstance(value, int | float) and any(each.startswith('eval_') for each in entry):
                return float(value)
    return None
