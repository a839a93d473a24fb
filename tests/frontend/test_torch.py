"""Programs of torch.export compute the same in Relax."""

import numpy as np
import pytest

from hago.dataflow import read_dataflow
from hago.errors import ModelError
from hago.methods.attention import find_attention
from hago.pipeline import Options, compile_model, inspect_model
from hago.prepare import prepare
from hago.realize import interpret

torch = pytest.importorskip("torch", reason="needs the extra torch")
from torch import nn  # noqa: E402

from hago import import_torch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # torch.export deprecates parts of itself


class Mixed(nn.Module):
    """Convolutions as in MobileNet, then a transformer layer over one token."""

    def __init__(self):
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish(),
            nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6(), nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(2),
        )  # fmt: skip
        self.dense, self.norm = nn.Linear(4, 16), nn.LayerNorm(16)
        self.layer = nn.TransformerEncoderLayer(
            16, 2, 32, batch_first=True, activation="gelu", dropout=0.0
        )
        self.out = nn.Linear(16, 5)

    def forward(self, image):
        tokens = self.layer(self.norm(self.dense(self.image(image))))
        return torch.softmax(self.out(tokens.mean(1)), -1)


@pytest.fixture(scope="module")
def exported():
    torch.manual_seed(0)
    model, image = Mixed().eval(), torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        return torch.export.export(model, (image,)), image.numpy(), model(image).numpy()


def test_a_program_computes_the_same(exported):
    program, image, expected = exported
    module = prepare(import_torch(program))
    (actual,) = interpret(module, {str(module["main"].params[0].name): image})
    # Sums of at most 72 products in another order, through a dozen layers.
    np.testing.assert_allclose(actual, expected, atol=12 * 72 * np.finfo(np.float32).eps)


def test_attention_has_no_guard_that_finite_scores_do_not_need(exported):
    assert "where" not in prepare(import_torch(exported[0])).script()


def test_inputs_are_called_as_the_arguments_of_forward(exported):
    main = import_torch(exported[0])["main"]
    assert list(main.attrs["hago.input_names"]) == ["image"]
    assert list(main.attrs["hago.output_names"]) == ["output"]


def test_a_module_goes_the_way_of_a_file(exported, tmp_path):
    program, image, _ = exported
    module = import_torch(program)
    assert inspect_model(module, "x86-avx2").edges
    report = compile_model(
        module, "x86-avx2", [{"image": image}], tmp_path / "out", Options(precision="int8")
    )
    assert report.model == "module"
    assert report.accuracy["cosine"] > 0.99


def test_a_dynamic_program_is_refused():
    batch = torch.export.Dim("batch", min=2, max=8)
    program = torch.export.export(
        nn.Linear(4, 2).eval(), (torch.randn(3, 4),), dynamic_shapes=({0: batch},)
    )
    with pytest.raises(ModelError, match="not fixed"):
        import_torch(program)


def test_an_operator_that_tvm_does_not_know_is_named():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    program = torch.export.export(Odd(), (torch.randn(3),))
    with pytest.raises(ModelError, match="bessel_j0"):
        import_torch(program)


def test_an_internal_error_of_tvm_is_a_refusal():
    program, _ = exported_function(lambda x: nn.functional.unfold(x, 2), 1, 3, 4, 4)
    with pytest.raises(ModelError, match="cannot be imported"):
        import_torch(program)


class Function(nn.Module):
    """A function of one tensor."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def exported_function(function, *shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return torch.export.export(Function(function), (x,)), x


@pytest.mark.parametrize("function", [
    lambda x: x[:, -1],
    lambda x: x.amax(1),
    lambda x: x.amin((1, 2), keepdim=True),
    lambda x: x.amax(),
    lambda x: nn.functional.avg_pool1d(x, 3, 2, ceil_mode=True),
    lambda x: x + torch.full((16, 16), -torch.inf).triu(1).clamp(-9),
    lambda x: torch.arange(16) * 2 + x,
    lambda x: torch.arange(16) * 0.1 + x,
    lambda x: x + torch.arange(16) / 3 - x.argmax(-1, keepdim=True) * 0.5,
    lambda x: torch.sub(x, x.relu(), alpha=2) + (x > 0) * 1.5,
    lambda x: nn.functional.interpolate(x[None], (20, 24))[0],
    lambda x: nn.functional.interpolate(x[None], scale_factor=2)[0],
])  # fmt: skip
def test_what_models_do_between_layers_is_what_pytorch_does(function):
    program, x = exported_function(function, 2, 16, 16)
    module = prepare(import_torch(program))
    (actual,) = interpret(module, {"x": x.numpy()})
    np.testing.assert_allclose(actual, function(x).numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", [
    nn.GroupNorm(4, 8), nn.GroupNorm(2, 8, affine=False), nn.InstanceNorm2d(8),
    nn.InstanceNorm2d(8, affine=True),
])  # fmt: skip
@pytest.mark.parametrize("samples", [1, 3])
def test_norms_of_groups_are_one_operation_with_channels_last(norm, samples):
    program, x = exported_function(norm.eval(), samples, 8, 5, 6)
    module = prepare(import_torch(program))
    (actual,) = interpret(module, {"x": x.numpy()})
    np.testing.assert_allclose(actual, norm(x).detach().numpy(), atol=1e-5)
    if samples == 1 or isinstance(norm, nn.GroupNorm):
        found = [node.op for node in read_dataflow(module).nodes]
        assert found == ["permute_dims", "nn.group_norm", "permute_dims"]


@pytest.mark.parametrize("samples", [1, 2])
def test_attention_has_the_axes_of_other_exporters(samples):
    """So that its division is postponed, and kernels and methods find it."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, dropout=0.0).eval()
    mask = torch.zeros(8, 8).masked_fill(torch.ones(8, 8).triu(1) > 0, -1e9)
    program, x = exported_function(lambda x: layer(x, src_mask=mask), samples, 8, 16)
    module = prepare(import_torch(program))
    (actual,) = interpret(module, {"x": x.numpy()})
    np.testing.assert_allclose(actual, layer(x, src_mask=mask).detach(), atol=1e-5)
    dataflow = read_dataflow(module)
    assert len(find_attention(dataflow)) == 1
    assert all(len(node.shape) >= 3 for node in dataflow.nodes if node.op == "matmul")
    assert "nn.softmax" not in {node.op for node in dataflow.nodes}


def test_a_linear_layer_of_transposed_tokens_has_one_matrix():
    torch.manual_seed(0)
    layer = nn.Linear(16, 4)
    program, x = exported_function(lambda x: layer(x.transpose(1, 2)), 2, 16, 8)
    module = prepare(import_torch(program))
    (actual,) = interpret(module, {"x": x.numpy()})
    np.testing.assert_allclose(actual, layer(x.transpose(1, 2)).detach(), atol=1e-5)
    products = [n for n in read_dataflow(module).nodes if n.op == "matmul"]
    assert [n.constants[1].shape for n in products] == [(16, 4)]


def test_what_is_read_in_another_way_is_refused():
    """TVM's importer takes half pixels where PyTorch was given another scale."""
    program, x = exported_function(
        lambda x: nn.functional.interpolate(x, scale_factor=0.5, mode="bilinear"), 1, 2, 17, 17
    )
    with pytest.raises(ModelError, match="output 'output' is not what PyTorch computes"):
        import_torch(program)
    module = prepare(import_torch(program, check=False))
    (actual,) = interpret(module, {"x": x.numpy()})
    assert actual.shape == (1, 2, 8, 8)


def test_infinite_results_are_no_difference():
    program, _ = exported_function(lambda x: (x - x).log() + x, 2, 3)
    assert import_torch(program)
