"""A real transformers.Trainer on a model of a few hundred parameters, made of a configuration and never fetched."""

from __future__ import annotations


def made(output_dir, *callbacks, steps=6, model=None, slow_s=0.0, evaluates=False, **arguments):
    """Return a Trainer that writes to ``output_dir``. ``slow_s``: how long each step takes besides."""
    import time

    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = GPT2Config(
        n_layer=1, n_head=1, n_embd=8, n_positions=16, vocab_size=32, bos_token_id=0, eos_token_id=1
    )

    class Slow(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            time.sleep(slow_s)

    data = [{'input_ids': torch.arange(8) % 32, 'labels': torch.arange(8) % 32} for _ in range(24)]
    given = {
        'per_device_train_batch_size': 2,
        'max_steps': steps,
        'save_steps': 2,
        'logging_steps': 1,
        'learning_rate': 1e-2,
        'report_to': [],
        'use_cpu': True,
        'disable_tqdm': True,
        'dataloader_pin_memory': False,
        **({'eval_strategy': 'steps', 'eval_steps': 2} if evaluates else {}),
        **arguments,
    }
    return Trainer(
        model=model if model is not None else GPT2LMHeadModel(config),
        args=TrainingArguments(str(output_dir), **given),
        train_dataset=data,
        eval_dataset=data[:4] if evaluates else None,
        callbacks=[*callbacks, *([Slow()] if slow_s else [])],
    )
