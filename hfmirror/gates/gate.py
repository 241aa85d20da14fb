"""May the release go on? Not with findings that nobody has let through; the message says what they are and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hfmirror import errors, output
from hfmirror.gates.findings import Finding, Gate
from hfmirror.ignore import Globs

_SHOWN = 20

_HEADS: dict[Gate, str] = {
    'secrets': 'what looks like a secret is in what would be released',
    'unsafe': 'loading these files would run code',
    'limits': 'the Hub does not take this',
}
_ADVICE: dict[Gate, str] = {
    'secrets': 'Revoke it where it was made, take it out of the file, and push again; or leave the file out with --exclude. '
    'When it is no secret, let it through with --allow-secrets, or name the file in the configuration under '
    'gates: allow_secrets.',
    'unsafe': 'Save the weights as safetensors, or leave the file out with --exclude. When you made it yourself and mean it, '
    'let it through with --allow-unsafe, or name the file in the configuration under gates: allow_unsafe.',
    'limits': 'Split what is too large, or leave it out with --exclude.',
}


class Allowed(NamedTuple):
    """The paths that may have findings, as patterns like those of --exclude; ``('**',)`` is all of them."""

    secrets: tuple[str, ...] = ()
    unsafe: tuple[str, ...] = ()


_NOTHING = Allowed()


def require_clean(findings: Sequence[Finding], allowed: Allowed = _NOTHING) -> None:
    """Raise GateError when there is a finding that is not allowed; it tells the first 20 of each gate."""
    passes = {
        'secrets': Globs(allowed.secrets, option='allow_secrets'),
        'unsafe': Globs(allowed.unsafe, option='allow_unsafe'),
    }
    stopped = [
        one
        for one in findings
        if one.gate not in passes or not passes[one.gate].match(one.path, is_dir=False)
    ]
    if len(stopped) < len(findings):
        output.say(f'{output.count(len(findings) - len(stopped), "finding")} let through as you allowed')
    if stopped:
        raise errors.GateError('\n'.join(_told(gate, stopped) for gate in _HEADS if _of(gate, stopped)))


def _told(gate: Gate, findings: Sequence[Finding]) -> str:
    own = _of(gate, findings)
    lines = [f'  {_place(one)}: {one.rule}{f" ({one.detail})" if one.detail else ""}' for one in own[:_SHOWN]]
    if len(own) > _SHOWN:
        lines.append(f'  and {output.count(len(own) - _SHOWN, "other")}')
    return '\n'.join([f'Nothing was sent: {_HEADS[gate]}.', *lines, _ADVICE[gate]])


def _of(gate: Gate, findings: Sequence[Finding]) -> list[Finding]:
    return [one for one in findings if one.gate == gate]


def _place(finding: Finding) -> str:
    return f'{finding.path}:{finding.line}' if finding.line else finding.path
