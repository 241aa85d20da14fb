import ast
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hfmirror.card.card import About
from hfmirror.card.sections import sections
from hfmirror.card.usage import public_url
from hfmirror.facts.datafiles import Data
from hfmirror.facts.facts import Facts
from hfmirror.tree import Entry

MODEL = Facts(
    library_name='transformers',
    pipeline_tag='text-classification',
    architecture='BertForSequenceClassification',
)
DATA = Data(splits=(), rows=None, features=(), size_category=None, loadable=True, first='train.csv')


def usage(facts, *, files=(), **about):
    tree = {name: Entry(name, 'a' * 64, 1, False) for name in files}
    release = About(
        'me/my-model', facts.repo_type, 'v1.0.0', datetime(2026, 1, 1, tzinfo=UTC), tree, (), None
    )
    return sections(facts, release._replace(**about), title=False, card_size=0)['usage']


def code(text):
    """Return the Python of a snippet; it must be Python."""
    snippet = re.search(r'```python\n(.*?)```', text, re.S)[1]
    ast.parse(snippet)
    return snippet


@pytest.mark.parametrize(
    ('facts', 'files', 'line'),
    [
        (
            MODEL,
            (),
            'model = AutoModelForSequenceClassification.from_pretrained("me/my-model", revision="v1.0.0")',
        ),
        (
            MODEL,
            ('tokenizer.json',),
            'tokenizer = AutoTokenizer.from_pretrained("me/my-model", revision="v1.0.0")',
        ),
        (
            MODEL,
            ('processor_config.json',),
            'processor = AutoProcessor.from_pretrained("me/my-model", revision="v1.0.0")',
        ),
        (
            replace(MODEL, pipeline_tag='image-classification'),
            ('preprocessor_config.json',),
            'processor = AutoImageProcessor.from_pretrained("me/my-model", revision="v1.0.0")',
        ),
        (
            replace(MODEL, pipeline_tag=None),
            (),
            'model = BertForSequenceClassification.from_pretrained("me/my-model", revision="v1.0.0")',
        ),
        (replace(MODEL, custom_code=True), (), '("me/my-model", revision="v1.0.0", trust_remote_code=True)'),
        (
            replace(MODEL, library_name='peft', base_model=('ns/base',), pipeline_tag='text-generation'),
            (),
            'model = PeftModel.from_pretrained(base, "me/my-model", revision="v1.0.0")',
        ),
        (
            replace(MODEL, library_name='peft'),
            (),
            'folder = snapshot_download("me/my-model", revision="v1.0.0")',
        ),
        (
            replace(MODEL, library_name='sentence-transformers'),
            (),
            'model = SentenceTransformer("me/my-model", revision="v1.0.0")',
        ),
        (
            replace(MODEL, library_name='sentence-transformers', pipeline_tag='text-ranking'),
            (),
            'model = CrossEncoder("me/my-model", revision="v1.0.0")',
        ),
        (
            replace(MODEL, library_name='setfit'),
            (),
            'model = SetFitModel.from_pretrained("me/my-model", revision="v1.0.0")',
        ),
        (
            replace(MODEL, library_name='diffusers'),
            ('model_index.json',),
            'pipeline = DiffusionPipeline.from_pretrained("me/my-model", revision="v1.0.0")',
        ),
        (
            replace(MODEL, library_name='diffusers'),
            (),
            'folder = snapshot_download("me/my-model", revision="v1.0.0")',
        ),
        (
            replace(MODEL, library_name='timm'),
            (),
            'model = timm.create_model("hf-hub:me/my-model@v1.0.0", pretrained=True)',
        ),
        (Facts(), (), 'folder = snapshot_download("me/my-model", revision="v1.0.0")'),
        (
            Facts(repo_type='space'),
            (),
            'folder = snapshot_download("me/my-model", repo_type="space", revision="v1.0.0")',
        ),
        (
            Facts(repo_type='dataset', data=DATA),
            (),
            'dataset = load_dataset("me/my-model", revision="v1.0.0")',
        ),
        (
            Facts(repo_type='dataset', data=DATA._replace(loadable=False, first='a.npy')),
            (),
            'numpy.load(hf_hub_download("me/my-model", "a.npy", repo_type="dataset", revision="v1.0.0"))',
        ),
        (
            Facts(repo_type='dataset'),
            (),
            'folder = snapshot_download("me/my-model", repo_type="dataset", revision="v1.0.0")',
        ),
    ],
)
def test_snippet_loads_exactly_this_version(facts, files, line):
    assert line in code(usage(facts, files=files))


@pytest.mark.parametrize(
    'library', ['transformers', 'peft', 'sentence-transformers', 'setfit', 'diffusers', 'timm', None]
)
@pytest.mark.parametrize(
    'url', [None, 'https://huggingface.co/me/my-model', 'https://git.example.org/me/my-model.git']
)
@pytest.mark.parametrize('path', ['', 'fp32'])
def test_snippet_is_python_for_every_library_and_place(library, url, path):
    facts = replace(MODEL, library_name=library, base_model=('ns/base',))
    assert code(usage(facts, url=url, path_in_repo=path, files=['model_index.json', 'tokenizer.json']))


def test_repository_of_another_host_is_cloned():
    text = usage(MODEL, url='https://git.example.org/me/my-model.git')
    assert 'git clone --branch v1.0.0 https://git.example.org/me/my-model.git my-model\n' in text
    assert 'from_pretrained("./my-model")' in code(text)
    assert 'revision' not in text


def test_repository_on_the_hub_is_not_cloned():
    assert 'git clone' not in usage(MODEL, url='https://huggingface.co/me/my-model')


def test_model_below_a_path_is_downloaded_first():
    snippet = code(usage(MODEL, path_in_repo='fp32'))
    assert 'folder = snapshot_download("me/my-model", revision="v1.0.0")' in snippet
    assert 'from_pretrained(folder + "/fp32")' in snippet


def test_strange_names_are_quoted():
    text = usage(MODEL, version='v1"$(x)', url='https://host/a;b')
    assert "git clone --branch 'v1\"$(x)' 'https://host/a;b' my-model" in text
    assert 'revision="v1\\"$(x)"' in code(usage(MODEL, version='v1"$(x)'))


@pytest.mark.parametrize(
    ('url', 'shown'),
    [
        ('https://host/me/x', 'https://host/me/x'),
        ('https://user:hf_secret@host/me/x', 'https://host/me/x'),
        ('https://host/me/x?token=hf_secret#a', 'https://host/me/x'),
        ('ssh://git@host:22/me/x', 'ssh://git@host:22/me/x'),
        ('ssh://git:secret@host/me/x', 'ssh://host/me/x'),
        ('file:///home/alice/hub/x.git', None),
        ('/home/alice/hub/x.git', None),
        ('https://host/a b\nc', None),
        ('', None),
        (None, None),
    ],
)
def test_url_in_a_card_has_neither_secret_nor_local_path(url, shown):
    assert public_url(url) == shown
