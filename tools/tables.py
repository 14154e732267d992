"""Tables for people, all of one look."""

from typing import Any


def new() -> Any:
  """Returns an empty `rich` table without lines."""
  from rich import table

  return table.Table(box=None, pad_edge=False, header_style='bold')


def line(words: str) -> Any:
  """Returns a cell of one line, which ends in … where there is no room."""
  from rich import text

  return text.Text(words, no_wrap=True, overflow='ellipsis')


def show(table: Any, width: int) -> None:
  """Prints a table, at least so many columns of text wide."""
  from rich import console

  console.Console(width=max(width, console.Console().width)).print(table)
