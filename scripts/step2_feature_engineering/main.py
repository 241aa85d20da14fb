"""Step 2 of the training: make the features, upload them in one release, and write down what came of it.

    cd scripts/step2_feature_engineering
    python main.py

The token comes from HF_TOKEN, from .env in the working directory, or from 'hf auth login'. Without one the features are
kept in the local Hub. What came of the upload is written to execution_summary.json. See docs/features.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import make_features

from hfmirror import errors, output
from hfmirror.features import FeatureSet, Upload, console, summary, upload_many
from hfmirror.features.summary import write_summary
from hfmirror.main import error_handler


def main() -> None:
    given = parse()
    sets = make_features.made(given)
    output.data('')
    output.data(console.headline('STEP 7: UPLOADING FEATURES TO HUGGINGFACE'))
    output.data('')
    try:
        uploads = upload_many(
            sets,
            repo=given.repo,
            remote=given.remote,
            tag=given.tag,
            private=given.private or None,
            config_file=given.config,
        )
    except errors.HfmirrorError as e:
        write_summary(failed(sets, e))
        raise
    write_summary(uploads)
    if any(upload.waits for upload in uploads):
        raise errors.NetworkError("the features are not uploaded yet: 'hfmirror resume' sends what waits.")


def failed(sets: list[FeatureSet], error: errors.HfmirrorError) -> list[Upload]:
    """Return what came of an upload that an error ended."""
    return [summary.not_uploaded(one, str(error)) for one in sets]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    make_features.options_of(parser)
    parser.add_argument('--repo', metavar='NAMESPACE/NAME', help='the dataset repository  [of config.yaml]')
    parser.add_argument('--remote', metavar='hub|local|URL', help='where it is  [the Hub]')
    parser.add_argument('--tag', help='the name of the release  [the next version]')
    parser.add_argument('--private', action='store_true', help='a repository that is created is private')
    parser.add_argument('--config', type=Path, help='the project file  [./config.yaml]')
    return parser.parse_args()


if __name__ == '__main__':
    with error_handler():
        main()
