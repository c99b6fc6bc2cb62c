"""What a tensor's name says, on names of real checkpoints."""

from __future__ import annotations

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.fields import Kind, Part
from mergegraph.naming import Role, layer_counts, renumbered, role, under_embedding

# name, kind, part, tower, layer; "-" is none.
TABLE = """
# Llama, Mistral
model.embed_tokens.weight                                           embedding  -     -  -
model.layers.0.self_attn.q_proj.weight                              attention  q     model.layers  0
model.layers.31.self_attn.k_proj.weight                             attention  k     model.layers  31
model.layers.31.self_attn.v_proj.weight                             attention  v     model.layers  31
model.layers.7.self_attn.o_proj.weight                              attention  o     model.layers  7
model.layers.7.self_attn.rotary_emb.inv_freq                        attention  -     model.layers  7
model.layers.7.mlp.gate_proj.weight                                 mlp        gate  model.layers  7
model.layers.7.mlp.up_proj.weight                                   mlp        up    model.layers  7
model.layers.7.mlp.down_proj.weight                                 mlp        down  model.layers  7
model.layers.7.input_layernorm.weight                               norm       -     model.layers  7
model.layers.7.post_attention_layernorm.weight                      norm       -     model.layers  7
model.norm.weight                                                   norm       -     -  -
lm_head.weight                                                      head       -     -  -
model.rotary_emb.inv_freq                                           other      -     -  -
# Llama as its authors store it; InternLM 2
tok_embeddings.weight                                               embedding  -     -  -
layers.0.attention.wq.weight                                        attention  q     layers  0
layers.0.attention.wo.weight                                        attention  o     layers  0
layers.0.feed_forward.w1.weight                                     mlp        gate  layers  0
layers.0.feed_forward.w2.weight                                     mlp        down  layers  0
layers.0.feed_forward.w3.weight                                     mlp        up    layers  0
layers.0.ffn_norm.weight                                            norm       -     layers  0
output.weight                                                       head       -     -  -
model.layers.3.attention.wqkv.weight                                attention  -     model.layers  3
# Llama 4, gpt-oss
language_model.model.layers.1.feed_forward.router.weight            expert     -     language_model.model.layers  1
language_model.model.layers.1.feed_forward.experts.gate_up_proj     expert     -     language_model.model.layers  1
language_model.model.layers.1.feed_forward.experts.down_proj        expert     down  language_model.model.layers  1
language_model.model.layers.1.feed_forward.shared_expert.up_proj.weight  expert  up  language_model.model.layers  1
model.layers.4.mlp.experts.gate_up_proj_blocks                      expert     -     model.layers  4
model.layers.4.mlp.experts.down_proj_bias                           expert     down  model.layers  4
model.layers.4.mlp.router.bias                                      expert     -     model.layers  4
model.layers.4.self_attn.sinks                                      attention  -     model.layers  4
# Qwen
model.layers.2.self_attn.q_proj.bias                                attention  q     model.layers  2
model.layers.2.self_attn.q_norm.weight                              norm       -     model.layers  2
transformer.h.2.attn.c_attn.weight                                  attention  -     transformer.h  2
transformer.h.2.mlp.w1.weight                                       mlp        -     transformer.h  2
transformer.h.2.mlp.c_proj.weight                                   mlp        down  transformer.h  2
visual.patch_embed.proj.weight                                      embedding  -     -  -
visual.blocks.5.attn.qkv.weight                                     attention  -     visual.blocks  5
visual.blocks.5.attn.proj.bias                                      attention  o     visual.blocks  5
visual.merger.ln_q.weight                                           norm       -     -  -
visual.merger.mlp.0.weight                                          mlp        -     -  -
# Gemma
model.layers.9.pre_feedforward_layernorm.weight                     norm       -     model.layers  9
model.layers.9.post_feedforward_layernorm.weight                    norm       -     model.layers  9
model.layers.9.self_attn.k_norm.weight                              norm       -     model.layers  9
# Phi-3
model.layers.9.self_attn.qkv_proj.weight                            attention  -     model.layers  9
model.layers.9.mlp.gate_up_proj.weight                              mlp        -     model.layers  9
# Mixtral, Qwen MoE, Granite MoE, DBRX
model.layers.1.block_sparse_moe.gate.weight                         expert     -     model.layers  1
model.layers.1.block_sparse_moe.experts.3.w1.weight                 expert     gate  model.layers  1
model.layers.1.block_sparse_moe.experts.3.w2.weight                 expert     down  model.layers  1
model.layers.1.block_sparse_moe.experts.7.w3.weight                 expert     up    model.layers  1
model.layers.1.mlp.gate.weight                                      expert     -     model.layers  1
model.layers.1.mlp.experts.59.gate_proj.weight                      expert     gate  model.layers  1
model.layers.1.mlp.shared_expert.down_proj.weight                   expert     down  model.layers  1
model.layers.1.mlp.shared_expert_gate.weight                        expert     -     model.layers  1
model.layers.1.block_sparse_moe.input_linear.weight                 expert     -     model.layers  1
transformer.blocks.1.ffn.router.layer.weight                        expert     -     transformer.blocks  1
transformer.blocks.1.ffn.experts.mlp.v1                             expert     up    transformer.blocks  1
# DeepSeek
model.layers.60.self_attn.q_a_proj.weight                           attention  q     model.layers  60
model.layers.60.self_attn.q_b_proj.weight                           attention  q     model.layers  60
model.layers.60.self_attn.kv_a_proj_with_mqa.weight                 attention  -     model.layers  60
model.layers.60.self_attn.kv_b_proj.weight                          attention  -     model.layers  60
model.layers.60.self_attn.kv_a_layernorm.weight                     norm       -     model.layers  60
model.layers.60.mlp.shared_experts.gate_proj.weight                 expert     gate  model.layers  60
model.layers.60.mlp.gate.e_score_correction_bias                    expert     -     model.layers  60
model.layers.61.embed_tokens.weight                                 embedding  -     model.layers  61
model.layers.61.shared_head.head.weight                             head       -     model.layers  61
model.layers.61.enorm.weight                                        norm       -     model.layers  61
model.layers.61.eh_proj.weight                                      other      -     model.layers  61
# GPT-2
wte.weight                                                          embedding  -     -  -
transformer.wpe.weight                                              embedding  -     -  -
h.0.attn.c_attn.weight                                              attention  -     h  0
h.0.attn.c_proj.weight                                              attention  o     h  0
transformer.h.11.mlp.c_fc.bias                                      mlp        up    transformer.h  11
transformer.h.11.mlp.c_proj.weight                                  mlp        down  transformer.h  11
h.0.ln_1.weight                                                     norm       -     h  0
transformer.ln_f.bias                                               norm       -     -  -
score.weight                                                        head       -     -  -
# GPT-NeoX, Pythia, BLOOM, Falcon, GPT-J, CodeGen, MPT, EXAONE, OLMo
gpt_neox.embed_in.weight                                            embedding  -     -  -
embed_out.weight                                                    head       -     -  -
gpt_neox.layers.5.attention.query_key_value.weight                  attention  -     gpt_neox.layers  5
gpt_neox.layers.5.attention.dense.bias                              attention  o     gpt_neox.layers  5
gpt_neox.layers.5.mlp.dense_h_to_4h.weight                          mlp        up    gpt_neox.layers  5
gpt_neox.layers.5.mlp.dense_4h_to_h.weight                          mlp        down  gpt_neox.layers  5
gpt_neox.final_layer_norm.weight                                    norm       -     -  -
transformer.word_embeddings_layernorm.weight                        norm       -     -  -
transformer.h.4.self_attention.query_key_value.weight               attention  -     transformer.h  4
transformer.h.4.self_attention.dense.weight                         attention  o     transformer.h  4
transformer.h.4.ln_attn.weight                                      norm       -     transformer.h  4
transformer.h.4.attn.out_proj.weight                                attention  o     transformer.h  4
transformer.h.4.mlp.fc_in.weight                                    mlp        up    transformer.h  4
transformer.h.4.mlp.fc_out.bias                                     mlp        down  transformer.h  4
transformer.h.4.attn.qkv_proj.weight                                attention  -     transformer.h  4
transformer.blocks.4.attn.Wqkv.weight                               attention  -     transformer.blocks  4
transformer.blocks.4.ffn.up_proj.weight                             mlp        up    transformer.blocks  4
transformer.h.4.mlp.c_fc_0.weight                                   mlp        gate  transformer.h  4
transformer.h.4.attn.attention.q_proj.weight                        attention  q     transformer.h  4
model.transformer.blocks.4.ff_out.weight                            mlp        down  model.transformer.blocks  4
model.transformer.ff_out.weight                                     head       -     -  -
# Phi, OPT
model.layers.8.self_attn.dense.weight                               attention  o     model.layers  8
model.decoder.layers.8.fc1.weight                                   mlp        up    model.decoder.layers  8
model.decoder.layers.8.fc2.bias                                     mlp        down  model.decoder.layers  8
model.decoder.layers.8.self_attn_layer_norm.weight                  norm       -     model.decoder.layers  8
model.decoder.embed_positions.weight                                embedding  -     -  -
# ChatGLM
transformer.embedding.word_embeddings.weight                        embedding  -     -  -
transformer.rotary_pos_emb.inv_freq                                 other      -     -  -
transformer.encoder.layers.8.self_attention.dense.weight            attention  o     transformer.encoder.layers  8
transformer.output_layer.weight                                     head       -     -  -
# Mamba, RWKV, Jamba
backbone.embeddings.weight                                          embedding  -     -  -
backbone.layers.8.mixer.in_proj.weight                              other      -     backbone.layers  8
backbone.layers.8.mixer.A_log                                       other      -     backbone.layers  8
backbone.layers.8.mixer.conv1d.bias                                 other      -     backbone.layers  8
backbone.layers.8.norm.weight                                       norm       -     backbone.layers  8
backbone.norm_f.weight                                              norm       -     -  -
backbone.layers.8.mixer.q_proj.weight                               attention  q     backbone.layers  8
model.layers.8.mamba.out_proj.weight                                other      -     model.layers  8
emb.weight                                                          embedding  -     -  -
blocks.8.ffn.key.weight                                             mlp        -     blocks  8
blocks.8.att.key.weight                                             attention  k     blocks  8
# BERT, RoBERTa, DistilBERT, ALBERT, DeBERTa, ELECTRA, ModernBERT, XLNet
bert.embeddings.word_embeddings.weight                              embedding  -     -  -
bert.embeddings.token_type_embeddings.weight                        embedding  -     -  -
bert.embeddings.LayerNorm.weight                                    norm       -     -  -
bert.encoder.layer.6.attention.self.query.weight                    attention  q     bert.encoder.layer  6
bert.encoder.layer.6.attention.self.value.bias                      attention  v     bert.encoder.layer  6
bert.encoder.layer.6.attention.output.dense.weight                  attention  o     bert.encoder.layer  6
bert.encoder.layer.6.attention.output.LayerNorm.gamma               norm       -     bert.encoder.layer  6
bert.encoder.layer.6.intermediate.dense.weight                      mlp        up    bert.encoder.layer  6
bert.encoder.layer.6.output.dense.weight                            mlp        down  bert.encoder.layer  6
bert.encoder.layer.6.output.LayerNorm.weight                        norm       -     bert.encoder.layer  6
bert.pooler.dense.weight                                            other      -     -  -
cls.predictions.decoder.weight                                      head       -     -  -
cls.predictions.bias                                                head       -     -  -
cls.predictions.transform.dense.weight                              head       -     -  -
cls.predictions.transform.LayerNorm.weight                          norm       -     -  -
cls.seq_relationship.bias                                           head       -     -  -
lm_head.dense.weight                                                head       -     -  -
lm_head.layer_norm.weight                                           norm       -     -  -
qa_outputs.weight                                                   head       -     -  -
classifier.out_proj.weight                                          head       -     -  -
distilbert.transformer.layer.5.attention.q_lin.weight               attention  q     distilbert.transformer.layer  5
distilbert.transformer.layer.5.attention.out_lin.weight             attention  o     distilbert.transformer.layer  5
distilbert.transformer.layer.5.ffn.lin1.weight                      mlp        up    distilbert.transformer.layer  5
distilbert.transformer.layer.5.sa_layer_norm.weight                 norm       -     distilbert.transformer.layer  5
vocab_projector.bias                                                head       -     -  -
encoder.albert_layer_groups.0.albert_layers.0.ffn_output.weight mlp down encoder.albert_layer_groups 0
encoder.albert_layer_groups.0.albert_layers.0.attention.key.weight attention k encoder.albert_layer_groups 0
deberta.encoder.layer.2.attention.self.query_proj.weight            attention  q     deberta.encoder.layer  2
deberta.encoder.rel_embeddings.weight                               embedding  -     -  -
discriminator_predictions.dense.weight                              head       -     -  -
layers.2.mlp.Wi.weight                                              mlp        -     layers  2
layers.2.attn.Wo.weight                                             attention  o     layers  2
transformer.layer.3.rel_attn.q                                      attention  q     transformer.layer  3
transformer.layer.3.ff.layer_2.bias                                 mlp        down  transformer.layer  3
# ViT, DINOv2, Swin, timm, ResNet
vit.embeddings.cls_token                                            embedding  -     -  -
vit.embeddings.patch_embeddings.projection.weight                   embedding  -     -  -
vit.encoder.layer.0.attention.attention.query.weight                attention  q     vit.encoder.layer  0
vit.encoder.layer.0.attention.output.dense.bias                     attention  o     vit.encoder.layer  0
vit.encoder.layer.0.intermediate.dense.weight                       mlp        up    vit.encoder.layer  0
vit.encoder.layer.0.layernorm_before.weight                         norm       -     vit.encoder.layer  0
classifier.weight                                                   head       -     -  -
classifier.2.weight                                                 head       -     -  -
encoder.layer.0.layer_scale1.lambda1                                other      -     encoder.layer  0
cls_token                                                           embedding  -     -  -
pos_embed                                                           embedding  -     -  -
blocks.3.attn.proj.weight                                           attention  o     blocks  3
blocks.3.mlp.fc2.weight                                             mlp        down  blocks  3
blocks.3.norm1.weight                                               norm       -     blocks  3
head.fc.weight                                                      head       -     -  -
layers.2.blocks.5.attn.relative_position_bias_table                 attention  -     layers  2
layer1.0.conv1.weight                                               other      -     layer1  0
layer1.0.bn1.running_mean                                           norm       -     layer1  0
fc.weight                                                           head       -     -  -
# CLIP, SigLIP, LLaVA
text_model.embeddings.position_embedding.weight                     embedding  -     -  -
vision_model.embeddings.class_embedding                             embedding  -     -  -
vision_model.pre_layrnorm.weight                                    norm       -     -  -
vision_model.encoder.layers.4.self_attn.out_proj.weight             attention  o     vision_model.encoder.layers  4
vision_model.encoder.layers.4.layer_norm2.bias                      norm       -     vision_model.encoder.layers  4
text_model.encoder.layers.4.mlp.fc1.weight                          mlp        up    text_model.encoder.layers  4
visual_projection.weight                                            other      -     -  -
text_projection.weight                                              other      -     -  -
logit_scale                                                         other      -     -  -
visual.transformer.resblocks.4.attn.in_proj_weight                  attention  -     visual.transformer.resblocks  4
visual.transformer.resblocks.4.ln_2.weight                          norm       -     visual.transformer.resblocks  4
visual.attnpool.q_proj.weight                                       attention  q     -  -
multi_modal_projector.linear_1.weight                               other      -     -  -
# T5, Switch, BART
shared.weight                                                       embedding  -     -  -
encoder.block.0.layer.0.SelfAttention.q.weight                      attention  q     encoder.block  0
encoder.block.0.layer.0.SelfAttention.o.weight                      attention  o     encoder.block  0
encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight  attention  -   encoder.block  0
encoder.block.0.layer.0.layer_norm.weight                           norm       -     encoder.block  0
encoder.block.3.layer.1.DenseReluDense.wi.weight                    mlp        up    encoder.block  3
encoder.block.3.layer.1.DenseReluDense.wi_0.weight                  mlp        gate  encoder.block  3
encoder.block.3.layer.1.DenseReluDense.wi_1.weight                  mlp        up    encoder.block  3
encoder.block.3.layer.1.DenseReluDense.wo.weight                    mlp        down  encoder.block  3
decoder.block.3.layer.1.EncDecAttention.k.weight                    attention  k     decoder.block  3
decoder.block.3.layer.2.mlp.router.classifier.weight                expert     -     decoder.block  3
decoder.block.3.layer.2.mlp.experts.expert_0.wi.weight              expert     up    decoder.block  3
model.shared.weight                                                 embedding  -     -  -
final_logits_bias                                                   head       -     -  -
classification_head.out_proj.weight                                 head       -     -  -
# Whisper, wav2vec 2
model.encoder.conv1.weight                                          other      -     -  -
model.encoder.embed_positions.weight                                embedding  -     -  -
model.decoder.layers.2.encoder_attn.v_proj.weight                   attention  v     model.decoder.layers  2
model.decoder.layers.2.encoder_attn_layer_norm.weight               norm       -     model.decoder.layers  2
proj_out.weight                                                     head       -     -  -
encoder.blocks.2.attn.query.weight                                  attention  q     encoder.blocks  2
encoder.blocks.2.attn_ln.weight                                     norm       -     encoder.blocks  2
wav2vec2.feature_extractor.conv_layers.2.conv.weight other - wav2vec2.feature_extractor.conv_layers 2
wav2vec2.encoder.layers.2.feed_forward.intermediate_dense.weight    mlp        up    wav2vec2.encoder.layers  2
# diffusion: UNet, VAE, DiT, Flux, SD 3
conv_in.weight                                                      other      -     -  -
time_embedding.linear_1.weight                                      embedding  -     -  -
down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight   attention  q     down_blocks  0
down_blocks.2.attentions.1.transformer_blocks.0.attn2.to_out.0.weight  attention  o  down_blocks  2
down_blocks.2.attentions.1.transformer_blocks.0.ff.net.0.proj.weight  mlp      -     down_blocks  2
down_blocks.2.attentions.1.transformer_blocks.0.ff.net.2.weight     mlp        down  down_blocks  2
down_blocks.2.attentions.1.transformer_blocks.0.norm3.weight        norm       -     down_blocks  2
down_blocks.2.attentions.1.proj_in.weight                           other      -     down_blocks  2
down_blocks.2.resnets.0.time_emb_proj.weight                        other      -     down_blocks  2
up_blocks.3.resnets.2.conv_shortcut.weight                          other      -     up_blocks  3
mid_block.attentions.0.transformer_blocks.0.attn1.to_v.weight       attention  v     -  -
conv_norm_out.weight                                                norm       -     -  -
first_stage_model.encoder.down.1.block.0.norm1.weight               norm       -     first_stage_model.encoder.down  1
model.diffusion_model.input_blocks.4.0.emb_layers.1.weight other - model.diffusion_model.input_blocks 4
x_embedder.proj.weight                                              embedding  -     -  -
t_embedder.mlp.0.weight                                             embedding  -     -  -
blocks.9.adaLN_modulation.1.weight                                  other      -     blocks  9
transformer_blocks.9.norm1.linear.weight                            other      -     transformer_blocks  9
transformer_blocks.9.attn.norm_added_k.weight                       norm       -     transformer_blocks  9
transformer_blocks.9.attn.add_q_proj.weight                         attention  q     transformer_blocks  9
transformer_blocks.9.attn.to_add_out.bias                           attention  o     transformer_blocks  9
transformer_blocks.9.ff_context.net.2.bias                          mlp        down  transformer_blocks  9
single_transformer_blocks.20.proj_mlp.weight                        mlp        up    single_transformer_blocks  20
single_transformer_blocks.20.proj_out.weight                        other      -     single_transformer_blocks  20
double_blocks.9.img_attn.norm.query_norm.scale                      norm       -     double_blocks  9
joint_blocks.9.x_block.attn.qkv.weight                              attention  -     joint_blocks  9
# integers that number no layers, and names that say little
lm_heads.0.weight                                                   head       -     -  -
mlp.experts.3.w1.weight                                             expert     gate  -  -
0.auto_model.encoder.layer.3.attention.self.query.weight              attention  q     -  -
encoder.layers.2.linear1.weight                                     mlp        up    encoder.layers  2
net.0.weight                                                        other      -     -  -
weight                                                              other      -     -  -
model.layers.99999999999.mlp.up_proj.weight                         mlp        up    -  -
"""

ROWS = [line.split() for line in TABLE.splitlines() if line and not line.startswith("#")]
NAMES = [row[0] for row in ROWS]
KINDS: tuple[Kind, ...] = typing.get_args(Kind)
PARTS: tuple[Part, ...] = typing.get_args(Part)


def test_the_table_is_large_and_has_no_row_twice():
    assert len(set(NAMES)) == len(NAMES) >= 120


@pytest.mark.parametrize(("name", "kind", "part", "tower", "layer"), ROWS, ids=NAMES)
def test_a_real_name_has_the_role_a_person_would_say(name: str, kind: str, part: str, tower: str, layer: str):
    said = role(name)
    expected = (kind, part.strip("-") or None, tower.strip("-"), None if layer == "-" else int(layer))
    assert (said.kind, said.part, said.tower, said.layer) == expected


def test_the_table_has_every_kind_and_part():
    assert {role(name).kind for name in NAMES} == set(KINDS)
    assert {role(name).part for name in NAMES} == {*PARTS, None}


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith((".weight", ".bias"))])
def test_a_bias_has_the_role_of_its_module(name: str):
    module = name.rpartition(".")[0]
    assert role(f"{module}.bias") == role(f"{module}.weight")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("blocks.0.attn.q_bias", "q"),  # EVA keeps q's and v's biases beside a fused qkv
        ("blocks.0.attn.v_bias", "v"),
        ("layers.0.self_attn.in_proj_bias", None),  # torch's own fused attention
    ],
)
def test_a_bias_named_like_a_parameter_has_the_role_of_its_module(name: str, part: str | None):
    assert (role(name).kind, role(name).part) == ("attention", part)


@pytest.mark.parametrize(
    "suffix", [".weight", ".weight_scale_inv", ".qweight", ".lora_A.weight", ".base_layer.weight", ".scales"]
)
def test_what_is_stored_beside_a_weight_has_its_role(suffix: str):
    assert role(f"model.layers.3.mlp.down_proj{suffix}") == Role("mlp", "down", "model.layers", 3)


def test_layer_counts_are_the_highest_layer_plus_one_of_each_tower():
    names = [
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.12.mlp.up_proj.weight",
        "model.layers.5.mlp.experts.63.up_proj.weight",
        "visual.blocks.6.norm1.weight",
        "classifier.2.weight",
    ]
    assert layer_counts(names) == {"model.layers": 13, "visual.blocks": 7}
    assert layer_counts(reversed(names)) == {"model.layers": 13, "visual.blocks": 7}


@pytest.mark.parametrize("name", [name for name in NAMES if role(name).layer is not None])
def test_renumbering_changes_the_layer_and_nothing_else(name: str):
    moved, before = renumbered(name, 4321), role(name)
    assert role(moved) == Role(before.kind, before.part, before.tower, 4321)
    assert renumbered(moved, before.layer or 0) == name


@pytest.mark.parametrize("name", ["lm_head.weight", "classifier.2.weight", "mlp.experts.3.w1"])
def test_a_tensor_in_no_layer_cannot_be_renumbered(name: str):
    with pytest.raises(ValueError, match=name):
        renumbered(name, 1)


@pytest.mark.parametrize(
    ("name", "under"),
    [
        ("model.embed_tokens.weight", True),
        ("bert.embeddings.LayerNorm.weight", True),  # its kind is norm, its place is the entrance
        ("transformer.word_embeddings_layernorm.weight", True),
        ("embed_out.weight", False),  # NeoX's head
        ("model.norm.weight", False),
        ("model.rotary_emb.inv_freq", False),
    ],
)
def test_under_embedding_is_about_the_place_not_the_kind(name: str, under: bool):
    assert under_embedding(name) is under


_WORDS = sorted({component for name in NAMES for component in name.split(".")})


@given(st.lists(st.sampled_from(_WORDS) | st.text(max_size=6), max_size=9).map(".".join))
def test_any_name_has_a_role(name: str):
    said = role(name)
    assert said.kind in KINDS
    assert said.part is None or said.kind in ("attention", "mlp", "expert")
    assert (said.layer is None) == (said.tower == "")
    if said.layer is not None:
        assert role(renumbered(name, said.layer + 1)).layer == said.layer + 1
