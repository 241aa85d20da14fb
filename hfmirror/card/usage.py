"""How to load exactly this version of a release, with the library it is for."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from hfmirror.facts.facts import Facts

if TYPE_CHECKING:
    from hfmirror.card.about import About

_AUTO_CLASSES = {
    'text-generation': 'AutoModelForCausalLM',
    'fill-mask': 'AutoModelForMaskedLM',
    'text-classification': 'AutoModelForSequenceClassification',
    'token-classification': 'AutoModelForTokenClassification',
    'question-answering': 'AutoModelForQuestionAnswering',
    'multiple-choice': 'AutoModelForMultipleChoice',
    'feature-extraction': 'AutoModel',
    'image-feature-extraction': 'AutoModel',
    'translation': 'AutoModelForSeq2SeqLM',
    'summarization': 'AutoModelForSeq2SeqLM',
    'image-classification': 'AutoModelForImageClassification',
    'object-detection': 'AutoModelForObjectDetection',
    'depth-estimation': 'AutoModelForDepthEstimation',
    'audio-classification': 'AutoModelForAudioClassification',
    'video-classification': 'AutoModelForVideoClassification',
    'image-text-to-text': 'AutoModelForImageTextToText',
    'zero-shot-image-classification': 'AutoModelForZeroShotImageClassification',
}
_HUB_HOSTS = ('huggingface.co', 'hf.co')
_TOKENIZER_FILES = ('tokenizer.json', 'tokenizer_config.json', 'vocab.txt', 'spiece.model', 'tokenizer.model')


class Usage(NamedTuple):
    """Parts of the snippet, as Python: ``where`` is the place to load from, ``pinned``, ``revision`` and ``trust`` are
    further arguments or empty.

    ``clone`` is a shell command that comes first. ``download`` tells that ``folder`` has to be fetched first, with
    ``pinned``; what then loads from there takes no ``revision``. ``file`` is one data file, ``timm`` a name for timm.
    """

    repo: str
    where: str
    pinned: str
    revision: str
    trust: str
    clone: str | None
    download: bool
    model_class: str
    processor: str | None
    base: str | None
    pipeline: bool
    file: str | None
    timm: str


def usage(facts: Facts, about: About) -> Usage:
    """Return the parts of the snippet that loads the release of ``about``."""
    url = public_url(about.url)
    clone = _clone(url, about) if url and not _is_hub(url) else None
    download = clone is None and bool(about.prefix) and about.repo_type == 'model'
    pinned = f', revision={_quoted(about.version)}' if about.version else ''
    where = _where(about, cloned=clone is not None, download=download)
    direct = clone is None and not download
    return Usage(
        repo=_quoted(about.repo_id),
        where=where,
        pinned=_repo_type(about) + pinned,
        revision=pinned if direct else '',
        trust=', trust_remote_code=True' if facts.custom_code else '',
        clone=clone,
        download=download,
        model_class=_model_class(facts),
        processor=_processor(facts, about),
        base=_quoted(facts.base_model[0]) if len(facts.base_model) == 1 else None,
        pipeline=about.path('model_index.json') in about.tree,
        file=_quoted(about.path(facts.data.first)) if facts.data else None,
        timm=_timm_name(about) if direct else f'"local-dir:" + {where}',
    )


def _quoted(text: str) -> str:
    """Return ``text`` as a Python string in double quotes."""
    return json.dumps(text)


def _repo_type(about: About) -> str:
    return '' if about.repo_type == 'model' else f', repo_type={_quoted(about.repo_type)}'


def public_url(url: str | None) -> str | None:
    """Return ``url`` without user and password when others can use it too, None for a path of this machine."""
    parts = urlsplit(url or '')
    if parts.scheme not in ('https', 'http', 'ssh') or not parts.hostname or re.search(r'\s', url or ''):
        return None
    if parts.scheme == 'ssh' and parts.password is None:
        return url
    host = parts.netloc.rpartition('@')[2]
    return parts._replace(netloc=host, query='', fragment='').geturl()


def _is_hub(url: str) -> bool:
    return (urlsplit(url).hostname or '') in _HUB_HOSTS


def _clone(url: str, about: About) -> str:
    branch = f'--branch {shlex.quote(about.version)} ' if about.version else ''
    return f'git clone {branch}{shlex.quote(url)} {shlex.quote(_directory(about))}'


def _directory(about: About) -> str:
    return about.repo_id.rpartition('/')[2]


def _where(about: About, *, cloned: bool, download: bool) -> str:
    if cloned:
        return _quoted(f'./{_directory(about)}/{about.prefix}'.rstrip('/'))
    return f'folder + {_quoted("/" + about.prefix)}' if download else _quoted(about.repo_id)


def _timm_name(about: About) -> str:
    version = f'@{about.version}' if about.version else ''
    return _quoted(f'hf-hub:{about.repo_id}{version}')


def _model_class(facts: Facts) -> str:
    """Return the class of transformers: the automatic one for the task, else the very class the model was saved from."""
    if facts.pipeline_tag in _AUTO_CLASSES:
        return _AUTO_CLASSES[facts.pipeline_tag]
    name = facts.architecture or ''
    return name if facts.library_name == 'transformers' and name.isidentifier() else 'AutoModel'


def _processor(facts: Facts, about: About) -> str | None:
    if about.path('processor_config.json') in about.tree:
        return 'AutoProcessor'
    if about.path('preprocessor_config.json') in about.tree:
        seen = (facts.pipeline_tag or '').startswith(('image-', 'object-', 'depth-', 'keypoint-'))
        return (
            'AutoImageProcessor' if seen and facts.pipeline_tag != 'image-text-to-text' else 'AutoProcessor'
        )
    return 'AutoTokenizer' if any(about.path(name) in about.tree for name in _TOKENIZER_FILES) else None
