"""What a person is told of each wrong configuration: the whole line, with file, line, key, and what to write instead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hfmirror.config.loading import inspect, load_config
from hfmirror.config.places import home, user_file
from hfmirror.errors import ConfigError

_SECRET = (
    "Remove it here, and log in with 'hf auth login' or put HF_TOKEN=… into .env, which stays on this machine. "
    'Revoke it when others have seen this file.'
)
_ALL = (
    'enabled, config_file, auto_sync, upload_items, remotes, repository, versioning, experiment_tracking, user, '
    'settings, sync, model_card, backup, notifications, gates, hooks, layout'
)
_MOMENTS = 'Use {timestamp}, {year}, {month}, {day}, {hour}, {minute}, {second}, each with a width such as {month:02d}.'
_NUMBERS = 'Use a prefix and then {major}.{minor}.{patch}, such as v{major}.{minor}.{patch}.'
_COLON = "a ':' where no key can be. Put a text that holds ': ' into quotes, and check how far the line is indented."
_UNFIT = 'this does not fit what is before it. Check how far it is indented, and that quotes are around the whole text.'
_UNCLOSED = "a list or mapping in brackets is not closed, or a comma is missing. Put a ',' or '}' here."

# (what stands below "huggingface:", what is said of it after "config.yaml:")
VALUES = [
    (
        'repository:\n    privat: true',
        "3: huggingface.repository.privat: unknown key. Did you mean 'private'?",
    ),
    ('private: true', "2: huggingface.private: unknown key. Did you mean 'repository.private'?"),
    ('model_card: {licence: mit}', "2: huggingface.model_card.licence: unknown key. Did you mean 'license'?"),
    ('versionning: {}', "2: huggingface.versionning: unknown key. Did you mean 'versioning'?"),
    ('xyzzy: 1', '2: huggingface.xyzzy: unknown key. Known here: ' + _ALL + '.'),
    (
        'repository: {model: x, name: y}',
        [
            "2: huggingface.repository.model: unknown key. Did you mean 'model_name'?",
            "2: huggingface.repository.name: unknown key. Did you mean 'model_name'?",
        ],
    ),
    (
        'settings: {upload: {retries: 3}}',
        "2: huggingface.settings.upload.retries: unknown key. Did you mean 'max_retries'?",
    ),
    (
        'repository: {private: yes}',
        "2: huggingface.repository.private: 'yes' is here; expected true or false. Write true.",
    ),
    (
        'repository: {private: "true"}',
        "2: huggingface.repository.private: 'true' is here; expected true or false, without quotes. Write true.",
    ),
    (
        'repository: {private: 1}',
        '2: huggingface.repository.private: the number 1 is here; expected true or false.',
    ),
    ('auto_sync: [true]', '2: huggingface.auto_sync: a list is here; expected true or false.'),
    (
        'versioning: {auto_increment: sideways}',
        "2: huggingface.versioning.auto_increment: 'sideways' is here; expected major, minor or patch.",
    ),
    (
        'versioning: {auto_increment: Minor}',
        "2: huggingface.versioning.auto_increment: 'Minor' is here; expected major, minor or patch. Did you mean 'minor'?",
    ),
    (
        'versioning: {tag_prefix: 5}',
        "2: huggingface.versioning.tag_prefix: the number 5 is here; expected text. Put it into quotes: '5'.",
    ),
    ('versioning: [a]', '2: huggingface.versioning: a list is here; expected keys and values.'),
    (
        'versioning: {tag_prefix: true}',
        "2: huggingface.versioning.tag_prefix: true is here; expected text. Put it into quotes: 'true'.",
    ),
    (
        'settings: {upload: {max_retries: -1}}',
        '2: huggingface.settings.upload.max_retries: the number -1 is here; expected a whole number from 0 to 100, such as 3.',
    ),
    (
        'settings: {upload: {max_retries: 1.5}}',
        '2: huggingface.settings.upload.max_retries: the number 1.5 is here; expected a whole number from 0 to 100, such as 3.',
    ),
    (
        'settings: {upload: {max_retries: three}}',
        "2: huggingface.settings.upload.max_retries: 'three' is here; expected a whole number from 0 to 100, such as 3.",
    ),
    (
        'settings: {upload: {max_retries: "3"}}',
        "2: huggingface.settings.upload.max_retries: '3' is here; expected a whole number from 0 to 100, without quotes. Write 3.",
    ),
    (
        'settings: {upload: {retry_delay: .nan}}',
        '2: huggingface.settings.upload.retry_delay: no finite number is here; expected a number from 0 to 3600, such as 2.0.',
    ),
    (
        'settings: {upload: {retry_delay: soon}}',
        "2: huggingface.settings.upload.retry_delay: 'soon' is here; expected a number from 0 to 3600, such as 2.0.",
    ),
    (
        'settings: {upload: {chunk_size: 10MB}}',
        "2: huggingface.settings.upload.chunk_size: '10MB' is here; expected a whole number from 4096 to 1073741824, such as 1048576.",
    ),
    (
        'settings: {upload: {chunk_size: 99999999999}}',
        '2: huggingface.settings.upload.chunk_size: the number 99999999999 is here; expected a whole number from 4096 to 1073741824, such as 1048576.',
    ),
    (
        'backup: {keep_backups: 0}',
        '2: huggingface.backup.keep_backups: the number 0 is here; expected a whole number from 1 to 10000, such as 5.',
    ),
    (
        'notifications: {timeout: 0}',
        '2: huggingface.notifications.timeout: the number 0 is here; expected a number above 0, at most 300, such as 10.0.',
    ),
    (
        'settings: {default_branch: [main]}',
        '2: huggingface.settings.default_branch: a list is here; expected text, such as main.',
    ),
    (
        'settings: {default_branch: "my branch"}',
        "2: huggingface.settings.default_branch: 'my branch' is no name of a branch in git. Use letters, digits, ., _, / and -, such as 'main'.",
    ),
    (
        'settings: {default_branch: -x}',
        "2: huggingface.settings.default_branch: '-x' is no name of a branch in git. Use letters, digits, ., _, / and -, such as 'main'.",
    ),
    (
        'remotes: local',
        "2: huggingface.remotes: 'local' is here; expected a list of words, such as [local, hub].",
    ),
    (
        'remotes: [1]',
        "2: huggingface.remotes[0]: the number 1 is here; expected text. Put it into quotes: '1'.",
    ),
    (
        'remotes: [hubb]',
        "2: huggingface.remotes[0]: hubb: neither 'hub' nor 'local' nor a git URL. Write ./hubb for a path. Did you mean 'hub'?",
    ),
    (
        'remotes: ["https://me:secretpass@h.org/x"]',
        "2: huggingface.remotes[0]: https://h.org/x: the URL holds a password or token, which would end up in files and process lists. Give the URL without it and let a git credential helper answer ('git credential approve').",
    ),
    (
        'remotes: ["ext::sh -c x"]',
        "2: huggingface.remotes[0]: ext:…: hfmirror pushes to 'hub', 'local', or a git URL that begins with https://, http://, ssh:// or file://.",
    ),
    ('remotes: [""]', '2: huggingface.remotes[0]: is empty. Give it a value, or remove the line.'),
    ('remotes: [[hub]]', '2: huggingface.remotes[0]: a list is here; expected text.'),
    (
        'upload_items: [model, modle]',
        "2: huggingface.upload_items[1]: 'modle' is here; expected model, config or results. Did you mean 'model'?",
    ),
    (
        'upload_items: model',
        "2: huggingface.upload_items: 'model' is here; expected a list of model, config or results, such as [model, config].",
    ),
    (
        'repository: {model_name: a/b/c}',
        '2: huggingface.repository.model_name: a/b/c: two slashes; expected namespace/name. Try a/b-c.',
    ),
    (
        'repository: {model_name: "my model"}',
        '2: huggingface.repository.model_name: my model: blanks are not allowed. Try my-model.',
    ),
    (
        'repository: {model_name: 12}',
        "2: huggingface.repository.model_name: the number 12 is here; expected text. Put it into quotes: '12'.",
    ),
    (
        'repository: {model_name: "https://huggingface.co/me/x"}',
        '2: huggingface.repository.model_name: https://huggingface.co/me/x: an address; expected namespace/name. Try me/x.',
    ),
    (
        'repository: {model_name: ""}',
        '2: huggingface.repository.model_name: is empty. Give it a value, or remove the line.',
    ),
    (
        'repository: {model_repo_template: "{user}/{model_name}"}',
        '2: huggingface.repository.model_repo_template: {user} is no field here. Did you mean {username}?',
    ),
    (
        'repository: {config_repo_template: "{model_name}"}',
        "2: huggingface.repository.config_repo_template: '{model_name}' makes 'model', which is no namespace/name. Use one such as '{username}/{model_name}'.",
    ),
    (
        'repository: {config_repo_template: "{username/x"}',
        "2: huggingface.repository.config_repo_template: '{username/x' has a brace without its other one. The fields are {username} or {model_name}.",
    ),
    (
        'settings: {commit_message_template: "Upload {item}"}',
        '2: huggingface.settings.commit_message_template: {item} is no field here. Did you mean {item_type}?',
    ),
    (
        'versioning: {tag_format: "v{stamp}"}',
        '2: huggingface.versioning.tag_format: v{stamp}: {stamp} is not known in a format for a version. '
        + _MOMENTS,
    ),
    (
        'versioning: {tag_format: "v{major}.{minor}"}',
        '2: huggingface.versioning.tag_format: v{major}.{minor}: not a format for semantic versions. '
        + _NUMBERS,
    ),
    (
        'versioning: {formats: {timestamp: "v 1{year}"}}',
        '2: huggingface.versioning.formats.timestamp: v 1{year}: makes the tag v 12024, which has a blank.',
    ),
    (
        'versioning: {formats: {semantic: "v{year}"}}',
        '2: huggingface.versioning.formats.semantic: v{year}: not a format for semantic versions. '
        + _NUMBERS,
    ),
    (
        'versioning: {tag_format: latest}',
        '2: huggingface.versioning.tag_format: latest: makes the tag latest, which stands for the newest version.',
    ),
    (
        'versioning: {tag_format: v1}',
        "2: huggingface.versioning.tag_format: 'v1' is the same for every release. Use a format such as 'v{timestamp}'.",
    ),
    (
        'versioning: {tag_prefix: "v ", formats: {}}',
        "2: huggingface.versioning.tag_prefix: 'v ' cannot be the beginning of a tag in git. Use one such as 'v' or 'release-'.",
    ),
    (
        'versioning: {tag_format: "v{timestamp}", formats: {timestamp: "rel-{timestamp}"}}',
        "2: huggingface.versioning.formats.timestamp: 'rel-{timestamp}' disagrees with versioning.tag_format: "
        'that makes v20240102-030405, this rel-20240102-030405. Keep one.',
    ),
    (
        'versioning: {tag_format: "v{major}.{minor}.{patch}", formats: {semantic: "rel-{major}.{minor}.{patch}"}}',
        "2: huggingface.versioning.formats.semantic: 'rel-{major}.{minor}.{patch}' disagrees with versioning.tag_format: "
        'that makes v1.2.3, this rel-1.2.3. Keep one.',
    ),
    (
        'upload_items: []',
        '2: huggingface.upload_items: nothing would be uploaded. Name model, config or results.',
    ),
    *(
        (
            f'{section}: {{{key}: ~nosuchuser/x}}',
            f"2: huggingface.{section}.{key}: '~nosuchuser/x' begins with a home that this machine does not know. "
            'Write the whole path.',
        )
        for section, key in [('backup', 'local_backup_dir'), ('hooks', 'folder')]
    ),
    (
        'config_file: ~nosuchuser/x.yaml',
        "2: huggingface.config_file: '~nosuchuser/x.yaml' begins with a home that this machine does not know. "
        'Write the whole path.',
    ),
    (
        'model_card: {sections: {"\\ud800": x}}',
        '2: huggingface.model_card.sections: a character that no text has. Remove it.',
    ),
    ('repository: {"\\ud800": x}', '2: huggingface.repository: a character that no text has. Remove it.'),
    (
        'model_card: {tags: ["\\udc00"]}',
        '2: huggingface.model_card.tags[0]: a character that no text has. Remove it.',
    ),
    (
        'versioning: {tag_prefix: rel-, formats: {semantic: "v{major}.{minor}.{patch}"}}',
        "2: huggingface.versioning.tag_prefix: 'rel-' disagrees with versioning.formats.semantic, which begins with 'v'. Keep one.",
    ),
    (
        'experiment_tracking: {metadata_file: a/b.json}',
        "2: huggingface.experiment_tracking.metadata_file: 'a/b.json' is no name for this file. Use a plain one, such as 'experiment_metadata.json'.",
    ),
    (
        'experiment_tracking: {metadata_file: README.md}',
        "2: huggingface.experiment_tracking.metadata_file: 'README.md' is no name for this file. Use a plain one, such as 'experiment_metadata.json'.",
    ),
    (
        'user: {username: a/b}',
        "2: huggingface.user.username: 'a/b' is no name on the Hub. Use the one in the address of your page, such as 'ada'.",
    ),
    (
        'user: {email: me}',
        "2: huggingface.user.email: 'me' is no e-mail address. Use one such as 'ada@example.org'.",
    ),
    (
        'model_card: {language: Chinese}',
        "2: huggingface.model_card.language[0]: 'Chinese' is no ISO 639 code of two or three small letters, such as en or zh.",
    ),
    (
        'model_card: {language: zh-CN}',
        "2: huggingface.model_card.language[0]: 'zh-CN' is no ISO 639 code of two or three small letters, such as en or zh. Did you mean 'zh'?",
    ),
    (
        'model_card: {license: Apache 2.0}',
        "2: huggingface.model_card.license: 'Apache 2.0' is not how the Hub writes it. Write 'apache-2.0'.",
    ),
    (
        'model_card: {license: MIT}',
        "2: huggingface.model_card.license: 'MIT' is not how the Hub writes it. Write 'mit'.",
    ),
    (
        'model_card: {authors: Ada}',
        "2: huggingface.model_card.authors: 'Ada' is here; expected a list of keys and values, such as [{name: Ada}].",
    ),
    (
        'model_card: {authors: [{email: a@b.c}]}',
        '2: huggingface.model_card.authors[0].name: missing; expected text.',
    ),
    (
        'model_card: {authors: [Ada]}',
        "2: huggingface.model_card.authors[0]: 'Ada' is here; expected keys and values.",
    ),
    (
        'model_card: {authors: [{name: A, mail: x}]}',
        "2: huggingface.model_card.authors[0].mail: unknown key. Did you mean 'email'?",
    ),
    (
        'model_card: {sections: {limitations: 3}}',
        "2: huggingface.model_card.sections.limitations: the number 3 is here; expected text. Put it into quotes: '3'.",
    ),
    (
        'model_card: {tags: {a: b}}',
        '2: huggingface.model_card.tags: keys and values are here; expected a word or a list of words.',
    ),
    (
        'notifications: {webhook_url: example.org/x}',
        "2: huggingface.notifications.webhook_url: is no http(s) address. Use one such as 'https://hooks.example.org/training'.",
    ),
    (
        'notifications: {webhook_url: "https://me:pw@example.org/x"}',
        '2: huggingface.notifications.webhook_url: has a user or password in it. Use an address without, such as one with a key that the service made.',
    ),
    (
        'notifications: {email_notifications: true}',
        [
            '2: huggingface.notifications.email_notifications: user.email is missing. Set it, or email_notifications: false.',
            '2: huggingface.notifications.email_notifications: notifications.email_url is missing. Set it, or email_notifications: false.',
        ],
    ),
    (
        'notifications: {enabled: true}',
        '2: huggingface.notifications.enabled: nobody would be told. Set webhook_url or email_notifications, or enabled: false.',
    ),
    (
        'notifications: {email_url: x}',
        "2: huggingface.notifications.email_url: is no address of a mail server. Use one such as 'mailtos://ada:${MAIL_PASSWORD}@smtp.example.org'.",
    ),
    (
        'gates: {allow_secrets: ["/"]}',
        '2: huggingface.gates.allow_secrets[0]: \'/\': names nothing. Use a name, a path or a pattern such as "*.ckpt".',
    ),
    (
        'layout: {path_in_repo: ../x}',
        "2: huggingface.layout.path_in_repo: '../x' is no folder inside the repository. Use one such as 'v2/checkpoints'.",
    ),
    (
        'hooks: {on: [pull], folder: x}',
        "2: huggingface.hooks.on[0]: 'pull' is here; expected commit, tag or push.",
    ),
    (
        'hooks: {folder: out}\n  backup: {local_backup_dir: out/b}',
        '3: huggingface.backup.local_backup_dir: is inside hooks.folder, so it would be released too. Use another one.',
    ),
    (
        'backup: {local_backup_dir: /}',
        '2: huggingface.backup.local_backup_dir: is the root of the disk. Use a folder of its own, such as ./backups.',
    ),
    (
        'token: hf_' + 'abcdefghijABCDEFGHIJ1234567890abcd',
        '2: huggingface.token: a secret does not belong here. ' + _SECRET,
    ),
    ('hf_token: ${HF_TOKEN}', '2: huggingface.hf_token: a secret does not belong here. ' + _SECRET),
    (
        'user: {username: "${HF_TOKEN}"}',
        '2: huggingface.user.username: HF_TOKEN is a token, which no setting needs: it is found in the environment and in .env by itself. Remove it here.',
    ),
    (
        'repository:\n    api_key: x',
        '3: huggingface.repository.api_key: a secret does not belong here. ' + _SECRET,
    ),
    (
        'notifications: {email_url: "mailtos://ada:kd83hsk2@smtp.org"}',
        '2: huggingface.notifications.email_url: holds a secret, which does not belong here. Put it into .env under a name such as NOTIFY_URL, and write ${NOTIFY_URL} here.',
    ),
    (
        'notifications: {webhook_url: "https://hooks.slack.com/services/T0ABCDEF1/B0ABCDEF1/aB3dE5gH7jK9mN1pQ3sT5vW7"}',
        '2: huggingface.notifications.webhook_url: holds a secret, which does not belong here. Put it into .env under a name such as NOTIFY_URL, and write ${NOTIFY_URL} here.',
    ),
    (
        'user: {username: "${NOPE}"}',
        '2: huggingface.user.username: the variable NOPE is not set. Set it, put it into .env, or write ${NOPE:-default}.',
    ),
    (
        'user: {username: "${1x}"}',
        "2: huggingface.user.username: '${' begins no name of a variable. Write ${NAME} or ${NAME:-default}, and $${ for '${' itself.",
    ),
    (
        'user: {username: "${NOPE"}',
        "2: huggingface.user.username: '${' begins no name of a variable. Write ${NAME} or ${NAME:-default}, and $${ for '${' itself.",
    ),
    (
        'config_file: nowhere.yaml',
        '2: huggingface.config_file: nowhere.yaml: there is no such file. Write it, or remove the line.',
    ),
    (
        'config_file: 5',
        "2: huggingface.config_file: the number 5 is here; expected text. Put it into quotes: '5'.",
    ),
    (
        'auto_sync: true\n  auto_sync: false',
        '3: huggingface.auto_sync: given twice, first in line 2. Keep one of them.',
    ),
    ('? [a]\n  : b', '2: huggingface: a list or mapping is the key here. Write the key as a word.'),
    (
        'user: !mine {a: 1}',
        '2: huggingface.user: the tag !mine means nothing here. Write the value itself, or ${NAME} for a variable.',
    ),
    ('user:\n    - username: x', '2: huggingface.user: a list is here; expected keys and values.'),
    (
        'user: {username: hf_' + 'qZmXw7Rt2KpLs9VbNc4JhYg8DfTe3UoAiW}',
        '2: huggingface.user.username: holds a secret, which does not belong here. ' + _SECRET,
    ),
    (
        'remotes: [http://h.org/x, ""]',
        '2: huggingface.remotes[1]: is empty. Give it a value, or remove the line.',
    ),
    (
        'repository:\n    private: on\n    auto_create: "false"\n  versioning:\n    auto_increment: sideways\n  xyzzy: 1',
        [
            "3: huggingface.repository.private: 'on' is here; expected true or false. Write true.",
            "4: huggingface.repository.auto_create: 'false' is here; expected true or false, without quotes. Write false.",
            "6: huggingface.versioning.auto_increment: 'sideways' is here; expected major, minor or patch.",
            '7: huggingface.xyzzy: unknown key. Known here: ' + _ALL + '.',
        ],
    ),
    (
        'versioning: {tag_prefix: !env PREFIX}',
        '2: huggingface.versioning.tag_prefix: the tag !env means nothing here. Write the value itself, or ${NAME} for a variable.',
    ),
    (
        'versioning: {tag_format: "v{year"}',
        "2: huggingface.versioning.tag_format: v{year: not a format for a version: expected '}' before end of string.",
    ),
    (
        'backup: {local_backup_dir: ""}',
        '2: huggingface.backup.local_backup_dir: is empty. Give it a value, or remove the line.',
    ),
    (
        'model_card: {authors: [{name: Ada, email: ada}]}',
        "2: huggingface.model_card.authors[0]: 'ada' is no e-mail address. Use one such as 'ada@example.org'.",
    ),
    ('sync: 5', '2: huggingface.sync: the number 5 is here; expected keys and values.'),
    (
        'notifications: {timeout: .inf}',
        '2: huggingface.notifications.timeout: no finite number is here; expected a number above 0, at most 300, such as 10.0.',
    ),
    ('enabled: nope', "2: huggingface.enabled: 'nope' is here; expected true or false."),
]

# (the whole file, what is said of it)
FILES = [
    (
        'huggingface: 5',
        "1: huggingface: the number 5 is here; expected keys and values, such as 'remotes: [local]'.",
    ),
    (
        'huggingface: [a]',
        "1: huggingface: a list is here; expected keys and values, such as 'remotes: [local]'.",
    ),
    (
        'hugginface: {auto_sync: true}',
        "1: hugginface: nothing reads this section. Did you mean 'huggingface:'?",
    ),
    (
        'a: [',
        '1: not valid YAML: column 5: the file ends here, in the middle of a value. Close its brackets.',
    ),
    ('a: 1\n a: 2', '2: not valid YAML: column 3: ' + _COLON),
    (
        '\t- x',
        '1: not valid YAML: column 1: a tab. YAML is indented with blanks; put two of them in its place.',
    ),
    (b'\xff\xfe\x00', '1: not UTF-8. Save the file with that encoding.'),
    (b'a: 1\nb: \xe9\n', '2: not UTF-8. Save the file with that encoding.'),
    (
        'a: *nowhere',
        "1: not valid YAML: column 4: a '*name' without a '&name' before it. Put a text that begins with '*' into quotes.",
    ),
    ('a: "x', '1: not valid YAML: column 4: the quotes that are opened here are never closed.'),
    ('a: b: c', '1: not valid YAML: column 5: ' + _COLON),
    ('a\nb: 1', '2: not valid YAML: column 2: ' + _COLON),
    ('a: @x', '1: not valid YAML: column 4: a text cannot begin with this character. Put it into quotes.'),
    (
        'a: "\\d"',
        '1: not valid YAML: column 6: a backslash in double quotes. Use single quotes, or write \\\\.',
    ),
    (
        'a: 1\n---\nb: 2',
        "2: not valid YAML: column 1: a second document. '---' can stand only once, at the beginning.",
    ),
    ('a: {b: 1', '1: not valid YAML: column 9: ' + _UNCLOSED),
    ('a: {b: 1 c: 2}', '1: not valid YAML: column 11: ' + _UNCLOSED),
    ('x: \x00', '1: a character that no text has. Remove it.'),
    ('- a\nb: 1', '2: not valid YAML: column 1: ' + _UNFIT),
    ('a: 1\n  b: 2', '2: not valid YAML: column 4: ' + _COLON),
    ('a: |\n x\n y: 1\nz', "4: not valid YAML: column 2: a line without ':'. Write it as 'key: value'."),
    ('a: %x', '1: not valid YAML: column 4: a text cannot begin with this character. Put it into quotes.'),
    ("a: 'x' y", '1: not valid YAML: column 8: ' + _UNFIT),
    (
        'huggingface:\n  remotes: *all',
        "2: not valid YAML: column 12: a '*name' without a '&name' before it. Put a text that begins with '*' into quotes.",
    ),
    (
        'huggingface: &a\n  x: *a',
        '2: nested too deeply, or with too many values, to be a configuration. Write out what its aliases stand for.',
    ),
]

# (variable, value, what is said of it)
VARIABLES = [
    (
        'HFMIRROR_SETTINGS__UPLOAD__MAX_RETRIES',
        'many',
        "'many' is here; expected a whole number from 0 to 100, such as 3.",
    ),
    (
        'HFMIRROR_BACKUP__LOCAL_BACKUP_DIR',
        '~nosuchuser',
        "'~nosuchuser' begins with a home that this machine does not know. Write the whole path.",
    ),
    ('HFMIRROR_AUTO_SYNC', 'maybe', "'maybe' is here; expected true or false."),
    (
        'HFMIRROR_VERSIONING__AUTO_INCREMENT',
        'Patch',
        "'Patch' is here; expected major, minor or patch. Did you mean 'patch'?",
    ),
    (
        'HFMIRROR_VERSIONING_AUTO_INCREMENT',
        'patch',
        'sets no key. Did you mean HFMIRROR_VERSIONING__AUTO_INCREMENT?',
    ),
    ('HFMIRROR_REPOSITORY__PRIVAT', 'true', 'sets no key. Did you mean HFMIRROR_REPOSITORY__PRIVATE?'),
    ('HFMIRROR_AUTOSYNC', 'false', 'sets no key. Did you mean HFMIRROR_AUTO_SYNC?'),
    ('HFMIRROR_X__Y', '1', "sets no key. 'hfmirror config' lists the keys."),
    (
        'HF_USERNAME',
        'a/b',
        "'a/b' is no name on the Hub. Use the one in the address of your page, such as 'ada'.",
    ),
    ('HFMIRROR_REMOTES', '[hub', "'[hub' is here; expected a list of words, such as [local, hub]."),
]


def said(content):
    """Return what is said of a project file, the lines after the name of the file."""
    Path('config.yaml').write_bytes(content if isinstance(content, bytes) else content.encode())
    return [str(problem).removeprefix('config.yaml:') for problem in inspect().problems]


def as_list(expected):
    return [expected] if isinstance(expected, str) else expected


@pytest.mark.parametrize(('below', 'expected'), VALUES)
def test_a_wrong_value_is_named_with_its_line_and_mended(below, expected):
    assert said(f'huggingface:\n  {below}\n') == as_list(expected)


@pytest.mark.parametrize(('content', 'expected'), FILES)
def test_a_wrong_file_is_named_with_its_line_and_mended(content, expected):
    assert said(content) == as_list(expected)


@pytest.mark.parametrize(('name', 'value', 'expected'), VARIABLES)
def test_a_wrong_variable_is_named_and_mended(monkeypatch, name, value, expected):
    monkeypatch.setenv(name, value)
    (problem,) = inspect().problems
    assert str(problem).replace('remotes[0]: ', '') == f'{name}: {expected}'


def test_a_wrong_variable_of_dot_env_is_named_with_the_file():
    Path('.env').write_text('HFMIRROR_AUTO_SYNC=maybe\n')
    (problem,) = inspect().problems
    assert str(problem) == "HFMIRROR_AUTO_SYNC in .env: 'maybe' is here; expected true or false."


def test_a_variable_of_somebody_else_is_none_of_ours(monkeypatch):
    monkeypatch.setenv('HFMIRROR_SERVICE_HOST', '10.0.0.1')
    monkeypatch.setenv('HFMIRROR_PORT_80_TCP', 'tcp://10.0.0.1:80')
    assert inspect().problems == []


def test_a_dot_env_that_is_no_text_is_named_and_the_rest_is_looked_at():
    Path('.env').write_bytes(b'A=\xff\n')
    Path('config.yaml').write_text('huggingface: {auto_sync: 5}')
    assert [str(problem) for problem in inspect().problems] == [
        '.env: not UTF-8 text. Mend the file or remove it.',
        'config.yaml:1: huggingface.auto_sync: the number 5 is here; expected true or false.',
    ]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (b'x' * 1_100_000, 'larger than 1,048,576 bytes, so it is no configuration. Name another file.'),
        (b'[' * 5000, 'nested too deeply to be a configuration.'),
    ],
)
def test_a_file_that_nobody_wrote_by_hand_is_refused(content, expected):
    assert said(content) == [f' {expected}']


def test_aliases_that_stand_for_millions_of_values_are_refused():
    lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]']
    lines += [f'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 10)}]' for n in range(1, 9)]
    (problem,) = said('\n'.join([*lines, 'huggingface:', '  remotes: *a8']))
    assert 'with too many values' in problem


def test_the_second_file_is_named_with_its_own_lines_and_keys():
    Path('conf').mkdir()
    Path('conf/hf.yaml').write_text('user:\n  name: ada\nversioning:\n  auto_increment: 5\nconfig_file: x\n')
    Path('config.yaml').write_text('huggingface:\n  config_file: conf/hf.yaml\n  auto_sync: 5\n')
    assert [str(problem) for problem in inspect().problems] == [
        "conf/hf.yaml:2: user.name: unknown key. Did you mean 'username'?",
        'conf/hf.yaml:4: versioning.auto_increment: the number 5 is here; expected major, minor or patch.',
        'conf/hf.yaml:5: config_file: only the project file names another one. Remove the line.',
        'config.yaml:3: huggingface.auto_sync: the number 5 is here; expected true or false.',
    ]


def test_the_persons_file_is_named_with_its_path():
    user_file().parent.mkdir(parents=True)
    user_file().write_text('auto_sinc: true\n')
    (problem,) = inspect().problems
    assert str(problem) == f"{user_file()}:1: auto_sinc: unknown key. Did you mean 'auto_sync'?"


def test_a_value_that_is_overlaid_is_looked_at_too():
    Path('hf.yaml').write_text('versioning: {auto_increment: sideways}\n')
    Path('config.yaml').write_text(
        'huggingface: {config_file: hf.yaml, versioning: {auto_increment: patch}}\n'
    )
    (problem,) = inspect().problems
    assert problem.origin.source == 'hf.yaml'


def test_what_two_keys_disagree_on_is_found_beside_a_wrong_type():
    assert [
        one.partition(': ')[2].partition(':')[0]
        for one in said('huggingface:\n  auto_sync: 5\n  notifications: {enabled: true}\n')
    ] == ['huggingface.auto_sync', 'huggingface.notifications.enabled']


def test_all_problems_come_in_one_error_with_their_number():
    Path('config.yaml').write_text('huggingface: {remotes: 5, auto_sync: 5}\n')
    with pytest.raises(ConfigError) as wrong:
        load_config()
    assert str(wrong.value).splitlines()[0] == '2 problems in the configuration:'
    assert len(str(wrong.value).splitlines()) == 3 and wrong.value.exit_code == 2


@pytest.mark.parametrize(
    'below',
    [
        'token: SECRET',
        'user: {username: SECRET}',
        'user: {email: [SECRET]}',
        'remotes: ["https://SECRET@h.org/x"]',
        'versioning: {auto_increment: SECRET}',
        'SECRET: 5',
        'model_card: {sections: {SECRET: x}}',
        'settings: {upload: {max_retries: SECRET}}',
        'model_card: {sections: {usage: "export HF_TOKEN=SECRET"}}',
        'model_card: {authors: [{name: SECRET}]}',
        'user: {username: "${OF_THE_ENVIRONMENT}"}',
        'auto_sync: "${OF_THE_ENVIRONMENT}"',
        'notifications: {webhook_url: "https://example.org/${OF_THE_ENVIRONMENT}"}',
        'notifications: {webhook_url: "https://example.org/x${OF_THE_ENVIRONMENT}"}',
        'notifications: {email_url: "mailtos://me:${OF_THE_ENVIRONMENT}@example.org"}',
        'user: "SECRET',
    ],
)
def test_a_token_is_refused_and_never_shown(monkeypatch, below):
    secret = 'hf_' + 'qZmXw7Rt2KpLs9VbNc4JhYg8DfTe3UoAiW'
    monkeypatch.setenv('OF_THE_ENVIRONMENT', secret)
    found = said(f'huggingface:\n  {below.replace("SECRET", secret)}\n')
    assert found and secret[3:] not in ''.join(found)


@pytest.mark.parametrize('name', ['HF_TOKEN', 'HUGGINGFACE_TOKEN', 'HUGGING_FACE_HUB_TOKEN'])
def test_no_value_can_be_made_of_the_token(monkeypatch, name):
    monkeypatch.setenv(name, 'anything')
    (problem,) = said(f'huggingface: {{user: {{username: "x${{{name}}}"}}}}')
    assert f'{name} is a token, which no setting needs' in problem


@pytest.mark.parametrize(
    'name', ['HUGGINGFACEHUB_API_TOKEN', 'HF_API_TOKEN', 'HUGGINGFACE_API_KEY', 'HUGGING_FACE_TOKEN']
)
def test_no_address_can_be_made_of_a_token_of_other_programs(monkeypatch, name):
    monkeypatch.setenv(name, 'anything')
    (problem,) = said(f'huggingface: {{notifications: {{webhook_url: "https://example.org/${{{name}}}"}}}}')
    assert f'{name} is a token of the Hub, which no setting needs. Remove it here.' in problem


@pytest.mark.parametrize('heading', ['Tokens', 'Secret', 'Credentials', 'API key'])
def test_a_section_of_the_card_may_be_about_secrets(heading):
    assert said(f'huggingface: {{model_card: {{sections: {{{heading}: How to get one.}}}}}}') == []


def test_a_home_of_hfmirror_that_nobody_has_is_named(monkeypatch):
    monkeypatch.setenv('HFMIRROR_HOME', '~nosuchuser/hm')
    with pytest.raises(ConfigError, match="HFMIRROR_HOME: '~nosuchuser/hm' begins with a home that"):
        home()


def test_a_folder_as_the_project_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'a folder; expected a YAML file\.'):
        load_config(tmp_path)


def test_a_project_file_that_was_named_and_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'no such file\. Name one that is there'):
        load_config(tmp_path / 'nowhere.yaml')


@pytest.mark.skipif(os.name == 'nt', reason='pipes are of POSIX')
def test_a_pipe_as_the_project_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'pipe.yaml')
    with pytest.raises(ConfigError, match='no regular file; expected a YAML file'):
        load_config(tmp_path / 'pipe.yaml')


@pytest.mark.skipif(os.name == 'nt' or os.geteuid() == 0, reason='root may read everything')
def test_a_file_that_may_not_be_read_is_named():
    Path('config.yaml').touch(0o000)
    (problem,) = inspect().problems
    assert str(problem) == 'config.yaml: cannot be read: Permission denied. Mend that, or name another file.'


def test_a_file_in_place_of_the_backups_is_named():
    Path('backups.txt').touch()
    (found,) = said('huggingface: {backup: {local_backup_dir: backups.txt}}')
    assert found.endswith('is a file. Use a folder, such as ./backups.')


@pytest.mark.parametrize('url', ['http://[x', 'https://h:port/x', 'ftp://h/x', 'https:///x', 'https://h/a b'])
def test_what_is_no_address_of_a_webhook_is_refused(url):
    (found,) = said(f'huggingface: {{notifications: {{webhook_url: "{url}"}}}}')
    assert 'is no http(s) address' in found


def test_a_large_dot_env_is_refused():
    Path('.env').write_bytes(b'A=1\n' * 300_000)
    (problem,) = inspect().problems
    assert str(problem) == '.env: larger than 1048576 bytes. Mend the file or remove it.'
