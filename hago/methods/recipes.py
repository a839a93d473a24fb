"""The named recipes, as a table: methods in order, each where the model's structure asks for it.

What works for convolutions does not for transformers: BRECQ's recipe collapses on vision
transformers at W4A4 (Z. Li et al., RepQ-ViT, arXiv 2212.08254, table 2). So a row has a situation,
a test of :class:`hago.methods.facts.Facts`. A new finding is a new row or a changed word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hago.methods.facts import Facts


@dataclass(frozen=True)
class Situation:
    """When a row counts: ``holds`` decides, ``about`` says it in general, ``told`` of a model."""

    holds: Callable[[Facts], bool]
    about: str
    told: str

    def tell(self, facts: Facts) -> str:
        """``told`` with the facts in place of their names."""
        return self.told.format(**vars(facts))


_BITS, _FEW = "weights of {weight_bits} bits", 6


SITUATIONS: Mapping[str, Situation] = {
    "always": Situation(lambda f: True, "any model", ""),
    "low bits": Situation(
        lambda f: f.weight_bits <= _FEW, f"weights have at most {_FEW} bits", _BITS
    ),
    "under 8 bits": Situation(
        lambda f: f.weight_bits < 8, "weights have fewer than 8 bits, or the machine's have", _BITS
    ),
    "high bits": Situation(
        lambda f: f.weight_bits > _FEW, f"weights have more than {_FEW} bits", _BITS
    ),
    "high bits, depthwise": Situation(
        lambda f: f.weight_bits > _FEW and f.depthwise > 0,
        f"weights have more than {_FEW} bits and some convolutions are depthwise",
        _BITS + ", {depthwise} depthwise convolutions",
    ),
    "high bits, convolutions": Situation(
        lambda f: f.weight_bits > _FEW and f.convolutions > f.products,
        f"weights have more than {_FEW} bits and layers are convolutions for the most part",
        _BITS + ", {convolutions} convolutions",
    ),
    "attention": Situation(
        lambda f: f.attentions > 0, "there is attention", "{attentions} attentions"
    ),
    "low bits, products": Situation(
        lambda f: f.weight_bits <= _FEW and f.convolutions <= f.products,
        f"weights have at most {_FEW} bits and layers are products for the most part",
        _BITS + ", {products} products",
    ),
}


@dataclass(frozen=True)
class Pick:
    """A method as text, with options where they differ from the defaults, and when it counts.

    ``why`` is what it is good for there.
    """

    method: str
    why: str
    when: str = "always"


@dataclass(frozen=True)
class Recipe:
    """A named list of methods; ``about`` is one line for the user."""

    name: str
    about: str
    picks: tuple[Pick, ...]


_SCALED = Pick("os_plus", "scales down channels that stand out, where a prediction says it pays")
_SCALED_WIDE = replace(_SCALED, when="high bits")
# MiniLM, 4 bits in groups of 32: what scaling wins is small beside the error of such weights, but
# of the activations' error it is much: 21.4 to 28.2 dB, 16.9 to 18.0 dB with the weights.
_SCALED_NARROW = Pick("os_plus(gain=1.05)", "scales down channels that stand out, even for little",
                      "low bits, products")  # fmt: skip
_SPLIT = Pick("channel_splitting(scales=True)",
              "splits wide layers' channels that stand out, and those that scaling cannot pay for")
_EVEN = Pick("smooth_attention", "evens out queries, keys and values, for nothing at run time",
             "attention")  # fmt: skip
_RANGES = Pick("mse", "ranges with the least squared error")
_PIVOTS = Pick("intact_pivots", "tokens that are the same in every sample get exact codes",
               "attention")  # fmt: skip
_NARROW = Pick("weight_mse", "narrow weights are better clipped than rounded coarsely", "low bits")
# EfficientNet-Lite0: 1.7 dB at 4 bits, 1.2 dB at 7.
_SCALES = Pick("weight_output", "scales of weights by what a layer gives", "under 8 bits")
# Damped ten times as much as in GPTQ: few samples tell less of what inputs have in common than a
# corpus. Of weights' errors alone that wins 0.3 to 0.6 dB on EfficientNet-Lite0 with 8 bits, 0.1
# with 4 bits, 0.1 to 0.2 on MiniLM. Three times as much again loses it.
_ROUNDED = Pick("obc(damping=0.1)",
                "rounds weights by what they multiply, from calibration alone")  # fmt: skip
# EfficientNet-Lite0: 0.5 dB; PP-OCR's recogniser, whose pages are white: up to 9 dB. MiniLM: 0.1.
# With weights of 4 bits it costs 3.9 dB of EfficientNet-Lite0: most of what is wrong in the mean
# is wrong where a ReLU cuts it off.
_MEANS = Pick("bias_correction(shrink=True)", "takes out of biases what is wrong in the mean",
              "high bits, convolutions")  # fmt: skip

DEFAULT = "balanced"
RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("fast", "ranges only: one pass over the data", (_RANGES, _NARROW)),
        Recipe("balanced", "the default: no gradients, seconds to a minute more than 'fast'",
               (_SPLIT, _SCALED_WIDE, _SCALED_NARROW, _EVEN, _RANGES, _PIVOTS, _NARROW, _SCALES,
                _ROUNDED, _MEANS)),
        Recipe(
            "best",
            "the most accurate; rounds narrow weights layer by layer, in minutes, with PyTorch",
            (
                _SPLIT,
                _SCALED_WIDE,
                _SCALED_NARROW,
                _EVEN,
                _RANGES,
                _PIVOTS,
                _NARROW,
                Pick("weight_output", "finds a scale that suits the few weights of a channel",
                     "high bits, depthwise"),
                # EfficientNet-Lite0, W8A8, in the mean of three draws of samples: 25.85 dB with the
                # scales, 25.74 without them. gptaq gave 23.2 dB when obc gave 25.1.
                replace(_ROUNDED, why="at 8 bits learned rounding wins nothing over it",
                        when="high bits"),
                # EfficientNet-Lite0, W4A8: 11.8 dB. brecq behind it won nothing when it was 11.2.
                Pick("gptaq", "rounds each layer so that it mends what those before it did",
                     "low bits"),
                _MEANS,
            ),
        ),
        Recipe("ada_round_paper", "Nagel et al., arXiv 2004.10568: learned rounding, by layers",
               (_RANGES, _NARROW, Pick("ada_round", "section 3"))),
        Recipe("ada_quant_paper", "Hubara et al., arXiv 2006.10518: weights and steps learned",
               (_RANGES, Pick("ada_quant", "section 3"))),
        Recipe("ada_quant_light_paper", "Hubara et al., arXiv 2006.10518: statistics tuned",
               (_RANGES, _NARROW, Pick("batch_norm_tuning", "section 3.4"))),
        Recipe("brecq_paper", "Li et al., arXiv 2102.05426: learned rounding, by blocks",
               (_RANGES, _NARROW, Pick("brecq", "section 3"))),
        Recipe("gptq_paper", "Frantar et al., arXiv 2210.17323: weights one column at a time",
               (_RANGES, Pick("gptq", "section 3"))),
        Recipe("gptaq_paper", "Y. Li et al., arXiv 2504.02692: GPTQ that mends earlier layers",
               (_RANGES, Pick("gptaq", "section 4"))),
        Recipe("os_plus_paper", "Wei et al., arXiv 2304.09145: shifted and scaled channels",
               (_SCALED, _RANGES)),
        Recipe("smooth_quant_paper", "Xiao et al., arXiv 2211.10438: ranges moved to weights",
               (Pick("smooth_quant", "section 4"), Pick("min_max", "section 5"))),
        Recipe("lapq_paper", "Nahshan et al., arXiv 1911.07190: ranges that lose least together",
               (_NARROW, Pick("lapq", "algorithm 1"))),
        Recipe("noisy_quant_paper", "Liu et al., arXiv 2211.16056: a noise before rounding",
               (Pick("noisy_quant", "equations 5 and 6"), _RANGES)),
        Recipe("data_free_paper", "Nagel et al., arXiv 1906.04721: equalized, biases corrected",
               (Pick("equalize", "section 4.1"), Pick("min_max", "section 5"),
                Pick("bias_correction", "section 4.2"))),
        Recipe("splitting_paper", "Zhao et al., arXiv 1901.09504: outlying channels split",
               (Pick("channel_splitting", "section 3"), _RANGES)),
        Recipe("multipoint_paper", "Liu et al., arXiv 2002.09049: costly channels in several parts",
               (Pick("multipoint", "its greedy sums"), _RANGES, _NARROW)),
        Recipe("hago_paper", "HAGO, arXiv 2103.14949: mean extremes, rounding to nearest",
               (Pick("mean", "the paper's own ranges"),)),
    )
}  # fmt: skip
