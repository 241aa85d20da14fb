"""What the configuration files of a model tell about library and task, in the Hub's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# The class that a configuration names ends in one of these; the first that fits counts.
_TASKS = (
    ('ForCausalLM', 'text-generation'),
    ('LMHeadModel', 'text-generation'),
    ('ForMaskedLM', 'fill-mask'),
    ('ForSequenceClassification', 'text-classification'),
    ('ForTokenClassification', 'token-classification'),
    ('TapasForQuestionAnswering', 'table-question-answering'),
    ('ForTableQuestionAnswering', 'table-question-answering'),
    ('ForDocumentQuestionAnswering', 'document-question-answering'),
    ('ForVisualQuestionAnswering', 'visual-question-answering'),
    ('ForQuestionAnswering', 'question-answering'),
    ('ForMultipleChoice', 'multiple-choice'),
    ('ForSpeechSeq2Seq', 'automatic-speech-recognition'),
    ('WhisperForConditionalGeneration', 'automatic-speech-recognition'),
    ('Speech2TextForConditionalGeneration', 'automatic-speech-recognition'),
    ('ForCTC', 'automatic-speech-recognition'),
    ('ForImageTextToText', 'image-text-to-text'),
    ('VisionEncoderDecoderModel', 'image-to-text'),
    ('MarianMTModel', 'translation'),
    ('M2M100ForConditionalGeneration', 'translation'),
    ('ForImageClassification', 'image-classification'),
    ('ForObjectDetection', 'object-detection'),
    ('ForZeroShotObjectDetection', 'zero-shot-object-detection'),
    ('ForSemanticSegmentation', 'image-segmentation'),
    ('ForInstanceSegmentation', 'image-segmentation'),
    ('ForUniversalSegmentation', 'image-segmentation'),
    ('ForDepthEstimation', 'depth-estimation'),
    ('ForKeypointDetection', 'keypoint-detection'),
    ('ForAudioClassification', 'audio-classification'),
    ('ForVideoClassification', 'video-classification'),
    ('ForTextToSpeech', 'text-to-speech'),
    ('VitsModel', 'text-to-speech'),
    ('ForTextToWaveform', 'text-to-audio'),
    ('CLIPModel', 'zero-shot-image-classification'),
    ('SiglipModel', 'zero-shot-image-classification'),
    ('Siglip2Model', 'zero-shot-image-classification'),
    ('ForTimeSeriesPrediction', 'time-series-forecasting'),
)
_ADAPTER_TASKS = {
    'CAUSAL_LM': 'text-generation',
    'SEQ_CLS': 'text-classification',
    'TOKEN_CLS': 'token-classification',
    'QUESTION_ANS': 'question-answering',
    'FEATURE_EXTRACTION': 'feature-extraction',
}
# Architectures whose plain `…Model` turns text into vectors; the plain model of another may see or hear.
_TEXT_ENCODERS = re.compile(
    r'albert|bert|camembert|deberta|deberta-v2|distilbert|electra|ernie|eurobert|flaubert|longformer|luke|mobilebert'
    r'|modernbert|mpnet|neobert|nomic_bert|roberta|roformer|squeezebert|xlm|xlm-roberta|xlm-roberta-xl|xlnet|xmod'
)
_LONGEST_CONTEXT = 10**8  # what tokenizers write for "no limit" is far larger


def library(configs: Mapping[str, Any], formats: set[str | None]) -> str | None:
    """Return the library that loads the model, from its files and what its weight files say of their framework."""
    config = _mapping(configs.get('config.json'))
    if 'config_setfit.json' in configs:
        return 'setfit'
    if _is_sentence_transformer(configs) or 'sentence_transformers' in config:
        return 'sentence-transformers'
    if isinstance(_mapping(configs.get('adapter_config.json')).get('peft_type'), str):
        return 'peft'
    if '_diffusers_version' in _mapping(configs.get('model_index.json')) or '_diffusers_version' in config:
        return 'diffusers'
    if 'pretrained_cfg' in config and isinstance(config.get('architecture'), str):
        return 'timm'
    if formats == {'mlx'}:
        return 'mlx'
    if 'transformers_version' in config or (isinstance(config.get('model_type'), str) and name(config)):
        return 'transformers'
    return None


def _is_sentence_transformer(configs: Mapping[str, Any]) -> bool:
    modules = configs.get('modules.json')
    if not isinstance(modules, list):
        return 'config_sentence_transformers.json' in configs
    return any(
        str(_mapping(module).get('type', '')).startswith('sentence_transformers.') for module in modules
    )


def pipeline_tag(configs: Mapping[str, Any], library: str | None) -> str | None:
    """Return the task of the model, None when the files leave it open."""
    config = _mapping(configs.get('config.json'))
    if library == 'setfit':
        return 'text-classification'
    if library == 'sentence-transformers':
        return (
            'text-ranking' if 'ForSequenceClassification' in (name(config) or '') else 'sentence-similarity'
        )
    if library == 'peft':
        task = _mapping(configs.get('adapter_config.json')).get('task_type')
        return _ADAPTER_TASKS.get(task) if isinstance(task, str) else None
    if library == 'diffusers':
        return _diffusers_task(_mapping(configs.get('model_index.json')))
    if library == 'timm':
        classes = config.get('num_classes')
        return 'image-feature-extraction' if classes == 0 else 'image-classification'
    return _transformers_task(config)


def _diffusers_task(index: Mapping[str, Any]) -> str | None:
    pipeline = index.get('_class_name')
    if not isinstance(pipeline, str):
        return None
    if 'Img2Img' in pipeline or 'Inpaint' in pipeline:
        return 'image-to-image'
    if re.match(r'StableDiffusion(?:XL|3)?Pipeline$|FluxPipeline$|PixArt', pipeline):
        return 'text-to-image'
    return 'unconditional-image-generation' if re.match(r'DD[IP]MPipeline$', pipeline) else None


def _transformers_task(config: Mapping[str, Any]) -> str | None:
    architecture = name(config) or ''
    for ending, task in _TASKS:
        if architecture.endswith(ending):
            return task
    if architecture.endswith('ForConditionalGeneration'):
        sees = 'vision_config' in config and 'audio_config' not in config
        return 'image-text-to-text' if sees else None
    if architecture.endswith('Model') and _TEXT_ENCODERS.fullmatch(str(config.get('model_type'))):
        return 'feature-extraction'
    return None


def tags(configs: Mapping[str, Any], library: str | None) -> tuple[str, ...]:
    """Return the tags that the libraries themselves give such a model."""
    found = []
    if library == 'sentence-transformers':
        found += ['sentence-transformers']
    kind = _mapping(configs.get('adapter_config.json')).get('peft_type')
    if library == 'peft' and isinstance(kind, str) and re.fullmatch(r'[A-Z0-9_]{2,30}', kind):
        found.append(kind.lower())
    if isinstance(configs.get('trainer_state.json'), dict):
        found.append('generated_from_trainer')
    return tuple(found)


def name(config: Mapping[str, Any]) -> str | None:
    """Return the class that the configuration names first."""
    names = config.get('architectures')
    first = names[0] if isinstance(names, list) and names else config.get('architecture')
    return first if isinstance(first, str) and re.fullmatch(r'[A-Za-z_][\w.]{0,99}', first) else None


def context_length(configs: Mapping[str, Any]) -> int | None:
    """Return how many tokens the model takes: what sentence-transformers cuts at, else the tokenizer, else the model."""
    for file, key in (
        ('sentence_bert_config.json', 'max_seq_length'),
        ('tokenizer_config.json', 'model_max_length'),
        ('config.json', 'max_position_embeddings'),
    ):
        length = _mapping(configs.get(file)).get(key)
        if type(length) is int and 0 < length < _LONGEST_CONTEXT:
            return length
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
