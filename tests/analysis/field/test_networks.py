"""Sampled units of networks of torchvision and timm against the extent of their gradient."""

import random
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convolens.analysis.field import fields_of
from convolens.analysis.trace import Arguments, trace_inference
from convolens.analysis.tracer import tensors_in

NUM_LAYERS = 5
# The side of the picture [px]: small, and odd where the network lets it.
TORCHVISION = {
    "alexnet": 127,
    "convnext_tiny": 64,
    "deeplabv3_resnet50": 65,
    "densenet121": 65,
    "efficientnet_b0": 65,
    "fcn_resnet50": 65,
    "googlenet": 97,
    "inception_v3": 111,
    "lraspp_mobilenet_v3_large": 97,
    "mnasnet0_5": 97,
    "mobilenet_v2": 97,
    "mobilenet_v3_small": 97,
    "regnet_x_400mf": 65,
    "regnet_y_400mf": 65,
    "resnet18": 97,
    "resnet50": 65,
    "resnext50_32x4d": 65,
    "shufflenet_v2_x0_5": 97,
    "squeezenet1_1": 93,
    "swin_t": 64,
    "swin_v2_t": 64,
}
TIMM = {
    "cs3darknet_s": 97,
    "densenetblur121d": 65,
    "dla34": 64,
    "dpn68": 65,
    "eca_resnet33ts": 65,
    "edgenext_xx_small": 128,
    "ese_vovnet19b_dw": 97,
    "fastvit_t8": 64,
    "gernet_s": 65,
    "ghostnet_100": 97,
    "hardcorenas_a": 97,
    "hgnetv2_b0": 97,
    "hrnet_w18_small": 64,
    "inception_next_atto": 96,
    "lcnet_050": 97,
    "legacy_seresnet18": 65,
    "mixnet_s": 97,
    "mobilenetv4_conv_small": 97,
    "pvt_v2_b0": 64,
    "regnety_002": 97,
    "repghostnet_050": 97,
    "repvgg_a0": 65,
    "rexnet_100": 65,
    "skresnet18": 65,
    "tinynet_e": 97,
}
NAMES = [*(f"torchvision:{name}" for name in TORCHVISION), *(f"timm:{name}" for name in TIMM)]


def build(library: str, name: str) -> nn.Module:
    """The network without weights, on the meta device unless its builder needs values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both libraries use what PyTorch is about to drop
        if library == "timm":
            timm = pytest.importorskip("timm", reason="timm is not installed")
            with torch.device("meta"):
                net: nn.Module = timm.create_model(name, pretrained=False)
            return net
        import torchvision  # takes seconds

        options: dict[str, Any] = {"weights": None}
        if name in ("googlenet", "inception_v3"):
            options["init_weights"] = False
        if name in ("deeplabv3_resnet50", "fcn_resnet50", "lraspp_mobilenet_v3_large"):
            options["weights_backbone"] = None
        with torch.device("cpu" if name.startswith("regnet") else "meta"):
            return torchvision.models.get_model(name, **options)


def sampled_units(trace: Any, fields: Any, seed: str) -> dict[str, tuple[Any, Any]]:
    """A unit and its field of some layers, first of all of those that do not see everything."""
    draw = random.Random(seed)
    everything = fields.at(trace.inputs[0], (None, None, None, None))
    first_calls: dict[str, int] = {}
    for call in trace.calls:
        if call.path and call.outputs:
            first_calls.setdefault(call.path, call.outputs[0])
    found: dict[str, tuple[Any, Any]] = {}
    for path, value in draw.sample(list(first_calls.items()), len(first_calls)):
        shape = trace.values[value].shape
        if len(shape) < 3:
            continue
        unit = [draw.randrange(size) for size in shape]
        if draw.random() < 0.3:
            unit[2:] = [0] * (len(shape) - 2)
        field = fields.at(value, unit)
        if field != everything or draw.random() < 0.05:
            found[path] = (tuple(unit), field)
        if len(found) == NUM_LAYERS:
            break
    return found


def watch(net: nn.Module, units: dict[str, tuple[Any, Any]]) -> dict[str, Tensor]:
    """Where each unit is put when the network runs."""
    modules = dict(net.named_modules())
    reached: dict[str, Tensor] = {}

    def keep(path: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if path not in reached:  # a module may be called again
                reached[path] = next(tensors_in(output))[units[path][0]] * 1.0

        return hook

    for path in units:
        modules[path].register_forward_hook(keep(path))
    return reached


@pytest.mark.parametrize("name", NAMES)
def test_units_see_what_the_gradient_says(name: str, oracle: Any) -> None:
    library, _, plain = name.partition(":")
    side = (TORCHVISION if library == "torchvision" else TIMM)[plain]
    net = build(library, plain)
    blank = torch.empty(1, 3, side, side, device="meta")
    trace = trace_inference(net, Arguments(args=(blank,), kwargs={}), on_meta=True)
    fields = fields_of(trace)
    assert fields.unknown == ()
    units = sampled_units(trace, fields, name)
    assert units
    net = oracle.positive(net)
    reached = watch(net, units)
    torch.manual_seed(0)
    x = (torch.rand(1, 3, side, side, dtype=torch.float64) + 0.5).requires_grad_()
    with oracle.Smooth():
        net(x)
    for path, (unit, field) in units.items():
        if field is None:
            assert not reached[path].requires_grad
            continue
        (gradient,) = torch.autograd.grad(reached[path], x, retain_graph=True)
        assert gradient.isfinite().all()
        assert (path, unit, field.intervals) == (path, unit, oracle.extent(gradient, (2, 3)))
