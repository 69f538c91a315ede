"""Render a chat template with limits: it is a program from an untrusted source, and a few lines of it can run for days.

The environment has transformers' own settings, so that a template renders as it does there. In addition, every loop,
macro and call is charged against two limits, processor time and generated characters. So is every operation by which a
short template can make a long text or a large number.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from jinja2 import Template, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_SECONDS = 3.0
"""Maximum processor time of one rendering, in seconds; a conversation of 1,000 turns takes milliseconds."""
MAX_CHARACTERS = 2**26
"""Maximum number of characters that one rendering makes, including all intermediate texts: 64 million."""
MAX_SOURCE = 2**18
"""Maximum number of characters of a template; the longest of known models have 20,000."""
MAX_WHOLE = 100_000
"""Maximum integer argument of a function or filter: widths, counts, precisions, ends of ranges."""
MAX_BITS = 4096
"""Maximum number of bits of an integer."""
_LONG_FORMAT = re.compile(r"\d{6}|\*|:[^{}]*\{")
"""Pattern of a width or precision of six digits, or one that is an argument."""
Message = Mapping[str, object]
Filter = Callable[..., object]
T = TypeVar("T")
_BODIES = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block)


class TemplateLimitError(ValueError):
    """Error for a chat template that would take too much time or memory."""


@functools.lru_cache(maxsize=8)
def compile_template(source: str) -> Template:
    """Compile a chat template in transformers' environment, with limits.

    Args:
        source: Jinja source of the template.

    Returns:
        Template; `render_chat` resets the limits before each rendering.

    Raises:
        TemplateLimitError: If the source is too long.
        jinja2.TemplateError: If the source is no template.
    """
    from transformers.utils.chat_template_utils import _compile_jinja_template

    if len(source) > MAX_SOURCE:
        raise TemplateLimitError(f"it has {len(source):,} characters, and {MAX_SOURCE:,} are the limit")
    theirs = _compile_jinja_template("").environment
    bounded = BoundedEnvironment(
        trim_blocks=theirs.trim_blocks,
        lstrip_blocks=theirs.lstrip_blocks,
        extensions=[type(extension) for extension in theirs.extensions.values()],
    )
    bounded.globals.update(theirs.globals)
    bounded.filters.update({name: bounded.bound_filter(name, call) for name, call in theirs.filters.items()})
    return bounded.from_string(source)


def render_chat(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], template: str | None = None, **given: object
) -> str:
    """Render a conversation as ``tokenizer.apply_chat_template`` does, within limits.

    Args:
        tokenizer: Tokenizer of the template.
        messages: Messages of a conversation.
        template: Jinja source of the template; ``None`` for the tokenizer's own.
        given: Other variables of the template, such as ``add_generation_prompt``.

    Returns:
        Text of the conversation.

    Raises:
        TemplateLimitError: If the rendering exceeds a limit of time or memory.
        Exception: Any exception that the template raises.
    """
    compiled = compile_template(template or tokenizer.get_chat_template())
    environment = compiled.environment
    assert isinstance(environment, BoundedEnvironment)
    environment.start()
    variables = {"tools": None, "documents": None, "add_generation_prompt": False, **tokenizer.special_tokens_map}
    plain = [{key: value for key, value in message.items() if value is not None} for message in messages]
    try:
        return compiled.render(messages=plain, **{**variables, **given})
    except (RecursionError, MemoryError) as error:
        raise TemplateLimitError(f"it needs too much memory ({type(error).__name__})") from error


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja sandbox with limits on each rendering."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=self.charge_output, **options)
        self.code_generator_class = _Charging
        self.start()

    def start(self) -> None:
        """Reset the limits for a new rendering."""
        self._left, self._until = MAX_CHARACTERS, time.thread_time() + MAX_SECONDS

    def charge(self, characters: int) -> str:
        """Charge characters, and check both limits.

        Args:
            characters: Number of characters that were or will be made.

        Returns:
            Empty text, so that a template can call this as an expression.

        Raises:
            TemplateLimitError: If either limit is exceeded.
        """
        self._left -= characters
        if self._left < 0:
            raise TemplateLimitError(f"it makes more than {MAX_CHARACTERS:,} characters")
        if time.thread_time() > self._until:
            raise TemplateLimitError(f"it takes more than {MAX_SECONDS:.0f} seconds")
        return ""

    def charge_output(self, value: T) -> T:
        """Charge a value that the template writes, and return it."""
        self.charge(self._written_length(value))
        return value

    def join_bounded(self, *values: object) -> str:
        """Join values as the operator ``~`` does."""
        self.charge(sum(map(self._written_length, values)))
        return "".join(map(str, values))

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """Compute ``left operator right``, unless the result would exceed a limit."""
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
            if operator in ("*", "**") and bits > MAX_BITS:
                raise TemplateLimitError(f"it makes a number of more than {MAX_BITS:,} bits")
        elif operator == "%" and isinstance(left, str):
            self._check_format(left, [right])
        elif operator in ("+", "*"):
            sizes = [len(v) if isinstance(v, Sequence) else abs(v) if isinstance(v, int) else 1 for v in (left, right)]
            self.charge(sizes[0] * sizes[1] if operator == "*" else sum(sizes))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, function: object, *args: object, **options: object) -> object:
        """Call a function, method or macro of a template."""
        method = getattr(function, "__wrapped__", function)  # the sandbox wraps str.format
        subject = getattr(method, "__self__", None)
        if subject is not self:
            subject = subject if isinstance(subject, str | bytes) else None
            self._check_call(getattr(method, "__name__", ""), subject, args, options)
        return super().call(context, function, *args, **options)

    def bound_filter(self, name: str, function: Filter) -> Filter:
        """Wrap a filter, to check its arguments before each call and charge its result after it."""
        passed = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def call_checked(*args: object, **options: object) -> object:
            given = args[passed:]
            self._check_call(name, given[0] if given else None, given[1:], options)
            result = function(*args, **options)
            self.charge(len(result) if isinstance(result, str | list | tuple) else 1)
            return result

        return call_checked

    def _check_call(self, name: str, subject: object, args: Sequence[object], options: Mapping[str, object]) -> None:
        """Charge a call by its arguments, and refuse one whose result could be out of proportion to them."""
        given = [*args, *options.values()]
        large = next((v for v in given if isinstance(v, int) and abs(v) > MAX_WHOLE), None)
        if large is not None:
            raise TemplateLimitError(f"it calls {name} with a number beyond {MAX_WHOLE:,}")
        written = max((self._written_length(v) for v in given if isinstance(v, str | int)), default=0)
        self.charge(1 + (len(subject) if isinstance(subject, str | list | tuple) else 0))
        if name in ("format", "format_map") and isinstance(subject, str):
            self._check_format(subject, given)
        elif name in ("string", "tojson", "pprint", "join", "list"):
            width = max((v for v in given if isinstance(v, int)), default=0)  # of an indent
            self.charge(self._written_length([subject, *args], 1 + written + width))
        elif name in ("replace", "indent", "expandtabs", "translate", "wordwrap") and isinstance(subject, str):
            places = subject.count(args[0]) if name == "replace" and args and isinstance(args[0], str) else len(subject)
            width = max((abs(v) for v in given if isinstance(v, int)), default=0)
            longest = max((len(v) for v in given if isinstance(v, str)), default=0)
            self.charge(len(subject) + places * max(1, width if name != "replace" else 0, longest))

    def _check_format(self, pattern: str, values: Sequence[object]) -> None:
        if _LONG_FORMAT.search(pattern):
            raise TemplateLimitError("it formats a text to a width of six digits, or to one that is a variable")
        places = pattern.count("%") + pattern.count("{")
        self.charge(len(pattern) + places * (100_000 if re.search(r"\d{3}", pattern) else self._written_length(values)))

    def _written_length(self, value: object, between: int = 4) -> int:
        """Number of characters of a value when written; counting stops when it exceeds the characters left."""
        if isinstance(value, str):
            return len(value)
        if not isinstance(value, Mapping | list | tuple | set | frozenset):
            return 20
        total, waiting = 0, [value]
        while waiting and total <= self._left:
            one = waiting.pop()
            if isinstance(one, Mapping):
                waiting += [*one.keys(), *one.values()]
            elif isinstance(one, list | tuple | set | frozenset):
                waiting += one
            total += between + (len(one) if isinstance(one, str) else 20)
        return total


class _Charging(CodeGenerator):
    """Code generator that charges every run of a body that may run more than once, and limits ``~``."""

    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:
        for body in node.find_all(_BODIES):
            length = sum(len(text.data) for text in body.find_all(nodes.TemplateData))
            body.body.insert(0, nodes.ExprStmt(_charge(1 + length), lineno=body.lineno))
            if isinstance(body, nodes.For) and body.test is not None:  # it runs even if the body never does
                body.test = nodes.Or(_charge(1), body.test, lineno=body.lineno)
        super().visit_Template(_Joins().visit(node), frame)


def _charge(characters: int) -> nodes.Call:
    """Template expression that calls `BoundedEnvironment.charge`, which returns an empty text."""
    return nodes.Call(nodes.EnvironmentAttribute("charge"), [nodes.Const(characters)], [], None, None)


class _Joins(NodeTransformer):
    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        join = nodes.EnvironmentAttribute("join_bounded", lineno=node.lineno)
        assert node.environment is not None
        return nodes.Call(join, node.nodes, [], None, None, lineno=node.lineno).set_environment(node.environment)
