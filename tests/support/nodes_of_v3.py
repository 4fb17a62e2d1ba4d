"""Classes of ComfyUI's own third API, for a real ComfyUI and for the headless runner, which needs ComfyUI's modules."""

# pyright: reportMissingImports=false

from comfy_api.latest import ComfyExtension, io, ui
from comfy_execution.graph_utils import ExecutionBlocker, GraphBuilder

INT = {"default": 0, "min": -1000, "max": 1000}


def schema(name: str, inputs: list, outputs: list, **more) -> io.Schema:
    return io.Schema(node_id=name, display_name=name, category="tests", inputs=inputs, outputs=outputs, **more)


class ThirdAdd(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        inputs = [io.Int.Input("a", **INT), io.Int.Input("b", optional=True, **INT)]
        return schema("ThirdAdd", inputs, [io.Int.Output()])

    @classmethod
    async def execute(cls, a, b=7):
        return io.NodeOutput(a + b)


class ThirdRange(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("ThirdRange", [io.Int.Input("n", **INT)], [io.Int.Output(is_output_list=True), io.Int.Output()])

    @classmethod
    def validate_inputs(cls, n):
        return n < 100 or "that is too long"

    @classmethod
    def execute(cls, n):
        return io.NodeOutput(list(range(n)), n)


class ThirdTotal(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("ThirdTotal", [io.Int.Input("values", **INT)], [io.Int.Output()], is_input_list=True)

    @classmethod
    def execute(cls, values):
        return io.NodeOutput(sum(values))


class ThirdHow(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        options = [
            io.DynamicCombo.Option("plus", [io.Int.Input("m", **INT)]),
            io.DynamicCombo.Option("twice", []),
        ]
        inputs = [io.Int.Input("n", **INT), io.DynamicCombo.Input("how", options=options)]
        return schema("ThirdHow", inputs, [io.Int.Output()])

    @classmethod
    def execute(cls, n, how):
        return io.NodeOutput(n + how["m"] if how["how"] == "plus" else 2 * n)


class ThirdGrow(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        template = io.Autogrow.TemplatePrefix(io.Int.Input("value"), prefix="value", min=1, max=4)
        return schema("ThirdGrow", [io.Autogrow.Input("values", template=template)], [io.String.Output()])

    @classmethod
    def execute(cls, values):
        return io.NodeOutput(repr(sorted(values.items())))


class ThirdLazy(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        lazy = [io.Int.Input(name, lazy=True, optional=True, **INT) for name in ("a", "b")]
        return schema("ThirdLazy", [io.Boolean.Input("first", default=True), *lazy], [io.Int.Output()])

    @classmethod
    def check_lazy_status(cls, first, a=None, b=None):
        return [name for name, value in (("a", a), ("b", b)) if value is None and (name == "a") == first]

    @classmethod
    def execute(cls, first, a=None, b=None):
        return io.NodeOutput(a if first else b)


class ThirdFail(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("ThirdFail", [], [io.Int.Output()])

    @classmethod
    def execute(cls):
        raise ValueError("boom")


class ThirdExpand(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("ThirdExpand", [io.Int.Input("n", **INT)], [io.Int.Output()], enable_expand=True)

    @classmethod
    def execute(cls, n):
        graph = GraphBuilder()
        one = graph.node("ThirdAdd", a=n, b=n)
        return io.NodeOutput(graph.node("ThirdAdd", a=one.out(0)).out(0), expand=graph.finalize())


class ThirdEven(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("ThirdEven", [io.Int.Input("n", **INT)], [io.Int.Output()])

    @classmethod
    def execute(cls, n):
        return io.NodeOutput(n if n % 2 == 0 else ExecutionBlocker(None))


class ThirdShow(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        inputs = [io.AnyType.Input("value")]
        return schema("ThirdShow", inputs, [], is_output_node=True, hidden=[io.Hidden.unique_id])

    @classmethod
    def execute(cls, value):
        return io.NodeOutput(ui=ui.PreviewText(f"{cls.hidden.unique_id}: {value}"))


CLASSES = [
    ThirdAdd,
    ThirdRange,
    ThirdTotal,
    ThirdHow,
    ThirdGrow,
    ThirdLazy,
    ThirdFail,
    ThirdExpand,
    ThirdEven,
    ThirdShow,
]


class ThirdNodes(ComfyExtension):
    async def get_node_list(self):
        return CLASSES


async def comfy_entrypoint():
    return ThirdNodes()
