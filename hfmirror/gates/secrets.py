"""Is there a secret in this text? Tokens by their shape, keys and passwords by what stands before them.

The rules are our own: of the two rule sets on PyPI, detect-secrets 1.5.0 knows neither Hugging Face, Anthropic nor W&B,
reads 0.5 MB a second and takes every commit id of a log for a secret, and pybetterleaks 0.6.2 is an alpha with 12 MB of Go.

Few false alarms matter more than rare formats: a rule asks for a shape that nothing else has, or for words around it,
and what looks like an example (``hf_xxxxxxxx``, ``sk-proj-your-key``) is none.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from typing import Protocol

from hfmirror.gates.examples import is_example, is_example_password, is_random
from hfmirror.gates.findings import Finding
from hfmirror.gates.settings import settings_rule

_BLOCK = 1024 * 1024  # bytes
_BEFORE = 256  # bytes kept of the block before, for what stands in front of a secret
_AFTER = 2048  # bytes that must follow before a secret is judged
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NULS = 100  # one byte of so many may be NUL in text
_MOST = 100  # findings of one file; more say nothing new

# A secret with a shape of its own. Each begins with letters of its own, so that they can be looked for at once.
_SHAPES: dict[str, tuple[bytes, ...]] = {
    # huggingface.co/docs/hub/security-tokens: hf_ and 34 letters; OAuth tokens are a JWT behind a prefix
    'huggingface-token': (rb'(?:hf|api_org)_(?:[A-Za-z0-9]{30,}|(?:oauth|jwt)_[\w-]{15,})',),
    # github.blog/2021-04-05-behind-githubs-new-authentication-token-formats; since 2026 also ghs_ and a JWT
    'github-token': (
        rb'gh[pousr]_(?:[A-Za-z0-9]{36,}|\w{0,40}eyJ[\w-]{17,})',
        rb'github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{50,}',
    ),
    # docs.gitlab.com/security/tokens: glpat- and 20 or more
    'gitlab-token': (rb'glpat-[\w-]{20,}',),
    # docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html: four letters and 16 of base 32
    'aws-access-key': (
        rb'A(?:KIA|SIA)[A-Z2-7]{16}(?![A-Za-z0-9])',
        rb'aws_secret_access_key|AWS_SECRET_ACCESS_KEY',
    ),
    # cloud.google.com/docs/authentication/api-keys; GOCSPX- is the secret of an OAuth client
    'gcp-api-key': (rb'AIza[\w-]{35}(?![\w-])', rb'GOCSPX-[\w-]{28}(?![\w-])'),
    # platform.openai.com/api-keys: the middle of old and new ones says OpenAI in base 64, T3BlbkFJ
    'openai-key': (
        rb'sk-(?:[\w-]{0,170}T3BlbkFJ[\w-]{20,}|(?:proj|svcacct|admin|None)-[\w-]{40,}|[A-Za-z0-9]{48}(?![\w-]))',
    ),
    # docs.anthropic.com/en/api: api, admin, and the oat and ort of an OAuth login
    'anthropic-key': (rb'sk-ant-[a-z]{3,8}\d\d-[\w-]{60,}',),
    # api.slack.com/authentication/token-types: bot, user, app, refresh and configuration tokens
    'slack-token': (rb'xox[abeoprs]-(?=[\w-]*\d)[\w-]{20,}', rb'xapp-\d-[A-Z0-9]{8,}-\d+-[a-f0-9]{32,}'),
    # docs.wandb.ai: the long keys of 2025; the old ones are plain hex, see _WANDB
    'wandb-key': (rb'wandb_v1_\w{60,}',),
    # pypi.org/help/#apitoken: a macaroon, whose first bytes are always the same
    'pypi-token': (rb'pypi-AgEI[\w-]{50,}',),
    # console.groq.com, replicate.com/docs/topics/security/api-tokens
    'groq-key': (rb'gsk_[A-Za-z0-9]{50,}',),
    'replicate-token': (rb'r8_[A-Za-z0-9]{36,}',),
}
# A secret of any shape, known by what stands before it.
_WANDB = re.compile(
    rb'(?is)wandb.{0,80}?(?:key|login|token|password|passwd|secret)(?:\s+--\w+)?["\'\s:=,(\]\\]{1,12}\Z'
)
_WEBHOOK = re.compile(rb'hooks\.slack\.com/(?:services|workflows)/T\w{6,}/[AB]\w{6,}/(?:\d+/)?\Z')
_VARIABLE = re.compile(
    rb'(?:\A|[\r\n]|\\n)[ \t]*(?:export[ \t]+|set[ \t]+|ENV[ \t]+)?'
    rb'[A-Z][A-Z0-9_]*(?:API_?KEY|ACCESS_KEY|SECRET_KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIALS?)=\\?["\']?\Z'
)
_AWS_SECRET = b'aws_secret_access_key'
_AWS_ANSWER = b'SecretAccessKey'  # as `aws iam create-access-key` prints it
_AWS_VALUE = re.compile(rb'["\'\]\\]{0,3}\s{0,3}[:=,]\s{0,3}\\?["\']?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])')
_HEX_KEY = re.compile(rb'[0-9a-f]{40}')
_VALUE = re.compile(rb'[\w+/=-]{20,200}(?=["\'\s\\]|\Z)')
_PRIVATE_KEY = re.compile(
    rb'-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----)[\x00-\xff]){1,300}?[A-Za-z0-9+/]{40}'
)
_SERVICE_ACCOUNT = re.compile(rb'"private_key"\s{0,5}:\s{0,5}"\Z')
_URL = re.compile(rb'://([^\s/?#:@"\'<>]{0,100}):([^\s/?#@"\'<>]{6,300})@([\w.:\[\]-]{1,100})')

# Where a secret may begin: after no letter or digit, or after an escape that ends with one.
_EDGE = re.compile(rb'(?:\A|[^A-Za-z0-9]|\\[nrt]|%[0-9A-Fa-f]{2}|\x1b\[[0-9;]{0,8}m)\Z')

_ANY = re.compile(b'|'.join(pattern for patterns in _SHAPES.values() for pattern in patterns))
_BY_NAME = {name: re.compile(b'|'.join(patterns)) for name, patterns in _SHAPES.items()}

# Every shape has this many letters, digits, _ and - in a row. With all of those made one letter, the rows are found by
# a plain search, ten times as fast as by an expression; ordinary text has few.
_ROW = 20
_IN_A_ROW = b'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-'
_FLAT = bytes(ord('a') if byte in _IN_A_ROW else ord(' ') for byte in range(256))
_LONG = b'a' * _ROW
_LONGEST = 512  # bytes of a row; what is longer is data in base 64
_BEFORE_VALUES = (b'=', b'"', b"'", b'/')
_HEX = b'0123456789abcdef-'


class Readable(Protocol):
    def read(self, size: int, /) -> bytes | None: ...


def scan(
    file: Readable, path: str, *, advance: Callable[[int], None] = lambda size: None
) -> Iterator[Finding]:
    """Yield the secrets in ``file``, one a line and rule, in no order, at most 100.

    A file whose first MiB is text, be it UTF-16 or with a few NULs in it, is read to its end, in blocks. Of any other only that MiB is looked
    at, where headers are, and small pickles: ``training_args.bin`` holds the token of the training. ``path`` says what
    kind of file it is: ``.env`` and ``.netrc`` have rules of their own. ``advance`` is told of each block's bytes.
    """
    found: set[tuple[int, str]] = set()
    by_settings = settings_rule(path)
    for number, text, start, end, is_text in _blocks(file, advance):
        hits = list(_hits(text, start, end))
        if by_settings is not None and is_text:
            hits += by_settings(text, start, end)
        counted = 0
        for at, rule in sorted(hits):
            number, counted = number + text.count(b'\n', counted, at), at
            line = number if is_text else 0
            if (line, rule) not in found:
                found.add((line, rule))
                yield Finding(path, line, rule, 'secrets')
            if len(found) == _MOST:
                return


def _blocks(file: Readable, advance: Callable[[int], None]) -> Iterator[tuple[int, bytes, int, int, bool]]:
    """Yield (line of its first byte, bytes, from where, to where a secret may begin, whether it is text)."""
    line, text, start, is_text, is_wide = 1, b'', 0, True, False
    for block, is_last in _read(file):
        if not text:
            is_wide = _is_text(block, 'utf-16') if block.startswith(_WIDE) else False
            is_text = is_wide or b'\0' not in block or _is_text(block, 'utf-8')
        # Of UTF-16 that leaves the letters that secrets are made of.
        text += block.replace(b'\0', b'') if is_wide else block
        is_last = is_last or not is_text
        end = len(text) if is_last else max(start, len(text) - _AFTER)
        yield line, text, start, end, is_text
        advance(len(block))
        if is_last:
            return
        kept = max(0, end - _BEFORE)
        line += text.count(b'\n', 0, kept)
        text, start = text[kept:], end - kept


def _is_text(block: bytes, encoding: str) -> bool:
    """Tell whether the beginning of a file is text; weights are none, and a log that was cut may have some NULs."""
    if encoding == 'utf-8' and block.count(b'\0') * _NULS > len(block):
        return False
    try:
        codecs.getincrementaldecoder(encoding)().decode(block)
    except UnicodeDecodeError:
        return False
    return True


def _read(file: Readable) -> Iterator[tuple[bytes, bool]]:
    """Yield (block, whether it is the last); an unbuffered file may return less than was asked for."""
    block = file.read(_BLOCK) or b''
    while True:
        following = file.read(_BLOCK) or b''
        yield block, not following
        if not following:
            return
        block = following


def _hits(text: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
    """Yield (place, rule) of the secrets that begin within the part."""
    yield from _in_rows(text, start, end)
    for at in _places(text, b'://', start, end):
        match = _URL.match(text, at)
        if match and not is_example_password(match[1], match[2], match[3]):
            yield at, 'url-password'
    for at in _places(text, _AWS_ANSWER, start, end):
        if _is_aws_value(text, at + len(_AWS_ANSWER)):
            yield at, 'aws-access-key'
    for at in _places(text, b'-----BEGIN ', start, end):
        if _PRIVATE_KEY.match(text, at):
            is_account = _SERVICE_ACCOUNT.search(text[max(0, at - 40) : at])
            yield at, 'gcp-service-account' if is_account else 'private-key'


def _is_aws_value(text: bytes, at: int) -> bool:
    value = _AWS_VALUE.match(text, at)
    return value is not None and not is_example(value[1])


def _places(text: bytes, words: bytes, start: int, end: int) -> Iterator[int]:
    at = text.find(words, start)
    while 0 <= at < end:
        yield at
        at = text.find(words, at + len(words))


def _in_rows(text: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
    # Nearly all of the time goes here, a microsecond a row: no calls before something was found.
    flat, search = text.translate(_FLAT), _ANY.search
    find = flat.find
    begin = find(_LONG, start)
    while 0 <= begin < end:
        stop = find(b' ', begin + _ROW)
        stop = len(flat) if stop < 0 else stop
        is_hex = not text[begin : min(stop, begin + 64)].strip(_HEX)
        limit = min(stop, begin + _LONGEST)
        if not is_hex and (match := search(text, begin, limit)):
            yield from _shapes(text, match, limit, end)
        is_value = text[begin - 1 : begin] in _BEFORE_VALUES or (is_hex and stop - begin == 40)
        if is_value and (rule := _by_what_is_before(text, begin, stop)):
            yield begin, rule
        begin = find(_LONG, stop)


def _shapes(text: bytes, match: re.Match[bytes] | None, stop: int, end: int) -> Iterator[tuple[int, str]]:
    while match and match.start() < end:
        at = match.start()
        if _EDGE.search(text, max(0, at - 12), at) and (name := _name(text, match)):
            yield at, name
            at = match.end() - 1
        match = _ANY.search(text, at + 1, stop)


def _name(text: bytes, match: re.Match[bytes]) -> str | None:
    """Return the rule of what has a shape, None when it is only an example."""
    if match[0].lower() == _AWS_SECRET:
        return 'aws-access-key' if _is_aws_value(text, match.end()) else None
    if is_example(match[0]):
        return None
    return next(name for name, pattern in _BY_NAME.items() if pattern.match(text, match.start()))


def _by_what_is_before(text: bytes, begin: int, stop: int) -> str | None:
    """Return the rule by which the row is a secret for the words that stand before it."""
    before = text[max(0, begin - _BEFORE // 2) : begin]
    if stop - begin == 40 and b'wandb' in before.lower() and _HEX_KEY.match(text, begin):
        return 'wandb-key' if _WANDB.search(before) else None
    last = before[-1:]
    if last == b'/' and stop - begin == 24:
        return 'slack-token' if _WEBHOOK.search(before) else None
    if last == b'=' or (last in (b'"', b"'") and before[-2:-1] in (b'=', b'\\')):
        value = _VALUE.match(text, begin)
        if value and is_random(value[0]) and _VARIABLE.search(before):
            return 'dotenv'
    return None
