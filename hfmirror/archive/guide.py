"""What does a person read who finds an archive years later, and has no hfmirror?"""

from __future__ import annotations

import shlex

from hfmirror.target import Target

README = 'README.txt'

_TEXT = """\
This folder is the archive of {what} {repo_id}: every release, with its history.
It was written by hfmirror (pip install hf-mirror), which is not needed to read it.

    objects/     large files (git-lfs), each named after the sha256 of its content
    history/     git bundles, each named after the sha256 of its content
    versions/    for each version a list of its files: path, size, and sha256 (oid) or git's id (blob)
    states/      branches, tags and bundles after each push; the one with the highest number counts

With hfmirror
    hfmirror list-versions --remote {remote} --repo {repo_id}{option}
    hfmirror pull v1.0.0 --to ./restored --remote {remote} --repo {repo_id}{option}
    hfmirror rebuild --to ./restored.git --remote {remote} --repo {repo_id}{option}

With git and sha256sum, in bash. Of a bucket, first bring this folder to a disk:
    {copy}
Then, in this folder:

{script}
Afterwards 'git clone ../restored.git model' has every branch, tag and file, when git-lfs is installed.
To put it on any git host, with its large files:
    cd model && git remote add new URL && git lfs fetch --all && git lfs push --all new && git push --mirror new

One file alone: look for its path in versions/NAME.json. One with an "oid" is objects/aa/bb/OID, where aa and bb are
the first four characters of it.

Do not change anything in here by hand. What no version needs any more can stay: it is only found by its name.
"""

SCRIPT = r"""    state=$(ls states/*.json | tail -n 1)
    git init -q --bare --initial-branch=BRANCH ../restored.git
    for bundle in $(grep -o 'history/[0-9a-f]*\.bundle' "$state"); do
        echo "$(basename "$bundle" .bundle)  $bundle" | sha256sum --quiet -c
        git -C ../restored.git fetch -q "$PWD/$bundle" '+refs/*:refs/taken/*'
    done
    grep -o '[0-9a-f]\{40\} refs/[^"]*' "$state" | while read -r oid ref; do
        git -C ../restored.git update-ref "$ref" "$oid"
    done
    git -C ../restored.git for-each-ref --format='delete %(refname)' refs/taken | git -C ../restored.git update-ref --stdin
    (cd objects && find . -type f | sed 's|.*/\(.*\)|\1  &|' | sha256sum --quiet -c)
    mkdir -p ../restored.git/lfs && cp -R objects ../restored.git/lfs/
"""

_COPY = {
    's3': 'aws s3 cp --recursive {url} ./archive && cd archive',
    'gs': 'gcloud storage cp --recursive {url} . && cd {name}',
    'file': '(this one is on a disk)',
}


def guide(target: Target) -> str:
    """Return the text that lies in a repository's folder."""
    url = target.git_url
    copy = _COPY[url.partition('://')[0]].format(url=shlex.quote(url), name=target.repo_id.rpartition('/')[2])
    return _TEXT.format(
        what={'model': 'the model', 'dataset': 'the data set', 'space': 'the Space'}[target.repo_type],
        repo_id=target.repo_id,
        remote=shlex.quote(target.remote),
        option='' if target.repo_type == 'model' else f' --repo-type {target.repo_type}',
        copy=copy,
        script=SCRIPT.replace('BRANCH', shlex.quote(target.branch)),
    )
