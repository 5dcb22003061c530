"""What the story prints: headings, progress, tables, and a verdict that remembers what did not come true."""

import os
import sys
import time
import unicodedata

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def paint(text, colour):
    return f"\x1b[{CODES[colour]}m{text}\x1b[0m" if COLOUR else str(text)


def heading(text):
    print(f"\n{paint('== ' + text, 'bold')}", flush=True)


def say(text):
    print(f"   {text}", flush=True)


def note(text):
    """An aside: why something is as it is."""
    for line in text.splitlines():
        print(f"   {paint(line, 'dim')}", flush=True)


def width(text):
    """Columns on a terminal: Hangul takes two."""
    return sum(
        2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text if not unicodedata.combining(char)
    )


def table(columns, rows):
    """Columns are names; one that begins with `>` is a number and goes to the right."""
    names = [column.lstrip(">") for column in columns]
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(width(line[index]) for line in [names, *cells]) for index in range(len(names))]

    def line(values):
        padded = []
        for value, column, wide in zip(values, columns, widths, strict=True):
            gap = " " * (wide - width(value))
            padded.append(gap + value if column.startswith(">") else value + gap)
        return "  ".join(padded).rstrip()

    print("   " + paint(line(names), "cyan"))
    print("   " + paint("  ".join("-" * wide for wide in widths), "dim"))
    for row in cells:
        print("   " + line(row))
    sys.stdout.flush()


def size(count):
    """Bytes as people read them."""
    if count < 1024:
        return f"{count} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024 or unit == "GiB":
            return f"{count:.1f} {unit}"
    raise AssertionError("the loop returns")


class Verdict:
    """Everything that the story claims, and what of it was not so."""

    def __init__(self):
        self.true = 0
        self.false = []

    def check(self, holds, claim, otherwise=""):
        """Prints the claim with its outcome; returns whether it holds."""
        if holds:
            self.true += 1
            say(f"{paint('ok', 'green')}    {claim}")
        else:
            what = f"{claim}: {otherwise}" if otherwise else claim
            self.false.append(what)
            say(f"{paint('NOT SO', 'red')}  {what}")
        return bool(holds)

    def equal(self, claim, found, expected):
        return self.check(found == expected, claim, f"expected {expected!r}, found {found!r}")

    def same_mapping(self, claim, found, expected):
        """Like `equal` for dictionaries, but names only the entries that differ."""
        differing = [key for key in sorted(set(found) | set(expected), key=repr) if found.get(key) != expected.get(key)]
        shown = "; ".join(f"{key}: expected {expected.get(key)}, found {found.get(key)}" for key in differing[:5])
        if len(differing) > 5:
            shown += f"; and {len(differing) - 5} more"
        return self.check(not differing, claim, shown)


def wait_for(what, seconds, probe, every=0.2):
    """Polls until `probe` gives something true and returns it; None when the time is up."""
    started = time.monotonic()
    shown = started
    while True:
        found = probe()
        if found:
            return found
        now = time.monotonic()
        if now - started > seconds:
            return None
        if now - shown >= 5:
            shown = now
            say(paint(f"… waiting for {what} ({now - started:.0f} s)", "dim"))
        time.sleep(every)
