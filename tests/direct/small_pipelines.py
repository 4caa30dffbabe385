"""Small random models of other families' real classes, and what their calls are given."""

from __future__ import annotations

import small_wan
import torch


def tokenizer_and_encoder(width: int = 24):
    """T5 over the words of `small_wan`; what LTX, CogVideoX, Allegro and Mochi encode with."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -8.0)]
    vocabulary += [(f"▁{word}", -2.0) for word in small_wan.WORDS]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=6,
        d_ff=32,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
    )
    return tokenizer, T5EncoderModel(config).eval()


LTX_SCHEDULER = {  # as LTX-Video is released
    "use_dynamic_shifting": True,
    "base_image_seq_len": 1024,
    "max_image_seq_len": 4096,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "shift_terminal": 0.1,
}


def build_ltx():
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )

    torch.manual_seed(0)
    tokenizer, encoder = tokenizer_and_encoder()
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1,) * 5,
        decoder_block_out_channels=(8, 8, 8, 8),
        decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=(True, True, False, False),
        patch_size=1,
        patch_size_t=1,
        decoder_spatio_temporal_scaling=(True, True, False, False),
        encoder_causal=True,
        decoder_causal=False,
    ).eval()
    vae.latents_mean.copy_(torch.linspace(-0.3, 0.3, 8))
    vae.latents_std.copy_(torch.linspace(0.5, 2.0, 8))
    transformer = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=2,
        caption_channels=24,
    ).eval()
    return LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**LTX_SCHEDULER),
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        transformer=transformer,
    )


def cogvideox():
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXDDIMScheduler,
        CogVideoXPipeline,
        CogVideoXTransformer3DModel,
    )

    tokenizer, encoder = tokenizer_and_encoder(32)
    vae = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=1,
        sample_width=2,
        sample_height=2,
        sample_frames=9,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=16,
    )
    return CogVideoXPipeline(tokenizer, encoder, vae, transformer, CogVideoXDDIMScheduler())


def allegro():
    from diffusers import (
        AllegroPipeline,
        AllegroTransformer3DModel,
        AutoencoderKLAllegro,
        DDIMScheduler,
    )

    tokenizer, encoder = tokenizer_and_encoder(32)
    vae = AutoencoderKLAllegro(
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
        sample_size=32,
    )
    transformer = AllegroTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        cross_attention_dim=24,
        sample_width=4,
        sample_height=4,
        sample_frames=6,
        caption_channels=32,
    )
    return AllegroPipeline(tokenizer, encoder, vae, transformer, DDIMScheduler())


def mochi():
    from diffusers import (
        AutoencoderKLMochi,
        FlowMatchEulerDiscreteScheduler,
        MochiPipeline,
        MochiTransformer3DModel,
    )

    tokenizer, encoder = tokenizer_and_encoder(32)
    vae = AutoencoderKLMochi(
        latent_channels=12,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    transformer = MochiTransformer3DModel(
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        in_channels=12,
        text_embed_dim=32,
        time_embed_dim=4,
        max_sequence_length=16,
    )
    return MochiPipeline(FlowMatchEulerDiscreteScheduler(), vae, encoder, tokenizer, transformer)


SMALL = {  # what a test gives in place of the pipeline's defaults
    "cogvideox-2b": (cogvideox, {"height": 16, "width": 16, "num_frames": 9}),
    "cogvideox-5b": (cogvideox, {"height": 16, "width": 16, "num_frames": 9}),
    "ltx-video": (build_ltx, {"height": 32, "width": 32, "num_frames": 9}),
    "allegro": (allegro, {"height": 32, "width": 32, "num_frames": 24}),
    "mochi": (mochi, {"height": 16, "width": 16, "num_frames": 7}),
    "wan2.1-t2v-1.3b": (None, {"height": 16, "width": 16, "num_frames": 5}),
    "wan2.1-t2v-14b": (None, {"height": 16, "width": 16, "num_frames": 5}),
}
