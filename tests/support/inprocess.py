"""The real command in this process: for what does not depend on how it is started, and is asked many times."""

from __future__ import annotations

import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest

from hfmirror.main import cli, error_handler
from tests.support.mirror import Done


def run_here(*args, code=None):
    """Run ``hfmirror ARGS``; with ``code``, assert how it ends."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended, error_handler():
        cli.main(list(map(str, args)), prog_name='hfmirror', standalone_mode=False)
        sys.exit(0)
    done = Done(ended.value.code, out.getvalue(), err.getvalue())
    assert code in (None, done.code), f'{args}: exit {done.code}\n{done.out}\n{done.err}'
    return done
