import json

import numpy
import pytest
from safetensors.numpy import save_file

from hfmirror.errors import CardError, SourceError
from hfmirror.facts.facts import read_facts


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes files and reads the facts of them; a value that is not text becomes JSON."""

    def facts(repo_type='model', **contents):
        for name, content in contents.items():
            path = tmp_path / (name.replace('__', '.') if '__' in name else name)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(
                    content if isinstance(content, str) else json.dumps(content), encoding='utf-8'
                )
        files = {
            path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob('*') if path.is_file()
        }
        return read_facts(files, repo_type=repo_type)

    return facts


BERT = {
    'architectures': ['BertForSequenceClassification'],
    'model_type': 'bert',
    'transformers_version': '5.0.0',
}


def test_empty_folder_tells_nothing(folder):
    facts = folder()
    assert (facts.library_name, facts.pipeline_tag, facts.license, facts.metrics, facts.weights) == (
        None,
        None,
        None,
        {},
        (),
    )


@pytest.mark.parametrize(
    ('config', 'task'),
    [
        ({'architectures': ['LlamaForCausalLM'], 'model_type': 'llama'}, 'text-generation'),
        ({'architectures': ['GPT2LMHeadModel'], 'model_type': 'gpt2'}, 'text-generation'),
        ({'architectures': ['RobertaForMaskedLM'], 'model_type': 'roberta'}, 'fill-mask'),
        (BERT, 'text-classification'),
        (
            {'architectures': ['WhisperForConditionalGeneration'], 'model_type': 'whisper'},
            'automatic-speech-recognition',
        ),
        (
            {'architectures': ['LlavaForConditionalGeneration'], 'model_type': 'llava', 'vision_config': {}},
            'image-text-to-text',
        ),
        ({'architectures': ['T5ForConditionalGeneration'], 'model_type': 't5'}, None),
        ({'architectures': ['BertModel'], 'model_type': 'bert'}, 'feature-extraction'),
        ({'architectures': ['WhisperModel'], 'model_type': 'whisper'}, None),
        ({'architectures': ['ViTForImageClassification'], 'model_type': 'vit'}, 'image-classification'),
        ({'architectures': ['MarianMTModel'], 'model_type': 'marian'}, 'translation'),
        ({'architectures': [], 'model_type': 'bert', 'transformers_version': '5'}, None),
        ({'architectures': 7, 'model_type': ['x'], 'transformers_version': '5'}, None),
    ],
)
def test_architecture_tells_the_task(folder, config, task):
    assert folder(config__json=config).pipeline_tag == task


@pytest.mark.parametrize(
    ('files', 'library', 'task'),
    [
        ({'config.json': BERT}, 'transformers', 'text-classification'),
        (
            {'modules.json': [{'type': 'sentence_transformers.models.Transformer'}], 'config.json': BERT},
            'sentence-transformers',
            'text-ranking',
        ),
        ({'config_sentence_transformers.json': {}}, 'sentence-transformers', 'sentence-similarity'),
        ({'config_setfit.json': {}, 'modules.json': []}, 'setfit', 'text-classification'),
        ({'adapter_config.json': {'peft_type': 'LORA', 'task_type': 'CAUSAL_LM'}}, 'peft', 'text-generation'),
        (
            {'model_index.json': {'_class_name': 'StableDiffusionPipeline', '_diffusers_version': '0.30'}},
            'diffusers',
            'text-to-image',
        ),
        (
            {'config.json': {'architecture': 'resnet50', 'num_classes': 1000, 'pretrained_cfg': {}}},
            'timm',
            'image-classification',
        ),
        ({'config.json': {'num_layers': 3}}, None, None),
        ({'config.json': [1, 2]}, None, None),
    ],
)
def test_files_tell_the_library(folder, files, library, task):
    facts = folder(**{name.replace('.', '__'): value for name, value in files.items()})
    assert (facts.library_name, facts.pipeline_tag) == (library, task)


def test_adapter_tells_base_model_and_parameters(folder):
    adapter = {
        'peft_type': 'LORA',
        'base_model_name_or_path': 'meta-llama/Llama-3.2-1B',
        'r': 16,
        'lora_alpha': 32,
        'lora_dropout': 0.05,
        'target_modules': ['v_proj', 'q_proj'],
        'use_dora': False,
        'revision': None,
    }
    facts = folder(adapter_config__json=adapter)
    assert facts.base_model == ('meta-llama/Llama-3.2-1B',)
    assert facts.tags == ('lora',)
    assert facts.training == {
        'peft_type': 'LORA',
        'r': 16,
        'lora_alpha': 32,
        'lora_dropout': 0.05,
        'target_modules': 'q_proj, v_proj',
    }


@pytest.mark.parametrize(
    'name', ['nreimers/MiniLM-L6-H384-uncased', 'bert-base-uncased', 'test-org/some.model-2']
)
def test_hub_name_is_a_base_model(folder, name):
    assert folder(config__json={**BERT, '_name_or_path': name}).base_model == (name,)


@pytest.mark.parametrize(
    'name',
    [
        '/home/me/out',
        './out',
        '../base',
        'out',
        'outputs/checkpoint-500',
        'my_models/bert',
        'me/checkpoint-12',
        'C:\\models\\x',
        'models/base',
        'a/b/c',
        '~/x',
        'x/weights.bin',
        '',
        None,
        7,
        ['a/b'],
    ],
)
def test_path_is_no_base_model(folder, name):
    assert folder(config__json={**BERT, '_name_or_path': name}).base_model == ()


def test_adapter_on_a_local_base_does_not_borrow_another_base(folder):
    facts = folder(
        adapter_config__json={'peft_type': 'LORA', 'base_model_name_or_path': '/mnt/base'},
        config__json={**BERT, '_name_or_path': 'ns/other'},
    )
    assert facts.base_model == ()


def test_no_path_name_or_token_leaves_the_training_arguments(folder):
    arguments = {
        'output_dir': '/home/alice/out',
        'logging_dir': '/home/alice/out/runs/Jan01_gpu-box-7',
        'run_name': 'alice-run',
        'hub_token': 'hf_abcdefghijklmnopqrstuvwxyz0123456789',
        'hub_model_id': 'alice/private',
        'model_name_or_path': '/home/alice/base',
        'dataset_name': '/home/alice/data',
        'optim': '/home/alice/optimizer.py',
        'lr_scheduler_type': 'linear',
        'learning_rate': 5e-05,
        'seed': 42,
        'fp16': True,
        'bf16': False,
        'max_steps': -1,
        'weight_decay': float('nan'),
    }
    facts = folder(
        training_args__json=arguments, trainer_state__json={'best_model_checkpoint': '/home/alice/out/c-5'}
    )
    assert facts.training == {'learning_rate': 5e-05, 'seed': 42, 'lr_scheduler_type': 'linear', 'fp16': True}
    assert 'alice' not in repr(facts)
    assert 'hf_' not in repr(facts)


def test_training_arguments_tell_dataset_and_language(folder):
    facts = folder(training_args__json={'dataset_name': 'stanfordnlp/imdb', 'language': 'no'})
    assert facts.datasets == ('stanfordnlp/imdb',)
    assert facts.language == ('no',)


def test_eval_results_come_before_all_results(folder):
    facts = folder(
        eval_results__json={'eval_accuracy': 0.9}, all_results__json={'eval_accuracy': 0.1, 'train_loss': 2.5}
    )
    assert facts.metrics == {'eval_accuracy': 0.9}
    assert facts.training == {'train_loss': 2.5}


def test_all_results_serve_without_eval_results(folder):
    results = {
        'epoch': 3.0,
        'eval_f1': 0.8,
        'eval_runtime': 12.5,
        'eval_samples_per_second': 80.1,
        'train_runtime': 99.0,
        'total_flos': 1e15,
    }
    assert folder(all_results__json=results).metrics == {'eval_f1': 0.8}


def test_last_evaluation_of_the_trainer_state_serves_last(folder):
    history = [
        {'step': 10, 'loss': 0.5, 'grad_norm': float('nan')},
        {'step': 10, 'eval_loss': 0.4, 'eval_runtime': 1.0},
        {'step': 20, 'eval_loss': 0.3, 'eval_accuracy': 0.7},
        {'step': 20, 'train_runtime': 5.0, 'train_loss': 0.2},
    ]
    facts = folder(trainer_state__json={'log_history': history, 'epoch': 2.0, 'global_step': 20})
    assert facts.metrics == {'eval_loss': 0.3, 'eval_accuracy': 0.7}
    assert facts.main_metric == 'eval_accuracy'
    assert facts.training == {'epoch': 2.0, 'global_step': 20}
    assert facts.tags == ('generated_from_trainer',)


def test_nested_metrics_have_dotted_names(folder):
    results = {'glue': {'mrpc': {'f1': 0.5}}, 'list': [1, 2], 'passed': True, 'note': 'x', 'count': 10}
    assert folder(eval_results__json=results).metrics == {'glue.mrpc.f1': 0.5, 'count': 10.0}


def test_metric_the_trainer_chose_by_comes_first(folder):
    facts = folder(
        eval_results__json={'eval_f1': 0.5, 'eval_loss': 1.0},
        training_args__json={'metric_for_best_model': 'loss'},
    )
    assert facts.main_metric == 'eval_loss'


def test_metric_with_an_unprintable_or_endless_name_is_not_told(folder):
    assert folder(eval_results__json=f'{{"a\\ud800": 1, "b\\nc": 2, "{"x" * 500}": 3, "ok": 4}}').metrics == {
        'ok': 4.0
    }


@pytest.mark.parametrize(
    'name', ['eval_results.json', 'all_results.json', 'trainer_state.json', 'config.json']
)
def test_broken_json_names_file_line_and_column(folder, name):
    with pytest.raises(
        CardError, match=rf'^{name}, line 2, column 14: is not JSON: .*--exclude {name}'
    ) as caught:
        folder(**{name.replace('.', '__'): '{\n  "eval_f1": nope}'})
    assert caught.value.exit_code == 8


@pytest.mark.parametrize(
    ('number', 'word'),
    [('NaN', 'NaN'), ('Infinity', 'Infinity'), ('-Infinity', 'Infinity'), ('1e999', 'Infinity')],
)
def test_number_that_is_none_names_file_and_key(folder, number, word):
    with pytest.raises(
        CardError, match=rf'^eval_results.json: glue.f1 is {word}, .*--exclude eval_results.json'
    ):
        folder(eval_results__json=f'{{"glue": {{"f1": {number}}}}}')


def test_nan_in_the_last_evaluation_is_an_error(folder):
    with pytest.raises(CardError, match=r'trainer_state.json: log_history: eval_loss is NaN'):
        folder(trainer_state__json={'log_history': [{'eval_loss': float('nan')}]})


@pytest.mark.parametrize('content', [b'\xff\xfe\x00', b'[' * 100_000, b'1' * 10_000, b'', b'\x00\x01'])
def test_junk_in_place_of_results_is_an_error(folder, content):
    with pytest.raises(CardError, match=r'^eval_results\.json'):
        folder(eval_results__json=content)


def test_number_too_large_for_a_float_is_an_error(folder):
    with pytest.raises(CardError, match='size is too large a number'):
        folder(eval_results__json='{"size": 1' + '0' * 400 + '}')


@pytest.mark.parametrize('content', ['[1, 2]', '"text"', 'null', '{}', '{"eval_f1": "high"}', '\ufeff{}'])
def test_results_of_another_shape_tell_nothing(folder, content):
    assert folder(eval_results__json=content).metrics == {}


def test_file_too_large_for_results_is_not_read(folder, tmp_path):
    with (tmp_path / 'eval_results.json').open('wb') as file:
        file.truncate(100 * 2**20)
    assert folder().metrics == {}


def test_weight_headers_are_read_in_every_folder(folder, tmp_path):
    (tmp_path / 'unet').mkdir()
    save_file(
        {'w': numpy.zeros(4, numpy.float32)},
        tmp_path / 'unet' / 'model.safetensors',
        metadata={'format': 'mlx'},
    )
    facts = folder()
    assert [(one.path, one.parameters) for one in facts.weights] == [('unet/model.safetensors', 4)]
    assert facts.library_name == 'mlx'


def test_context_length_is_the_shortest_that_counts(folder):
    facts = folder(
        sentence_bert_config__json={'max_seq_length': 256},
        tokenizer_config__json={'model_max_length': 10**30},
        config__json={'max_position_embeddings': 512},
    )
    assert facts.context_length == 256


def test_endless_context_is_not_told(folder):
    assert folder(tokenizer_config__json={'model_max_length': 10**30}).context_length is None


def test_front_matter_of_a_person_counts_more_than_files(folder):
    readme = '---\nlibrary_name: mine\nlanguage: no\ndatasets: [a/b, 3]\ntags: x\nlicense: mit\n---\n'
    facts = folder(README__md=readme, config__json=BERT, LICENSE='Apache License Version 2.0, January 2004')
    assert facts.library_name == 'mine'
    assert facts.language == ('no',)
    assert facts.datasets == ('a/b',)
    assert facts.tags == ('x',)
    assert facts.license == 'mit'
    assert facts.pipeline_tag == 'text-classification'


def test_local_base_model_of_the_front_matter_is_not_told_on(folder):
    assert folder(README__md='---\nbase_model: /home/alice/out\n---\n').base_model == ()


def test_broken_front_matter_is_an_error_with_line_and_column(folder):
    with pytest.raises(CardError, match=r'^README.md, line 3, column \d+: '):
        folder(README__md='---\nlicense: mit\ntags: [a\n---\n')


def test_unreadable_text_in_readme_is_an_error(folder):
    with pytest.raises(CardError, match=r'^README.md, line 2: is not UTF-8'):
        folder(README__md=b'# hi\n\xff\xfe')


def test_vanished_file_is_a_source_error(tmp_path):
    with pytest.raises(SourceError, match=r'config\.json: cannot be read'):
        read_facts({'config.json': tmp_path / 'config.json'})


def test_space_tells_no_library(folder):
    assert folder(repo_type='space', config__json=BERT).library_name is None
