"""Small node classes, and graphs of them to run."""

import pytest
from exact_vae.headless import GraphError, parse, run


def node(kind, /, **inputs):
    return {"class_type": kind, "inputs": inputs}


def with_title(title, entry):
    return {**entry, "_meta": {"title": title}}


class Fake:
    """A node whose inputs and outputs are class attributes; every call is noted in `calls`, a list per test."""

    required = {}
    optional = {}
    hidden = {}
    RETURN_TYPES = ("INT",)
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": cls.required, "optional": cls.optional, "hidden": cls.hidden}


class Number(Fake):
    required = {"n": ("INT",)}

    def go(self, n):
        return (n,)


class Add(Fake):
    required = {"a": ("INT",), "b": ("INT",)}

    def go(self, a, b):
        return (a + b,)


class Range(Fake):
    required = {"n": ("INT",)}
    OUTPUT_IS_LIST = (True,)

    def go(self, n):
        return (list(range(n)),)


class Total(Fake):
    required = {"values": ("INT",), "times": ("INT",)}
    INPUT_IS_LIST = True

    def go(self, values, times):
        return (sum(values) * times[0],)


class Show(Fake):
    required = {"value": ("*",)}
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    def go(self, value):
        return {"ui": {"text": [str(value)]}}


class Boom(Fake):
    required = {"n": ("INT",)}

    def go(self, n):
        raise ValueError("boom")


class Switch(Fake):
    required = {"first": ("BOOLEAN",), "a": ("INT", {"lazy": True}), "b": ("INT", {"lazy": True})}

    def check_lazy_status(self, first, a, b):
        wanted = "a" if first else "b"
        return [wanted] if {"a": a, "b": b}[wanted] is None else []

    def go(self, first, a, b):
        return (a if first else b,)


NODES = {one.__name__: one for one in (Number, Add, Range, Total, Show)}


def execute(graph, *more, **options):
    return run(parse(graph), {**NODES, **{one.__name__: one for one in more}}, **options)


def failure(graph, *more) -> GraphError:
    with pytest.raises(GraphError) as caught:
        execute(graph, *more)
    return caught.value
