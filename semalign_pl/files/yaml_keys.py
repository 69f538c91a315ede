"""A key that is in a YAML mapping twice: PyYAML takes the last one without a word."""

from __future__ import annotations

from typing import Any

import yaml


class DuplicateKeyError(yaml.YAMLError):
    """A mapping has a key twice."""


def check_keys(text: str, loader: Any = yaml.SafeLoader) -> None:
    """Refuse a YAML text in which a mapping has a key twice.

    A key beside a merged mapping (``<<: *defaults``) that has the same key is no second one: YAML gives it priority.

    Args:
        text: The YAML, of a depth that can be walked by recursion.
        loader: PyYAML loader that will read it.

    Raises:
        DuplicateKeyError: Names the key and both lines.
        yaml.YAMLError: If it is not YAML.
    """
    _walk(yaml.compose(text, Loader=loader), set())


def _walk(node: yaml.Node | None, seen: set[int]) -> None:
    if node is None or id(node) in seen:  # an alias is the very node that its anchor is on
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _walk(item, seen)
    elif isinstance(node, yaml.MappingNode):
        first: dict[tuple[str, str], yaml.ScalarNode] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and first.setdefault((key.tag, key.value), key) is not key:
                here, there = (one.start_mark.line + 1 for one in (key, first[key.tag, key.value]))
                raise DuplicateKeyError(
                    f"line {here}: the key {key.value!r} is there already, on line {there}; only one of them can hold, "
                    "so delete the other"
                )
            _walk(value, seen)
