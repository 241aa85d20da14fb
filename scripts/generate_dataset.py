"""Make the example's data set: requests in English, and the tool that each of them calls for.

Run as ``python scripts/generate_dataset.py --config config.yaml``. The same settings make the same files::

    {"text": "what is the weather in Oslo", "tool": "get_weather", "arguments": {"city": "Oslo"}}

``train.jsonl`` and ``validation.jsonl`` are made of the same phrasings and words. Those of ``test.jsonl`` are in neither, so
that the test shows what the model makes of requests that it has not learnt by heart.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from training_settings import Data, chosen_file, config_option, read_settings

from hfmirror import durable, output
from hfmirror.errors import ConfigError
from hfmirror.main import error_handler

WORDS = {
    'city': ('Oslo', 'Paris', 'Lagos', 'Lima', 'Kyoto', 'Boston', 'Vienna', 'Cairo', 'Pune', 'Quito'),
    'day': ('today', 'tomorrow', 'on Monday', 'on Friday', 'this weekend', 'next week', 'tonight'),
    'hour': ('at 9', 'at noon', 'at 5 pm', 'at 10:30', 'at 8 in the morning', 'at 14:00'),
    'person': ('Ada', 'Grace', 'Linus', 'Barbara', 'Alan', 'Margaret', 'Dennis', 'Frances'),
    'meeting': (
        'a review',
        'lunch',
        'the stand-up',
        'an interview',
        'a call',
        'the planning',
        'a dentist visit',
    ),
    'subject': ('the budget', 'the release', 'our trip', 'the contract', 'the minutes', 'the offer'),
    'topic': (
        'solar panels',
        'graph theory',
        'the moon landing',
        'bread baking',
        'git hooks',
        'jazz',
        'tides',
    ),
    'amount': ('5', '20', '99', '250', '1,000', '42', '7.50'),
    'currency': ('dollars', 'euros', 'yen', 'pounds', 'francs', 'rupees', 'kroner'),
    'other': ('rand', 'zloty', 'pesos', 'won', 'lira', 'dirhams'),
    'language': ('French', 'German', 'Japanese', 'Spanish', 'Swahili', 'Hindi', 'Polish'),
    'phrase': ('good morning', 'where is the station', 'thank you', 'see you soon', 'the bill please'),
    'minutes': ('5', '10', '25', '45', '90', 'three', 'twenty'),
    'chore': ('the pasta', 'the laundry', 'a nap', 'the eggs', 'my tea', 'the oven'),
    'music': ('Miles Davis', 'some Bach', 'Nina Simone', 'the new album', 'my running playlist', 'Fela Kuti'),
    'file': ('notes.txt', 'report.md', 'setup.cfg', 'main.py', 'todo.txt', 'data.csv', 'README.md'),
    'table': ('orders', 'customers', 'invoices', 'sensors', 'payments', 'visits'),
}
# The last phrasings of each tool, and the last words of each kind, are for the test alone.
HELD_OUT = 2
KNOWN, NEW = slice(0, -HELD_OUT), slice(-HELD_OUT, None)
TOOLS = {
    'get_weather': (
        'what is the weather in {city}',
        'will it rain in {city} {day}',
        'weather forecast for {city} {day}',
        'how warm is it in {city}',
        'is it going to snow {day} in {city}',
        'do I need an umbrella in {city} {day}',
        'temperature in {city} {day}',
        'show the forecast for {city}',
        'how is the weather in {city} {day}',
        'is rain in the forecast for {city}',
    ),
    'web_search': (
        'search the web for {topic}',
        'look up {topic} online',
        'find articles about {topic}',
        'google {topic}',
        'what does the internet say about {topic}',
        'find me information on {topic}',
        'search for {topic}',
        'look on the web for news about {topic}',
        'search online for articles on {topic}',
        'find information about {topic} on the internet',
    ),
    'create_event': (
        'schedule {meeting} with {person} {day}',
        'put {meeting} in my calendar {day} {hour}',
        'book {meeting} {day} {hour}',
        'add {meeting} with {person} to the calendar',
        'plan {meeting} for {day} {hour}',
        'set up {meeting} with {person} {hour}',
        'create an event for {meeting} {day}',
        'block my calendar {day} {hour} for {meeting}',
        'add {meeting} to my calendar {day} {hour}',
        'schedule {meeting} {hour} with {person}',
    ),
    'send_email': (
        'send an email to {person} about {subject}',
        'email {person} that {subject} is ready',
        'write {person} a mail about {subject}',
        'reply to {person} about {subject}',
        'mail {subject} to {person}',
        'send {person} a message about {subject}',
        'forward {subject} to {person} by email',
        'draft an email on {subject} for {person}',
        'write an email to {person} on {subject}',
        'send a mail with {subject} to {person}',
    ),
    'set_timer': (
        'set a timer for {minutes} minutes',
        'wake me in {minutes} minutes',
        'remind me of {chore} in {minutes} minutes',
        'start a countdown of {minutes} minutes',
        'timer {minutes} minutes for {chore}',
        'tell me when {minutes} minutes are over',
        'count down {minutes} minutes for {chore}',
        'ring in {minutes} minutes',
        'start a timer of {minutes} minutes for {chore}',
        'set a countdown for {minutes} minutes',
    ),
    'convert_currency': (
        'convert {amount} {currency} to {other}',
        'how much is {amount} {currency} in {other}',
        'what are {amount} {currency} in {other}',
        'exchange rate of {currency} to {other}',
        'change {amount} {currency} into {other}',
        'how many {other} do I get for {amount} {currency}',
        'what is the rate for {currency} in {other}',
        '{amount} {currency} in {other}',
        'convert {currency} into {other}, {amount} of them',
        'how many {other} are {amount} {currency}',
    ),
    'translate_text': (
        'translate {phrase} to {language}',
        'how do you say {phrase} in {language}',
        'what is {phrase} in {language}',
        'say {phrase} in {language}',
        'put {phrase} into {language}',
        'give me the {language} for {phrase}',
        'translation of {phrase} to {language}',
        'what is the {language} word for {phrase}',
        'translate into {language}: {phrase}',
        'how do they say {phrase} in {language}',
    ),
    'play_music': (
        'play {music}',
        'put on {music}',
        'I want to listen to {music}',
        'start playing {music}',
        'play {music} on the speakers',
        'shuffle {music}',
        'play me a song by {music}',
        'turn on music, {music}',
        'listen to {music} on the speakers',
        'play a song from {music}',
    ),
    'read_file': (
        'open {file}',
        'read {file}',
        'show me the content of {file}',
        'what is in the file {file}',
        'print {file}',
        'load {file} from disk',
        'read the first lines of {file}',
        'display the file {file}',
        'show the lines of {file}',
        'open the file {file} and read it',
    ),
    'run_query': (
        'select all rows from {table}',
        'how many rows are in the table {table}',
        'query the database for {table}',
        'count the {table} in the database',
        'run sql on {table}',
        'list the last records of {table}',
        'sum the column amount of {table}',
        'which {table} were added to the database {day}',
        'query the table {table} for all records',
        'count rows of {table}',
    ),
}
BEFORE = ('', '', '', 'please ', 'can you ', 'hey, ', 'could you please ', 'I need you to ', 'ok now ')
AFTER = ('', '', '', ' please', ' thanks', ' now', ' for me', ' asap')
TYPO_RATE = 0.06  # of all letters
TRIES = 200  # for each example; phrasings have only so many ways to be filled in

Example = dict[str, Any]


def generate(data: Data) -> dict[str, list[Example]]:
    """Return {split: examples}. No text is in two of them, or twice in one."""
    chance = random.Random(data.seed)
    splits: dict[str, list[Example]] = {'train': [], 'validation': [], 'test': []}
    seen: set[str] = set()
    for tool, phrasings in TOOLS.items():
        made = some(examples(tool, phrasings, KNOWN, chance), data.examples_per_tool, seen)
        for_training = data.examples_per_tool * 4 // 5
        splits['train'] += made[:for_training]
        splits['validation'] += made[for_training:]
        splits['test'] += some(examples(tool, phrasings, NEW, chance), data.examples_per_tool // 5, seen)
    for rows in splits.values():
        chance.shuffle(rows)
    return splits


def examples(tool: str, phrasings: Sequence[str], part: slice, chance: random.Random) -> Iterator[Example]:
    """Yield requests for a tool, made of one part of its phrasings and of the words."""
    while True:
        phrasing = chance.choice(phrasings[part])
        slots = [name for _, name, _, _ in string.Formatter().parse(phrasing) if name]
        arguments = {slot: chance.choice(WORDS[slot][part]) for slot in slots}
        text = chance.choice(BEFORE) + phrasing.format(**arguments) + chance.choice(AFTER)
        yield {'text': mistyped(text, chance), 'tool': tool, 'arguments': arguments}


def some(stream: Iterator[Example], count: int, seen: set[str]) -> list[Example]:
    """Return ``count`` examples with texts that are not in ``seen``, and note them there."""
    found: list[Example] = []
    for _ in range(count * TRIES):
        example = next(stream)
        if example['text'] not in seen:
            seen.add(example['text'])
            found.append(example)
        if len(found) == count:
            return found
    raise ConfigError(
        f'data.examples_per_tool: the phrasings make no {count} different texts. Use a smaller number.'
    )


def mistyped(text: str, chance: random.Random) -> str:
    """Return ``text`` as hasty fingers write it: here and there a letter is missing, doubled or another one."""
    typed = []
    for letter in text:
        slip = chance.choice(('', letter * 2, chance.choice(string.ascii_lowercase)))
        typed.append(slip if chance.random() < TYPO_RATE else letter)
    return ''.join(typed)


def write(splits: dict[str, list[Example]], folder: Path) -> None:
    for name, rows in splits.items():
        lines = [json.dumps(row, ensure_ascii=False) + '\n' for row in rows]
        durable.rewrite(folder / f'{name}.jsonl', ''.join(lines).encode())


@click.command()
@config_option
def command(config_file: Path | None) -> None:
    """Make the data set that train_mcp_model.py learns from.

    \b
    python scripts/generate_dataset.py --config config.yaml
    """
    data = read_settings(chosen_file(config_file)).data
    splits = generate(data)
    write(splits, data.folder)
    counts = ', '.join(f'{len(rows):,} {name}' for name, rows in splits.items())
    output.say(f'{data.folder}: {counts} examples for {len(TOOLS)} tools')


if __name__ == '__main__':
    with error_handler():
        command(standalone_mode=False)
