"""Node classes of all kinds of inputs, and graphs of them to check."""

from exact_vae.headless import check, parse


class Source:
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "size": ("INT", {"default": 64, "min": 8, "max": 512}),
                "scale": ("FLOAT", {"default": 1.0, "min": 0.0}),
                "text": ("STRING", {}),
                "flag": ("BOOLEAN",),
                "mode": (["fast", "exact"], {}),
                "kind": ("COMBO", {"options": ["a", "b"]}),
            },
            "optional": {"many": (["x", "y", "z"], {"multiselect": True})},
        }


class Encode:
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"pixels": ("IMAGE",)}, "optional": {"mask": ("MASK",)}}


class Save:
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("LATENT,IMAGE",)}}


class Anything(Save):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("*",)}}


class Even(Save):
    """Checks its own number: odd ones are refused, and no range applies."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"n": ("INT", {"min": 0, "max": 4}), "m": ("INT", {"max": 4})}}

    @classmethod
    def VALIDATE_INPUTS(cls, n):
        if n is None:
            return True
        return True if n % 2 == 0 else f"{n} is odd"


class Stern(Even):
    @classmethod
    def VALIDATE_INPUTS(cls, **values):
        return values == {"n": 99, "m": 99}


class Typed(Save):
    """Asks for the types of what is linked, so nobody else compares them."""

    @classmethod
    def VALIDATE_INPUTS(cls, input_types):
        return True if input_types == {"value": "MASK"} else f"not {input_types}"


class Broken(Even):
    @classmethod
    def VALIDATE_INPUTS(cls, n):
        return 1 / 0


class Relay:
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    @classmethod
    def VALIDATE_INPUTS(cls, absent):
        return True


class Pass:
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}


NODES = {one.__name__: one for one in (Source, Encode, Save, Anything, Even, Stern, Typed, Broken, Relay, Pass)}


GOOD = {"size": 64, "scale": 1.0, "text": "t", "flag": True, "mode": "fast", "kind": "a"}


def node(kind, /, **inputs):
    return {"class_type": kind, "inputs": inputs}


def source(**changed):
    return node("Source", **{**GOOD, **changed})


def check_nodes(**nodes):
    """node 1 is called n1 here."""
    return check(parse({name[1:]: entry for name, entry in nodes.items()}), NODES)


def only_problem(report, node_id):
    (found,) = report.node_errors[node_id]["errors"]
    return found
