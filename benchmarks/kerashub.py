"""Convert and verify small backbones of KerasHub; write docs/kerashub.md.

    pip install -c constraints.txt --no-deps --target FOLDER keras-hub kagglehub kagglesdk sentencepiece tokenizers
    PYTHONPATH=FOLDER python benchmarks/kerashub.py                 all of them
    PYTHONPATH=FOLDER python benchmarks/kerashub.py BertBackbone    these; prints, leaves the page alone

Each is made small from the options that its constructor takes, every variable random, converted, and verified with its
own and with random weights, without edge cases. Exit code 1 where one differs or raises what is no refusal.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ["KERAS_BACKEND"] = "tensorflow"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
REPORT = ROOT / "docs" / "kerashub.md"
IMAGE = (32, 32, 3)
# Options by name, for every backbone that takes them.
SMALL: dict[str, Any] = {
    "vocabulary_size": 40, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "hidden_size": 8,
    "embedding_dim": 8, "embedding_size": 8, "max_sequence_length": 24, "num_query_heads": 4, "num_key_value_heads": 2,
    "head_dim": 4, "dropout": 0.0, "num_segments": 2, "num_groups": 1, "num_inner_repetitions": 1,
    "image_shape": IMAGE, "patch_size": 8, "mlp_dim": 16, "bucket_size": 8, "sliding_window": 4,
    "sliding_window_size": 4, "use_sliding_window_attention": False, "num_experts": 4, "top_k": 2,
    "num_experts_per_tok": 2, "moe_intermediate_dim": 8, "shared_expert_intermediate_dim": 8,
    "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8, "rotary_percentage": 0.5,
    "rotary_max_wavelength": 10000, "num_mels": 8, "max_encoder_sequence_length": 32,
    "max_decoder_sequence_length": 24, "max_wavelength": 10000, "query_head_dim_normalize": True,
    "use_post_ffw_norm": False, "use_post_attention_norm": False, "num_attention_heads": 2, "hidden_dropout": 0.0,
}  # fmt: skip
VIT = {"image_shape": IMAGE, "patch_size": 8, "num_layers": 2, "num_heads": 2}
GEMMA = {"vocabulary_size": 40, "num_layers": 2, "num_query_heads": 4, "num_key_value_heads": 2, "hidden_dim": 16,
         "intermediate_dim": 32, "head_dim": 4}  # fmt: skip


class Part(NamedTuple):
    """What is an option of another backbone: made where it stands, anew for every model."""

    name: str  # of keras_hub.models or keras_hub.layers, or below keras_hub.src.models as "module:class"
    options: dict[str, Any]


RESNET = {"input_conv_filters": [8], "input_conv_kernel_sizes": [7], "stackwise_num_filters": [64, 8, 8, 8],
          "stackwise_num_blocks": [1, 1, 1, 1], "stackwise_num_strides": [1, 2, 2, 2],
          "block_type": "basic_block_vd"}  # fmt: skip
ENCODER = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
TEXT = {**ENCODER, "vocabulary_size": 40, "embedding_dim": 8, "max_sequence_length": 16}
IMAGES = {**ENCODER, "patch_size": 8, "image_shape": IMAGE}
MIT = {"layerwise_depths": [1, 1], "num_layers": 2, "layerwise_num_heads": [1, 2], "layerwise_sr_ratios": [2, 1],
       "max_drop_path_rate": 0.1, "layerwise_patch_sizes": [7, 3], "layerwise_strides": [4, 2],
       "hidden_dims": [8, 16]}  # fmt: skip
MOBILENET5 = {
    "stackwise_block_types": [["er"], ["uir", "mqa"]], "stackwise_num_blocks": [1, 2],
    "stackwise_num_filters": [[8], [16, 16]], "stackwise_strides": [[2], [2, 1]],
    "stackwise_act_layers": [["gelu"], ["gelu", "gelu"]], "stackwise_exp_ratios": [[2.0], [2.0, 2.0]],
    "stackwise_se_ratios": [[0.0], [0.0, 0.0]], "stackwise_dw_kernel_sizes": [[0], [5, 0]],
    "stackwise_dw_start_kernel_sizes": [[0], [3, 0]], "stackwise_dw_end_kernel_sizes": [[0], [0, 0]],
    "stackwise_exp_kernel_sizes": [[3], [0, 0]], "stackwise_pw_kernel_sizes": [[1], [0, 0]],
    "stackwise_num_heads": [[0], [0, 2]], "stackwise_key_dims": [[0], [0, 4]],
    "stackwise_value_dims": [[0], [0, 4]], "stackwise_kv_strides": [[0], [0, 1]],
    "stackwise_use_cpe": [[False], [False, False]], "stem_size": 8, "num_features": 16, "image_shape": IMAGE,
}  # fmt: skip
VITDET = {"hidden_size": 8, "num_layers": 2, "intermediate_dim": 16, "num_heads": 2, "patch_size": 8,
          "global_attention_layer_indices": [1], "image_shape": IMAGE, "num_output_channels": 8,
          "window_size": 2}  # fmt: skip
SMOLLM = {"vocabulary_size": 40, "hidden_dim": 8, "intermediate_dim": 16, "num_layers": 2, "num_attention_heads": 4,
          "num_key_value_heads": 2, "attention_bias": False, "attention_dropout": 0.0,
          "rope_layer_enabled_list": [True, False], "layer_types": ["attention"] * 2, "mlp_bias": False,
          "layer_norm_epsilon": 1e-5, "max_position_embeddings": 24, "rope_theta": 10000.0,
          "partial_rotary_factor": 1.0}  # fmt: skip
T5GEMMA = {"vocabulary_size": 40, "sliding_window": 4} | {
    f"{side}_{key}": value
    for side in ("encoder", "decoder")
    for key, value in {"hidden_dim": 8, "intermediate_dim": 16, "num_layers": 2, "num_attention_heads": 4,
                       "num_key_value_heads": 2, "head_dim": 4,
                       "layer_types": ["full_attention", "sliding_attention"]}.items()
}  # fmt: skip
# Options where those by name do not do.
OWN: dict[str, dict[str, Any]] = {
    "ViTBackbone": {**VIT, "hidden_dim": 8, "mlp_dim": 16},
    "DeiTBackbone": {**VIT, "hidden_dim": 8, "intermediate_dim": 16},
    "DINOV2Backbone": {**VIT, "hidden_dim": 16, "intermediate_dim": 32},
    "DINOV3Backbone": {**VIT, "hidden_dim": 16, "intermediate_dim": 32},
    "GemmaBackbone": GEMMA,
    "Gemma3Backbone": {**GEMMA, "image_size": 16},
    "VGGBackbone": {"stackwise_num_repeats": [1, 1], "stackwise_num_filters": [8, 8], "image_shape": IMAGE},
    "DenseNetBackbone": {"stackwise_num_repeats": [2, 2], "compression_ratio": 0.5, "growth_rate": 4,
                         "image_shape": IMAGE},
    "SwinTransformerBackbone": {"image_shape": IMAGE, "patch_size": 4, "embed_dim": 8, "depths": [2, 2],
                                "num_heads": [2, 2], "window_size": 4},
    "XceptionBackbone": {"stackwise_conv_filters": [[8, 8], [8, 8]], "stackwise_pooling": [True, False],
                         "image_shape": IMAGE},
    "ResNetBackbone": {"input_conv_filters": [64], "input_conv_kernel_sizes": [7], "stackwise_num_filters": [64, 8],
                       "stackwise_num_blocks": [1, 2], "stackwise_num_strides": [1, 2], "block_type": "basic_block",
                       "use_pre_activation": True, "image_shape": IMAGE},
    "CSPNetBackbone": {"stem_filters": 8, "stem_kernel_size": 3, "stem_strides": 1, "stackwise_depth": [1, 2],
                       "stackwise_strides": [2, 2], "stackwise_num_filters": [16, 32], "block_type": "dark_block",
                       "stage_type": "csp", "bottle_ratio": (0.5, 1.0), "block_ratio": (1.0, 0.5),
                       "expand_ratio": (2.0, 1.0), "stem_padding": "same", "image_shape": IMAGE},
    "HGNetV2Backbone": {"depths": [1, 2], "embedding_size": 8, "hidden_sizes": [16, 24], "stem_channels": [3, 8, 8],
                        "hidden_act": "relu", "use_learnable_affine_block": True,
                        "stackwise_stage_filters": [(8, 8, 16, 1, 2, 3), (16, 8, 24, 2, 2, 3)],
                        "apply_downsample": [False, True], "use_lightweight_conv_block": [False, True],
                        "image_shape": IMAGE},
    "EfficientNetBackbone": {
        "stackwise_kernel_sizes": [3, 5], "stackwise_num_repeats": [1, 2], "stackwise_input_filters": [8, 8],
        "stackwise_output_filters": [8, 16], "stackwise_expansion_ratios": [1, 2], "stackwise_strides": [1, 2],
        "stackwise_squeeze_and_excite_ratios": [0.0, 0.25], "stackwise_block_types": ["fused", "unfused"],
        "stackwise_width_coefficients": [1.0, 1.0], "stackwise_depth_coefficients": [1.0, 1.0], "num_features": 16,
        "input_shape": IMAGE},
    "MobileNetBackbone": {
        "stackwise_expansion": [[16], [16, 24]], "stackwise_num_blocks": [1, 2],
        "stackwise_num_filters": [[8], [16, 16]], "stackwise_kernel_size": [[3], [5, 5]],
        "stackwise_num_strides": [[2], [2, 1]], "stackwise_se_ratio": [[None], [0.25, 0.25]],
        "stackwise_activation": [["relu"], ["hard_swish", "hard_swish"]], "stackwise_padding": [[1], [2, 2]],
        "output_num_filters": 24, "depthwise_filters": 8, "depthwise_stride": 2, "depthwise_residual": False,
        "last_layer_filter": 24, "squeeze_and_excite": 0.5, "input_num_filters": 8, "image_shape": IMAGE},
    "MiTBackbone": {**MIT, "image_shape": IMAGE},
    "ElectraBackbone": {**ENCODER, "vocab_size": 40, "embedding_dim": 8, "max_sequence_length": 24},
    "EdRecBackbone": {"vocab_size": 40, "num_layers_enc": 1, "num_layers_dec": 1, "hidden_dim": 8,
                      "intermediate_dim": 16, "num_heads": 2},
    "SmolLMBackbone": {**SMOLLM, "rope_layer_enabled_list": [True, True]},
    "SmolLM3Backbone": SMOLLM,
    "RWKV7Backbone": {"hidden_size": 8, "head_size": 4, "num_layers": 2, "vocabulary_size": 40,
                      "intermediate_dim": 16, "gate_lora": 4, "mv_lora": 4, "aaa_lora": 4, "decay_lora": 4},
    "RoformerV2Backbone": {**ENCODER, "vocabulary_size": 40, "head_size": 4},
    "ViTDetBackbone": VITDET,
    "CLIPBackbone": {"vision_encoder": Part("CLIPVisionEncoder", IMAGES),
                     "text_encoder": Part("CLIPTextEncoder", TEXT), "projection_dim": 8},
    "MetaCLIP2Backbone": {"vision_encoder": Part("MetaCLIP2VisionEncoder", IMAGES),
                          "text_encoder": Part("MetaCLIP2TextEncoder", TEXT), "projection_dim": 8},
    "SigLIPBackbone": {"vision_encoder": Part("SigLIPVisionEncoder", IMAGES),
                       "text_encoder": Part("SigLIPTextEncoder", TEXT)},
    "T5GemmaBackbone": T5GEMMA,
    "T5Gemma2Backbone": T5GEMMA,
    "PaliGemmaBackbone": {**GEMMA, "image_size": 16, "vit_patch_size": 8, "vit_num_heads": 2, "vit_hidden_dim": 8,
                          "vit_num_layers": 2, "vit_intermediate_dim": 16},
    "MoonshineBackbone": {"vocabulary_size": 40, "filter_dim": 8, "encoder_num_layers": 1, "decoder_num_layers": 1,
                          "hidden_dim": 8, "intermediate_dim": 16, "encoder_num_heads": 2, "decoder_num_heads": 2},
    "DeepLabV3Backbone": {"image_encoder": Part("ResNetBackbone", RESNET), "spatial_pyramid_pooling_key": "P5",
                          "upsampling_size": 8, "dilation_rates": [2, 3], "low_level_feature_key": "P2",
                          "projection_filters": 8, "image_shape": (64, 64, 3)},
    "BASNetBackbone": {"image_encoder": Part("ResNetBackbone", RESNET), "num_classes": 2, "projection_filters": 8,
                       "image_shape": (64, 64, 3)},
    "RetinaNetBackbone": {"image_encoder": Part("ResNetBackbone", RESNET), "min_level": 3, "max_level": 6,
                          "use_p5": True, "image_shape": (64, 64, 3)},
    "SegFormerBackbone": {"image_encoder": Part("MiTBackbone", {**MIT, "image_shape": IMAGE}),
                          "projection_filters": 8},
    "DepthAnythingBackbone": {
        "image_encoder": Part("DINOV2Backbone", {**VIT, "patch_size": 4, "num_layers": 4, "hidden_dim": 16,
                                                 "intermediate_dim": 32}),
        "reassemble_factors": [4, 2, 1, 0.5], "neck_hidden_dims": [8, 8, 16, 16], "fusion_hidden_dim": 8,
        "head_hidden_dim": 8, "head_in_index": -1, "feature_keys": ["stage1", "stage2", "stage3", "stage4"]},
    "PARSeqBackbone": {"image_encoder": Part("ViTBackbone", {**VIT, "hidden_dim": 8, "mlp_dim": 16}),
                       "vocabulary_size": 40, "max_label_length": 16, "decoder_hidden_dim": 8,
                       "num_decoder_layers": 1, "num_decoder_heads": 2, "decoder_mlp_dim": 16},
    "MobileNetV5Backbone": {**MOBILENET5, "msfa_output_resolution": 4},
    "VideoPrismBackbone": {"num_frames": 2, "patch_size": 8, "hidden_dim": 8, "intermediate_dim": 16, "num_heads": 2,
                           "num_spatial_layers": 1, "num_temporal_layers": 1, "num_auxiliary_layers": 1,
                           "vocabulary_size": 40, "num_text_layers": 1, "image_shape": IMAGE},
    "FluxBackbone": {"input_channels": 8, "hidden_size": 16, "mlp_ratio": 2.0, "num_heads": 2, "depth": 1,
                     "depth_single_blocks": 1, "axes_dim": [2, 2, 4], "theta": 10000, "use_bias": True,
                     "guidance_embed": True, "image_shape": (4, 8), "text_shape": (4, 8), "image_ids_shape": (4, 3),
                     "text_ids_shape": (4, 3), "y_shape": (8,)},
    "Gemma4Backbone": {**GEMMA, "image_size": 16, "sliding_window_size": 4, "num_layers": 3,
                       "layer_types": ["sliding_attention", "full_attention", "full_attention"],
                       "hidden_size_per_layer_input": 4, "num_kv_shared_layers": 1},
    "Gemma3nBackbone": {
        "text_vocab_size": 40, "text_hidden_size": 8, "num_hidden_layers": 2, "pad_token_id": 0,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "intermediate_size": [16, 16],
        "hidden_activation": "gelu_approximate", "layer_types": ["full_attention", "sliding_attention"],
        "sliding_window": 4, "rope_theta": 10000.0, "max_position_embeddings": 24, "vocab_size_per_layer_input": 40,
        "hidden_size_per_layer_input": 2, "altup_num_inputs": 2, "laurel_rank": 2},
    "BLIP2Backbone": {
        "vision_encoder": Part("BLIP2VisionEncoder", {
            **ENCODER, "image_size": 32, "patch_size": 8, "use_patch_bias": True, "use_class_token": True,
            "use_mha_bias": True, "use_mlp_bias": True, "dropout_rate": 0.0, "layer_norm_epsilon": 1e-6,
            "initializer_range": 0.02}),
        "qformer": Part("BLIP2QFormer", {
            **ENCODER, "num_query_tokens": 4, "vision_dim": 8, "cross_attention_frequency": 2, "dropout": 0.0,
            "layer_norm_epsilon": 1e-12}),
        "language_model": Part("blip2.blip2_custom_opt:BLIP2CustomOPT", {
            **ENCODER, "vocabulary_size": 40, "num_query_tokens": 4, "dropout": 0.0, "max_sequence_length": 24,
            "qformer_hidden_dim": 8})},
    "StableDiffusion3Backbone": {
        "mmdit_patch_size": 2, "mmdit_hidden_dim": 8, "mmdit_num_layers": 2, "mmdit_num_heads": 2,
        "mmdit_position_size": 8, "mmdit_qk_norm": "rms_norm", "mmdit_dual_attention_indices": (0,),
        "vae": Part("vae.vae_backbone:VAEBackbone", {
            "encoder_num_filters": [32] * 4, "encoder_num_blocks": [1] * 4, "decoder_num_filters": [32] * 4,
            "decoder_num_blocks": [1] * 4, "sampler_method": "mode"}),
        "clip_l": Part("CLIPTextEncoder", {**TEXT, "intermediate_output_index": 0, "name": "clip_l"}),
        "clip_g": Part("CLIPTextEncoder", {**TEXT, "intermediate_output_index": 0, "name": "clip_g"}),
        "image_shape": (64, 64, 3)},
    "DFineBackbone": {
        "backbone": Part("HGNetV2Backbone", {
            "depths": [1, 1, 1], "embedding_size": 8, "hidden_sizes": [16, 16, 24], "stem_channels": [3, 8, 8],
            "hidden_act": "relu", "use_learnable_affine_block": True,
            "stackwise_stage_filters": [(8, 8, 16, 1, 2, 3), (16, 8, 16, 1, 2, 3), (16, 8, 24, 1, 2, 3)],
            "apply_downsample": [False, True, True], "use_lightweight_conv_block": [False, False, True],
            "image_shape": (64, 64, 3), "out_features": ["stage2", "stage3"]}),
        "decoder_in_channels": [8, 8], "encoder_hidden_dim": 8, "num_labels": 4, "num_denoising": 0,
        "learn_initial_query": False, "num_queries": 5, "anchor_image_size": (64, 64), "feat_strides": [8, 16],
        "num_feature_levels": 2, "hidden_dim": 8, "encoder_in_channels": [16, 24], "encode_proj_layers": [1],
        "num_attention_heads": 2, "encoder_ffn_dim": 16, "num_encoder_layers": 1, "hidden_expansion": 0.5,
        "depth_multiplier": 0.5, "eval_idx": -1, "num_decoder_layers": 2, "decoder_attention_heads": 2,
        "decoder_ffn_dim": 16, "decoder_n_points": [2, 2], "lqe_hidden_dim": 8, "num_lqe_layers": 2, "seed": 0,
        "out_features": ["stage2", "stage3"], "image_shape": (64, 64, 3)},
    "SAMBackbone": {
        "image_encoder": Part("ViTDetBackbone", VITDET),
        "prompt_encoder": Part("SAMPromptEncoder", {"hidden_size": 8, "image_embedding_size": (4, 4),
                                                    "input_image_size": (32, 32), "mask_in_channels": 4}),
        "mask_decoder": Part("SAMMaskDecoder", {
            "num_layers": 1, "hidden_size": 8, "intermediate_dim": 16, "num_heads": 2, "embedding_dim": 8,
            "num_multimask_outputs": 3, "iou_head_depth": 2, "iou_head_hidden_dim": 8})},
    "SAM3PromptableConceptBackbone": {
        "vision_encoder": Part("SAM3VisionEncoder", {
            **IMAGES, "fpn_hidden_dim": 8, "fpn_scale_factors": [4.0, 2.0, 1.0, 0.5], "window_size": 2,
            "pretrain_image_shape": (16, 16, 3), "global_attn_indexes": [1]}),
        "text_encoder": Part("SAM3TextEncoder", TEXT),
        "geometry_encoder": Part("SAM3GeometryEncoder", {**ENCODER, "roi_size": 3}),
        "detr_encoder": Part("SAM3DetrEncoder", ENCODER),
        "detr_decoder": Part("SAM3DetrDecoder", {**IMAGES, "num_queries": 5}),
        "mask_decoder": Part("SAM3MaskDecoder", {"num_upsampling_stages": 3, "hidden_dim": 8, "num_heads": 2})},
}  # fmt: skip
# Lengths of inputs that are free but not just any: of those of a model that is verified with a batch of its own.
LENGTHS = {"MoonshineBackbone": {"encoder_input_values": 1024, "encoder_padding_mask": 1024}}


def backbones() -> list[str]:
    import keras_hub

    bases = {"Backbone", "FeaturePyramidBackbone"}
    return [name for name in dir(keras_hub.models) if name.endswith("Backbone") and name not in bases]


def made(option: Any) -> Any:
    import keras_hub

    if not isinstance(option, Part):
        return option
    module, _, name = option.name.rpartition(":")
    if module:
        place = importlib.import_module(f"keras_hub.src.models.{module}")
    else:
        place = keras_hub.models if hasattr(keras_hub.models, name) else keras_hub.layers
    return getattr(place, name)(**{key: made(value) for key, value in option.options.items()})


def build(name: str) -> Any:
    """A small one. Raises TypeError or ValueError where the options that are known do not build it."""
    import keras_hub

    cls = getattr(keras_hub.models, name)
    taken = inspect.signature(cls.__init__).parameters
    options = OWN.get(name, {key: value for key, value in SMALL.items() if key in taken})
    return cls(**{key: made(value) for key, value in options.items()})


def batch(model: Any, lengths: dict[str, int]) -> list[Any]:
    """One for the model's inputs in their order; where no length is given, a free one is 6."""
    import numpy as np

    random, arrays = np.random.default_rng(0), []
    for x in model.inputs:
        shape = (2, *(lengths.get(x.name, 6) if size is None else size for size in x.shape[1:]))
        if x.dtype == "int32":
            arrays.append(random.integers(0, 2 if "mask" in x.name else 40, shape, "int32"))
        else:
            arrays.append(random.normal(size=shape).astype(x.dtype))
    return arrays


def measured(names: list[str]) -> Iterator[dict[str, Any]]:
    import keras

    import k2t_core as k2t
    from k2t_core.keras_side.randomise import randomise

    for name in names:
        keras.backend.clear_session()
        try:
            model = build(name)
        except (TypeError, ValueError):
            yield {"name": name, "end": "not built"}
            continue
        randomise(model)
        row = {"name": name, "layers": len(model.layers), "parameters": model.count_params()}
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                conversion = k2t.convert(model, folder)
                row |= {"lines": len(conversion.code.text.splitlines())}
                own = batch(model, LENGTHS[name]) if name in LENGTHS else None
                report = k2t.verify(folder, model, inputs=own, edge_cases=False)
                worst = max(output.difference.relative for run in report.runs for output in run.outputs)
                row |= {"end": "agrees" if report.passed and report.proves else report.verdict, "worst": worst}
            except k2t.K2TError as error:
                row |= {"end": f"refused: {error}"}
            except Exception as error:  # what this is here to find
                row |= {"end": f"raises {type(error).__name__}: {error}"}
        yield row | {"seconds": time.perf_counter() - start}


def reason(end: str) -> str:
    """Why one was refused, without the ways out."""
    line = " ".join(end.replace("\x1b[1m", "").replace("\x1b[0m", "").split())
    inner = line.partition("k2t could not open it: ")[2] or line.removeprefix("refused: ")
    return inner.strip(" )").replace("|", "/")[:160]


def table(rows: list[dict[str, Any]]) -> str:
    import keras_hub

    built = [row for row in rows if row["end"] != "not built"]
    left = [row["name"] for row in rows if row["end"] == "not built"]
    agree = [row for row in built if row["end"] == "agrees"]
    lines = [
        "# KerasHub",
        "",
        f"Written by `python benchmarks/kerashub.py`, keras-hub {keras_hub.__version__}. Small backbones with random "
        "variables, converted and verified with their own and with random weights. Of "
        f"{len(rows)} backbones {len(built)} are built here; **{len(agree)} of {len(built)} convert and agree**.",
        "",
        "| backbone | layers | parameters | lines | largest relative difference | seconds |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in agree:
        lines.append(
            f"| {row['name']} | {row['layers']} | {row['parameters']:,} | {row['lines']} | {row['worst']:.1e} | "
            f"{row['seconds']:.1f} |"
        )
    lines += ["", "## The others", "", *(f"- {row['name']}: {reason(row['end'])}" for row in built if row not in agree)]
    if left:
        lines += ["", "## Not built here, for want of options that the script knows", "", f"{', '.join(left)}."]
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    rows = []
    for row in measured(options.names or backbones()):
        rows.append(row)
        print(f"{row['name']}: {row['end'][:200]}", flush=True)
    text = table(rows)
    if not options.names:
        REPORT.write_text(text, encoding="utf-8")
    return int(any(row["end"].startswith(("differs", "raises")) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
