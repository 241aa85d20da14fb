"""A table of strings, for the terminal or for Markdown."""

from __future__ import annotations


class Table:
    """Rows under a heading; the first ``words`` columns stand to the left, the others, numbers, to the right."""

    def __init__(self, heading: tuple[str, ...], *, words: int = 1) -> None:
        self.rows = [heading]
        self.words = words

    def add(self, *cells: str) -> None:
        self.rows.append(cells)

    def text(self) -> str:
        heading, *body = (self._aligned(row) for row in self.rows)
        return '\n'.join(line.rstrip() for line in [heading, '-' * len(heading), *body])

    def markdown(self) -> str:
        heading, *body = (f'| {" | ".join(row)} |' for row in self.rows)
        numbers = len(self.rows[0]) - self.words
        rule = '|' + ' --- |' * self.words + ' ---: |' * numbers
        return '\n'.join([heading, rule, *body])

    def _aligned(self, row: tuple[str, ...]) -> str:
        widths = [max(len(cell) for cell in column) for column in zip(*self.rows, strict=True)]
        padded = zip(row, widths, strict=True)
        return '  '.join(
            cell.ljust(width) if column < self.words else cell.rjust(width)
            for column, (cell, width) in enumerate(padded)
        )


def human_bytes(count: float) -> str:
    """Return a byte count in the largest fitting unit: 512 B, 4.2 MiB."""
    if abs(count) < 1024:
        return f'{count:.0f} B'
    for unit in ('KiB', 'MiB'):
        count /= 1024
        if abs(count) < 1024:
            return f'{count:.1f} {unit}'
    return f'{count / 1024:.2f} GiB'
