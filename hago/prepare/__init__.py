"""Relax as a frontend gives it -> the canonical Relax that all later stages work on."""

from __future__ import annotations

import tvm

from hago.prepare.absorb_flatten import absorb_flatten
from hago.prepare.conv1d_to_conv2d import conv1d_to_conv2d
from hago.prepare.decompose_batch_norm import decompose_batch_norm
from hago.prepare.drop_softmax_guard import drop_softmax_guard
from hago.prepare.einsum_to_matmul import einsum_to_matmul
from hago.prepare.exact_pools import exact_pools
from hago.prepare.fold_constants import fold_constants
from hago.prepare.fold_padding import fold_padding
from hago.prepare.fold_scales import fold_scales
from hago.prepare.fuse_gelu import fuse_gelu
from hago.prepare.fuse_group_norm import fuse_group_norm
from hago.prepare.fuse_layer_norm import fuse_layer_norm
from hago.prepare.fuse_rms_norm import fuse_rms_norm
from hago.prepare.fuse_silu import fuse_silu
from hago.prepare.masks_to_sums import masks_to_sums
from hago.prepare.merge_equal_calls import merge_equal_calls
from hago.prepare.name_bindings import name_bindings
from hago.prepare.pool_to_mean import pool_to_mean
from hago.prepare.postpone_division import postpone_division
from hago.prepare.remove_identities import remove_identities
from hago.prepare.rewrite import as_pass
from hago.prepare.share_weights import share_weights
from hago.prepare.simplify_arithmetic import simplify_arithmetic
from hago.prepare.sink_reshapes import sink_reshapes
from hago.prepare.split_products import split_products
from hago.prepare.split_to_slices import split_to_slices
from hago.prepare.take_slices import take_slices
from hago.prepare.to_nhwc import to_nhwc
from hago.prepare.unfold_batches import unfold_batches
from hago.prepare.unfold_transposed_conv import unfold_transposed_conv

PASSES = (
    decompose_batch_norm,
    split_to_slices,
    einsum_to_matmul,
    take_slices,
    exact_pools,
    remove_identities,
    simplify_arithmetic,
    fold_constants,
    share_weights,
    fuse_layer_norm,
    fuse_rms_norm,
    fuse_group_norm,
    fuse_gelu,
    fuse_silu,
    unfold_batches,
    remove_identities,
    masks_to_sums,
    drop_softmax_guard,
    fold_padding,
    conv1d_to_conv2d,
    pool_to_mean,
    to_nhwc,
    fold_scales,
    unfold_transposed_conv,
    absorb_flatten,
    remove_identities,
    simplify_arithmetic,
    sink_reshapes,
    remove_identities,
    split_products,
    fold_scales,
    remove_identities,
    simplify_arithmetic,
    postpone_division,
    merge_equal_calls,
    name_bindings,
)


def prepare(module: tvm.IRModule) -> tvm.IRModule:
    """`module` in canonical form: NHWC, constants and batch norm folded, bindings named.

    One function ``main`` of one dataflow block; static shapes; standard Relax operators. Applying
    it twice gives the same module.
    """
    return tvm.transform.Sequential([as_pass(step) for step in PASSES])(module)
