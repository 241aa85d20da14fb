"""With which of transformers' classes is a model loaded? A guess from the class that its configuration names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hfmirror.facts import architectures

# The end of the class's name → the class that loads it. The first that fits counts.
_AUTO = (
    ('LMHeadModel', 'AutoModelForCausalLM'),
    ('WhisperForConditionalGeneration', 'AutoModelForSpeechSeq2Seq'),
    ('Speech2TextForConditionalGeneration', 'AutoModelForSpeechSeq2Seq'),
    ('ForUniversalSegmentation', 'AutoModelForUniversalSegmentation'),
    ('MarianMTModel', 'AutoModelForSeq2SeqLM'),
    ('VisionEncoderDecoderModel', 'AutoModelForImageTextToText'),
)
_SAME_NAME = re.compile(
    r'(For(?:CausalLM|MaskedLM|SequenceClassification|TokenClassification|QuestionAnswering|MultipleChoice'
    r'|TableQuestionAnswering|DocumentQuestionAnswering|VisualQuestionAnswering|NextSentencePrediction|PreTraining'
    r'|SpeechSeq2Seq|CTC|AudioClassification|VideoClassification|ImageClassification|ImageTextToText|ObjectDetection'
    r'|ZeroShotObjectDetection|SemanticSegmentation|InstanceSegmentation|DepthEstimation|KeypointDetection'
    r'|MaskedImageModeling|TextToSpectrogram|TextToWaveform|TimeSeriesPrediction))$'
)


def transformers_info(configs: Mapping[str, Any], pipeline_tag: str | None) -> dict[str, str] | None:
    """Return ``auto_model``, ``pipeline_tag`` and ``processor``, as far as known; None without a class."""
    config = configs.get('config.json')
    name = architectures.name(config) if isinstance(config, dict) else None
    if name is None or not isinstance(config, dict):
        return None
    info = {
        'auto_model': _auto_model(name, config),
        'pipeline_tag': pipeline_tag,
        'processor': _processor(configs),
    }
    return {key: value for key, value in info.items() if value}


def _auto_model(name: str, config: Mapping[str, Any]) -> str:
    for ending, auto in _AUTO:
        if name.endswith(ending):
            return auto
    if name.endswith('ForConditionalGeneration'):
        return 'AutoModelForImageTextToText' if 'vision_config' in config else 'AutoModelForSeq2SeqLM'
    same = _SAME_NAME.search(name)
    return f'AutoModel{same[1]}' if same else 'AutoModel'


def _processor(configs: Mapping[str, Any]) -> str | None:
    sees, reads = 'preprocessor_config.json' in configs, 'tokenizer_config.json' in configs
    if sees and reads:
        return 'AutoProcessor'
    if reads:
        return 'AutoTokenizer'
    if not sees:
        return None
    kind = configs['preprocessor_config.json']
    return 'AutoFeatureExtractor' if 'feature_extractor_type' in kind else 'AutoImageProcessor'
