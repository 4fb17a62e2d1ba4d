"""Small nodes that run in a real ComfyUI and headless alike, for tests of how graphs are run."""

import asyncio

try:
    from comfy_execution.graph_utils import ExecutionBlocker
except ImportError:
    from exact_vae.headless import ExecutionBlocker

ANY = "*"
INT = ("INT", {"default": 0, "min": -(2**31), "max": 2**31})


class _Small:
    required = {}
    optional = {}
    hidden = {}
    RETURN_TYPES = ("INT",)
    FUNCTION, CATEGORY = "go", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": cls.required, "optional": cls.optional, "hidden": cls.hidden}


class BothNumber(_Small):
    required = {"n": INT}

    def go(self, n):
        return (n,)


class BothAdd(_Small):
    required = {"a": INT, "b": INT}

    def go(self, a, b):
        return (a + b,)


class BothRange(_Small):
    required = {"n": INT}
    OUTPUT_IS_LIST = (True,)

    def go(self, n):
        return (list(range(n)),)


class BothTotal(_Small):
    required = {"values": INT, "times": INT}
    INPUT_IS_LIST = True

    def go(self, values, times):
        return (sum(values) * times[0],)


class BothShow(_Small):
    required = {"value": (ANY,)}
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    def go(self, value):
        return {"ui": {"text": [str(value)]}}


class BothFail(_Small):
    required = {"n": INT}

    def go(self, n):
        raise ValueError(f"boom {n}")


class BothLazy(_Small):
    required = {"first": ("BOOLEAN", {"default": True})}
    optional = {"a": ("INT", {"lazy": True}), "b": ("INT", {"lazy": True})}

    def check_lazy_status(self, first, a=None, b=None):
        return ["a"] if first and a is None else ["b"] if not first and b is None else []

    def go(self, first, a=None, b=None):
        return (a if first else b,)


class BothGate(_Small):
    """Lets even numbers through."""

    required = {"n": INT}

    def go(self, n):
        return (n if n % 2 == 0 else ExecutionBlocker(None),)


class BothSlow(_Small):
    required = {"n": INT}

    async def go(self, n):
        await asyncio.sleep(0.01)
        return (n * 10,)


class BothTwice(_Small):
    required = {"n": INT}

    def go(self, n):
        return {"expand": {f"both sum {n}": _node("BothAdd", a=n, b=n)}, "result": ([f"both sum {n}", 0],)}


class BothCountdown(_Small):
    required = {"n": INT, "total": INT}

    def go(self, n, total):
        if n == 0:
            return (total,)
        add, step = f"both add {n}", f"both step {n}"
        inner = {add: _node("BothAdd", a=total, b=n), step: _node("BothCountdown", n=n - 1, total=[add, 0])}
        return {"expand": inner, "result": ([step, 0],)}


class BothFailInside(_Small):
    required = {"n": INT}

    def go(self, n):
        return {"expand": {"both fail": _node("BothFail", n=n)}, "result": (["both fail", 0],)}


class BothOpen(_Small):
    required = {"n": INT}
    RETURN_TYPES = ("FLOW", "INT")

    def go(self, n):
        return "flow", n


class BothClose(_Small):
    """Takes 3 off and goes around again, by links to the nodes between the two, until the number is below 0."""

    required = {"flow": ("FLOW", {"rawLink": True}), "n": ("INT", {"forceInput": True})}
    hidden = {"graph": "DYNPROMPT", "me": "UNIQUE_ID"}

    def go(self, flow, n, graph, me):
        if n < 0:
            return (n,)
        entry = graph.get_node(me)["inputs"]["n"]
        between = graph.get_node(entry[0])
        opened, body, closed = f"{me} open", f"{me} body", f"{me} close"
        inputs = {name: [opened, 1] if value == [flow[0], 1] else value for name, value in between["inputs"].items()}
        inner = {
            opened: _node("BothOpen", n=n),
            body: _node(between["class_type"], **inputs),
            closed: _node("BothClose", flow=[opened, 0], n=[body, 0]),
        }
        return {"expand": inner, "result": ([closed, 0],)}


def _node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


NODES = (BothNumber, BothAdd, BothRange, BothTotal, BothShow, BothFail, BothLazy, BothGate, BothSlow, BothTwice,
         BothCountdown, BothFailInside, BothOpen, BothClose)  # fmt: skip
NODE_CLASS_MAPPINGS = {one.__name__: one for one in NODES}
