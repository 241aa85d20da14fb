"""Metrics and training parameters from the files that trainers leave.

Only names known here are shown as parameters: training arguments also hold tokens, paths and names of machines.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from hfmirror.facts import jsonfile

Parameter = str | int | float | bool

_ARGUMENTS = (
    'learning_rate',
    'per_device_train_batch_size',
    'per_device_eval_batch_size',
    'gradient_accumulation_steps',
    'num_train_epochs',
    'max_steps',
    'seed',
    'optim',
    'adam_beta1',
    'adam_beta2',
    'adam_epsilon',
    'weight_decay',
    'max_grad_norm',
    'lr_scheduler_type',
    'warmup_ratio',
    'warmup_steps',
    'label_smoothing_factor',
    'max_seq_length',
    'max_length',
    'max_prompt_length',
    'max_completion_length',
    'num_generations',
    'packing',
    'beta',
    'loss_type',
    'temperature',
    'fp16',
    'bf16',
    'tf32',
    'gradient_checkpointing',
    'neftune_noise_alpha',
)
_ADAPTER = (
    'peft_type',
    'r',
    'lora_alpha',
    'lora_dropout',
    'target_modules',
    'bias',
    'use_rslora',
    'use_dora',
    'num_virtual_tokens',
)
_STATE = ('epoch', 'global_step', 'train_batch_size')
_RESULTS = ('train_loss', 'train_samples', 'eval_samples')
_LONGEST_NAME = 100
_WORD = re.compile(r'[A-Za-z0-9][\w.+-]{0,59}')
# What a trainer counts and times beside what it measures.
_BOOKKEEPING = re.compile(
    r'(?:.*\.)?(?:epoch|step|global_step|total_flos|train_\w+'
    r'|(?:\w+_)?(?:runtime|samples|samples_per_second|steps_per_second|jit_compilation_time|model_preparation_time))'
)


def metrics(configs: Mapping[str, Any]) -> dict[str, float]:
    """Return {metric: value} from eval_results.json, else all_results.json, else the last evaluation of trainer_state.json.

    Nested values have dotted names. Raises: CardError for NaN and Infinity among them.
    """
    for name in ('eval_results.json', 'all_results.json'):
        if found := _measured(jsonfile.finite(configs.get(name), name)):
            return found
    last = _last_evaluation(configs)
    return _measured(jsonfile.finite(last, 'trainer_state.json', 'log_history: '))


def top_metrics(values: Mapping[str, Any]) -> dict[str, float]:
    """Return {metric: value} of the finite numbers in ``values`` itself, not of what is nested in it."""
    numbers = {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    }
    return _measured(numbers)


def _measured(numbers: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in numbers.items() if _is_name(key) and not _BOOKKEEPING.fullmatch(key)}


def _is_name(key: str) -> bool:
    return 0 < len(key) <= _LONGEST_NAME and key.isprintable()


def _last_evaluation(configs: Mapping[str, Any]) -> dict[str, Any]:
    history = _mapping(configs.get('trainer_state.json')).get('log_history')
    for entry in reversed(history if isinstance(history, list) else []):
        if isinstance(entry, dict) and any(key.startswith('eval_') for key in entry):
            return {key: value for key, value in entry.items() if key.startswith('eval_')}
    return {}


def main_metric(configs: Mapping[str, Any]) -> str | None:
    """Return the metric to show first: what the trainer chose the best model by, else the first that is no loss."""
    names = list(metrics(configs))
    chosen = _mapping(configs.get('training_args.json')).get('metric_for_best_model')
    for name in names:
        if isinstance(chosen, str) and name in (chosen, f'eval_{chosen}'):
            return name
    return next((name for name in names if not name.endswith('loss')), names[0] if names else None)


def parameters(configs: Mapping[str, Any]) -> dict[str, Parameter]:
    """Return {parameter: value} to show: arguments, adapter, and how far the training went."""
    state = _mapping(configs.get('trainer_state.json'))
    results = {**_mapping(configs.get('eval_results.json')), **_mapping(configs.get('all_results.json'))}
    return {
        **_known(_mapping(configs.get('training_args.json')), _ARGUMENTS),
        **_known(_mapping(configs.get('adapter_config.json')), _ADAPTER),
        **_known(state, _STATE),
        **_known(results, _RESULTS),
    }


def _known(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Parameter]:
    shown = {name: _shown(values.get(name)) for name in names}
    return {name: value for name, value in shown.items() if value is not None and not _off(name, value)}


def _off(name: str, value: Parameter) -> bool:
    """Tell whether the value says that the parameter is not in use."""
    return (
        value is False or (name == 'max_steps' and value == -1) or (name.startswith('warmup') and value == 0)
    )


def _shown(value: Any) -> Parameter | None:
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None  # not NaN, not Infinity
    if isinstance(value, str):
        return value if _WORD.fullmatch(value) else None
    if (
        isinstance(value, list)
        and value
        and all(isinstance(item, str) and _WORD.fullmatch(item) for item in value)
    ):
        more = f' and {len(value) - 12} more' if len(value) > 12 else ''
        return ', '.join(sorted(value)[:12]) + more
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def metric_type(name: str) -> str:
    """Return the metric that a trainer's ``name`` stands for: ``eval_accuracy`` is ``accuracy``."""
    return re.sub(r'^(?:eval|test|predict)[_/.]', '', name) or name
