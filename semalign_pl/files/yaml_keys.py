"""Check for keys that a YAML mapping has twice: PyYAML silently takes the last one."""

from __future__ import annotations

import yaml


class DuplicateKeyError(yaml.YAMLError):
    """Error for a YAML mapping that has a key twice."""


def check_keys(text: str, loader: type[yaml.SafeLoader | yaml.CSafeLoader] = yaml.SafeLoader) -> None:
    """Refuse a YAML text in which a mapping has a key twice.

    A key that is also in a merged mapping (``<<: *defaults``) is allowed: YAML gives the explicit key priority.

    Args:
        text: YAML text, of a depth that recursion can walk.
        loader: PyYAML loader that will load the text.

    Raises:
        DuplicateKeyError: If a mapping has a key twice; names the key and both lines.
        yaml.YAMLError: If the text is not YAML.
    """
    _walk(yaml.compose(text, Loader=loader), set())


def _walk(node: yaml.Node | None, seen: set[int]) -> None:
    if node is None or id(node) in seen:  # an alias is the same object as its anchor's node
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
