"""Reference numbers for the tests, computed with PyTorch and Hugging Face transformers.

    python scripts/fixtures.py        # rewrites model/tests/fixtures/ and rl/tests/fixtures/

It is long because it has every reference number in one place, with one seed and one list of versions. The files are
committed, so the tests need neither Python nor this script. Everything is seeded and runs on one CPU thread; the
files in the repository were made with Python 3.11.7, torch 2.15.0, transformers 5.24.0, safetensors 0.8.0, numpy
2.4.6, gguf 0.19.0 (each JSON file repeats them under "versions"). All arithmetic is float32, and numbers are printed
with 9 significant digits, which name a float32 exactly.
"""

# Schema. Notation: [2][len] is a list of 2 lists whose lengths vary, [3, 7] a rectangular nested list.
#
# model/tests/fixtures/llama_tiny/   config.json, model.safetensors   LlamaForCausalLM, output matrix of its own
# model/tests/fixtures/qwen2_tiny/   config.json, model.safetensors   Qwen2ForCausalLM, tied embeddings, QKV biases
# model/tests/fixtures/qwen3_tiny/   config.json, model.safetensors   Qwen3ForCausalLM, head width 12, norms of queries and keys
# model/tests/fixtures/mistral_tiny/ config.json, two files, an index MistralForCausalLM, stored in bfloat16
# model/tests/fixtures/llama3_tiny/  config.json, model.safetensors   LlamaForCausalLM, rotation scaled as in Llama 3.1
#     Vocabulary 61, width 32, feed-forward 48, 2 layers, 4 heads over 2 key-value heads, head dimension 8, float32.
#     Norm weights are not 1 and biases not 0. The two configs differ on purpose: llama_tiny has the rotary base
#     10000 as {"rope_parameters": {"rope_theta", "rope_type"}} (transformers 5) and eps 1e-5; qwen2_tiny has
#     1000000 as a top-level "rope_theta" (transformers 4) and eps 1e-6, and names no "head_dim".
#
# model/tests/fixtures/{llama,qwen2,qwen3,mistral,llama3}_tiny.json
#     "versions"       {"python", "torch", ...}
#     "lengths"        [2]        9 and 6: tokens of each row before the padding
#     "prompt_lens"    [2]        4 and 2
#     "input_ids"      [2, 9]     right padded with 0, which is also the last real token of both rows
#     "logits"         [2][len][61]   row b, position t < lengths[b]; position t predicts token t + 1
#     "response_nll"   [2][len - prompt_len]   -log p(tokens[t] | tokens[..t]) for t in prompt_len..len
#     "response_tokens" 9         how many of them there are in the batch
#     "loss"           number     sum of response_nll / response_tokens
# model/tests/fixtures/{llama,qwen2,qwen3}_tiny_grads.safetensors
#     d loss / d parameter for every parameter of model.safetensors, under the same names (f32). With tied
#     embeddings the gradient of model.embed_tokens.weight is the sum of both of its uses.
#
# model/tests/fixtures/gguf_llama.gguf, gguf_qwen3.gguf, and .json as above with "logits" of the dequantised weights
#     Written with llama.cpp's own package. The first has the sizes of llama_tiny, a rotation that is scaled as in Llama 3.1 by 8
#     (by a tensor of factors), and matrices in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1; the second width 256, one head
#     of 8, one layer, and matrices in Q4_K, Q5_K and Q6_K made of random bytes.
#
# model/tests/fixtures/gguf_qwen2.gguf, and .json as above with biases of queries, keys and values, no width of a head, and the
#     tokenizer in its metadata; in the JSON file also
#     "texts"          [n]        what is written of them by transformers' own tokenizer of Qwen2, from the same vocabulary:
#     "text_ids"       [n][len]
#     "chat"           a message of a user in the chat template, ready for the answer
#
# rl/tests/fixtures/ppo.json       B = 3 rows, N = 7 columns, 5 logits; [3, 7] unless another shape is given
#     "versions"
#     "parameters"     {"epsilon": 0.2, "value_clip": 0.2, "gamma": 1.0, "lambda": 0.95, "whiten_eps": 1e-8}
#     "inputs"
#         "response_starts" [3], "response_ends" [3]   the response is columns start..end of its row
#         "mask"                  1.0 on the response, else 0.0
#         "log_probs", "old_log_probs", "ref_log_probs", "values", "old_values", "logits" [3, 7, 5]
#                                 arbitrary numbers also outside the mask, which must not enter anything
#         "rewards"               0 outside the mask
#         "advantages", "returns" as in "gae" below, the raw advantages and the returns of rewards and old_values
#     "gae"            {"gamma", "lambda", "advantages", "returns"}, 0 outside the mask, by the O(T^2) definition
#                          delta_t = r_t + gamma V_{t+1} - V_t   with V = 0 from response_ends on
#                          A_t = sum_{l >= 0, t + l < end} (gamma lambda)^l delta_{t+l},    R_t = A_t + V_t
#     "gae_discounted" the same with gamma 0.9, lambda 0.8; used by nothing else
#     "whitened_advantages"  (A - mean) / (sqrt(var) + whiten_eps) over the mask, var = population variance; else 0
#     "policy"         of the whitened advantages, r = exp(log_probs - old_log_probs), mean over the mask:
#         "loss"                  mean of -min(r A, clip(r, 1 - epsilon, 1 + epsilon) A)
#         "clip_fraction"         share of tokens whose clipped term is strictly the smaller: no gradient there
#         "ratio_outside_fraction" share of tokens with |r - 1| > epsilon, whether or not the clip acts
#         "ratio"                 r on the mask, else 0
#         "grad_log_probs"        d loss / d log_probs
#     "policy_raw"     the same of the raw advantages
#     "value"          v_c = old_values + clip(values - old_values, -value_clip, value_clip)
#         "loss"                  0.5 * mean of max((values - R)^2, (v_c - R)^2)
#         "clip_fraction"         share of tokens whose clipped square is strictly the larger
#         "grad_values"           d loss / d values
#     "kl_to_reference" the samples come from log_probs; d = ref_log_probs - log_probs
#         "k1", "k3"              k1 = -d, k3 = exp(d) - 1 - d on the mask, else 0
#         "k1_mean", "k3_mean"    means over the mask
#     "kl_to_old"      the samples come from old_log_probs; d = log_probs - old_log_probs; same fields
#     "entropy"        {"per_token": of softmax(logits) on the mask, else 0; "mean": over the mask}
#
# rl/tests/fixtures/adamw.json     5 steps of torch.optim.AdamW on two tensors, "a" [2, 3] and "b" [4]
#     "versions"
#     "parameters"     {"lr", "beta_1", "beta_2", "eps", "weight_decay", "max_grad_norm", "clip_eps"}
#                      Both gradients are first multiplied by min(1, max_grad_norm / (norm + clip_eps)), norm being
#                      the L2 norm over both tensors and clip_eps torch's 1e-6. Weight decay is decoupled:
#                      p <- p (1 - lr weight_decay), then the Adam step with bias corrections and
#                      sqrt(v_hat) + eps below. Both tensors decay.
#     "initial"        {"a", "b"}
#     "steps"          [5] of {"gradients": {"a", "b"} before clipping, "norm" before clipping, "values": {"a", "b"} after}

import importlib.metadata
import json
import platform
import shutil
from pathlib import Path

import gguf
import gguf.vocab
import numpy
import safetensors
import torch
import transformers
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
MODEL_FIXTURES = ROOT / "model" / "tests" / "fixtures"
RL_FIXTURES = ROOT / "rl" / "tests" / "fixtures"

VERSIONS = {
    "python": platform.python_version(),
    "torch": torch.__version__.split("+")[0],
    "transformers": transformers.__version__,
    "safetensors": safetensors.__version__,
    "numpy": numpy.__version__,
    "gguf": importlib.metadata.version("gguf"),
}


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    torch.use_deterministic_algorithms(True)
    MODEL_FIXTURES.mkdir(parents=True, exist_ok=True)
    RL_FIXTURES.mkdir(parents=True, exist_ok=True)
    shared = dict(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
        attn_implementation="eager",
    )
    llama = transformers.LlamaConfig(
        head_dim=8,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False,
        **shared,
    )
    qwen2 = transformers.Qwen2Config(
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=True,
        **shared,
    )
    qwen3 = transformers.Qwen3Config(
        head_dim=12,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=True,
        **shared,
    )
    mistral = transformers.MistralConfig(
        head_dim=8,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        sliding_window=None,
        tie_word_embeddings=False,
        **shared,
    )
    # Of four periods one is short, one long, and two lie between them.
    scaled = {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128,
    }
    llama3 = transformers.LlamaConfig(
        head_dim=8, rms_norm_eps=1e-5, rope_parameters=scaled, tie_word_embeddings=True, **{**shared, "max_position_embeddings": 256}
    )
    language_model("llama_tiny", transformers.LlamaForCausalLM(llama), seed=1)
    language_model("qwen2_tiny", transformers.Qwen2ForCausalLM(qwen2), seed=2)
    language_model("qwen3_tiny", transformers.Qwen3ForCausalLM(qwen3), seed=4)
    language_model("mistral_tiny", transformers.MistralForCausalLM(mistral), seed=5, gradients=False)
    language_model("llama3_tiny", transformers.LlamaForCausalLM(llama3), seed=6, gradients=False)
    in_two_files(MODEL_FIXTURES / "mistral_tiny")
    rope_theta_at_the_top(MODEL_FIXTURES / "qwen2_tiny" / "config.json")
    for name in ["llama_tiny", "qwen2_tiny", "qwen3_tiny", "mistral_tiny", "llama3_tiny"]:
        assert_reloads_to_the_same_logits(name)
    legacy_gguf(dict(shared))
    qwen2_gguf({**shared, "num_hidden_layers": 1})
    k_quants_gguf({**shared, "hidden_size": 256, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": 8})
    write_json(RL_FIXTURES / "ppo.json", ppo())
    write_json(RL_FIXTURES / "adamw.json", adamw())
    for path in MODEL_FIXTURES.rglob("*.safetensors"):
        # safetensors makes files that only their owner can read.
        path.chmod(0o644)


# --- language models ---


def language_model(name, model, seed, gradients=True):
    """Writes the folder `name/`, `name.json` and, with gradients, `name_grads.safetensors`."""
    generator = torch.Generator().manual_seed(seed)
    in_bfloat16 = name.startswith("mistral")
    model.float().eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            # Large enough that logits are far from uniform; norms away from 1 so that a forgotten one shows.
            noise = 0.2 * torch.randn(parameter.shape, generator=generator)
            value = 1.0 + noise if "norm" in key else noise
            parameter.copy_(value.bfloat16() if in_bfloat16 else value)
    expected = reference(model, generator)
    folder = MODEL_FIXTURES / name
    shutil.rmtree(folder, ignore_errors=True)
    (model.bfloat16() if in_bfloat16 else model).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if gradients:
        gradients = {key: parameter.grad.contiguous() for key, parameter in model.named_parameters()}
        assert gradients.keys() == load_file(folder / "model.safetensors").keys()
        save_file(gradients, MODEL_FIXTURES / f"{name}_grads.safetensors")
    write_json(MODEL_FIXTURES / f"{name}.json", expected)


def reference(model, generator):
    """Logits and loss of a model on a batch of two rows; its parameters have their gradients afterwards."""
    lengths, prompt_lens, width = [9, 6], [4, 2], 9
    input_ids = torch.randint(1, model.config.vocab_size, (2, width), generator=generator)
    for row, length in enumerate(lengths):
        # The end-of-sequence token equals the padding: a mask made from token ids would lose it.
        input_ids[row, length - 1 :] = 0
    attention_mask = torch.tensor([[1] * n + [0] * (width - n) for n in lengths])

    logits = model(input_ids=input_ids, attention_mask=attention_mask).logits
    log_probs = torch.log_softmax(logits, dim=-1)
    nll = [
        torch.stack([-log_probs[row, t - 1, input_ids[row, t]] for t in range(start, end)])
        for row, (start, end) in enumerate(zip(prompt_lens, lengths))
    ]
    response_tokens = sum(len(row) for row in nll)
    loss = torch.cat(nll).sum() / response_tokens
    loss.backward()
    return {
        "versions": VERSIONS,
        "lengths": lengths,
        "prompt_lens": prompt_lens,
        "input_ids": input_ids.tolist(),
        "logits": [numbers(logits[row, :length]) for row, length in enumerate(lengths)],
        "response_nll": [numbers(row) for row in nll],
        "response_tokens": response_tokens,
        "loss": numbers(loss),
    }


def in_two_files(folder):
    """Splits `model.safetensors` in two, with an index, as large models are published."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, part in parts.items() for name in part}
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def rope_theta_at_the_top(config_path):
    """Rewrites the rotary base into the form that most published checkpoints carry."""
    config = json.loads(config_path.read_text())
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def assert_reloads_to_the_same_logits(name):
    """The folder alone must give the numbers that were written beside it."""
    expected = json.loads((MODEL_FIXTURES / f"{name}.json").read_text())
    model = transformers.AutoModelForCausalLM.from_pretrained(
        MODEL_FIXTURES / name, attn_implementation="eager", dtype=torch.float32
    )
    for row, length in enumerate(expected["lengths"]):
        ids = torch.tensor([expected["input_ids"][row][:length]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0]
        difference = (logits - torch.tensor(expected["logits"][row])).abs().max().item()
        assert difference < 1e-5, f"{name}: the reloaded model differs by {difference}"


# --- GGUF ---

GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    *parts, kind = name.split(".")
    if parts[:2] == ["model", "layers"]:
        return f"blk.{parts[2]}.{GGUF_NAMES['.'.join(parts[3:])]}.{kind}"
    return f"{GGUF_NAMES['.'.join(parts)]}.{kind}"


def halves_to_pairs(weight, heads):
    """What llama.cpp's converter does to queries and keys of the Llama family, and its inverse."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def pairs_to_halves(weight, heads):
    return weight.reshape(heads, -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def legacy_gguf(shared):
    # Of eight periods some lie beyond 8,192 tokens.
    scaled = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    shared |= {"head_dim": 16, "max_position_embeddings": 131072}
    config = transformers.LlamaConfig(
        rms_norm_eps=1e-5, rope_parameters=scaled, tie_word_embeddings=False, **shared
    )
    model = transformers.LlamaForCausalLM(config)
    kinds = {"embed": "Q8_0", "q_proj": "Q4_0", "k_proj": "Q4_1", "v_proj": "Q5_0", "gate": "Q5_1", "up": "F16"}
    kinds |= {"o_proj": "Q8_0", "lm_head": "BF16"}
    write_gguf("gguf_llama", "llama", model, seed=7, kinds=kinds, heads={"q_proj": 4, "k_proj": 2})


def k_quants_gguf(shared):
    shared |= {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8}
    config = transformers.Qwen3Config(
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=True,
        **shared,
    )
    kinds = {"embed": "Q6_K", "q_proj": "Q4_K", "k_proj": "Q5_K", "v_proj": "Q6_K", "gate": "Q4_K", "up": "Q5_K"}
    write_gguf("gguf_qwen3", "qwen3", transformers.Qwen3ForCausalLM(config), seed=8, kinds=kinds, heads={})


CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = [
    "Question: the 12 hens lay 345 eggs.\nAnswer:",
    "it's  THE'RE\tand\r\n\n  then +7*(8-9)=<<1+1=2>> ",
    "na\u00efve nai\u0308ve \u4e09\u500b \U0001f413 \u0663\u0664",
    "the<|im_end|> then<|endoftext|>",
]


def qwen2_gguf(shared):
    merges = ["h e", "t he", "\u0120 the", "\u0120the n", "e r", "1 2", "\u0120 \u0120", "\u010a \u010a", "\u00c3 \u00af", "' s"]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = [*gguf.vocab.bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in merges), *special]
    config = transformers.Qwen2Config(
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=True,
        **shared | {"vocab_size": len(tokens)},
    )
    theirs = transformers.Qwen2Tokenizer(
        vocab={token: id for id, token in enumerate(tokens)},
        merges=[tuple(merge.split(" ")) for merge in merges],
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT,
    )
    assert theirs.convert_ids_to_tokens(range(len(tokens))) == tokens
    chat = theirs.apply_chat_template([{"role": "user", "content": TEXTS[0]}], tokenize=False, add_generation_prompt=True)
    more = {"texts": TEXTS, "text_ids": [theirs(text)["input_ids"] for text in TEXTS], "chat": chat}
    model = transformers.Qwen2ForCausalLM(config)
    kinds = {"embed": "Q8_0", "q_proj.weight": "Q8_0", "gate": "Q4_0"}
    write_gguf("gguf_qwen2", "qwen2", model, 9, kinds, heads={}, tokenizer=(tokens, merges, len(special)), more=more)


def add_tokenizer(writer, tokens, merges, special):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer.add_token_types([normal] * (len(tokens) - special) + [control] * special)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_pad_token_id(len(tokens) - special)
    writer.add_bos_token_id(len(tokens) - special)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT)


def write_gguf(name, family, model, seed, kinds, heads, tokenizer=None, more=None):
    """Writes `name.gguf`, and `name.json` of a model with the weights that the file's blocks stand for."""
    generator = torch.Generator().manual_seed(seed)
    bytes_of = numpy.random.default_rng(seed)
    config = model.float().eval().config
    writer = gguf.GGUFWriter(MODEL_FIXTURES / f"{name}.gguf", family)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    # Qwen2's own files do not say it: heads are as wide as the model allows.
    if family != "qwen2":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if tokenizer:
        add_tokenizer(writer, *tokenizer)
    else:
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(0)
    if config.rope_parameters["rope_type"] == "llama3":
        theta = config.rope_parameters["rope_theta"]
        plain = theta ** -(torch.arange(0, config.head_dim, 2).float() / config.head_dim)
        writer.add_tensor("rope_freqs.weight", (plain / model.model.rotary_emb.inv_freq).numpy())
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            noise = 0.2 * torch.randn(parameter.shape, generator=generator)
            weight = (1.0 + noise if "norm" in key else noise).numpy()
            kind = next((kind for part, kind in kinds.items() if part in key), "F32")
            kind = gguf.GGMLQuantizationType[kind]
            head_count = next((count for part, count in heads.items() if part in key), None)
            if head_count:
                weight = halves_to_pairs(weight, head_count)
            blocks = random_k_blocks(weight.shape, kind, bytes_of) if "_K" in kind.name else gguf.quantize(weight, kind)
            writer.add_tensor(gguf_name(key), blocks, raw_dtype=kind)
            meant = numpy.asarray(gguf.dequantize(blocks, kind), dtype=numpy.float32).reshape(weight.shape)
            parameter.copy_(torch.from_numpy(pairs_to_halves(meant, head_count) if head_count else meant))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    write_json(MODEL_FIXTURES / f"{name}.json", reference(model, generator) | (more or {}))


def random_k_blocks(shape, kind, bytes_of):
    """Random bytes, but for the scales in half precision, which must not be infinite or large."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = bytes_of.integers(0, 256, (shape[0], shape[1] // elements, size), dtype=numpy.uint8)
    places = {"Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [size - 2]}[kind.name]
    for place in places:
        scales = bytes_of.uniform(1e-4, 3e-4, blocks.shape[:2]).astype(numpy.float16)
        blocks[..., place : place + 2] = scales[..., None].view(numpy.uint8)
    return blocks.reshape(shape[0], -1)


# --- reinforcement learning ---


def ppo():
    generator = torch.Generator().manual_seed(3)
    rows, columns, classes = 3, 7, 5
    epsilon, value_clip, gamma, lambda_, whiten_eps = 0.2, 0.2, 1.0, 0.95, 1e-8

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    starts, ends = [0, 1, 2], [7, 5, 6]
    mask = torch.zeros(rows, columns)
    for row, (start, end) in enumerate(zip(starts, ends)):
        mask[row, start:end] = 1.0

    old_log_probs = -0.2 - normal(rows, columns).abs()
    log_probs = old_log_probs + 0.25 * normal(rows, columns)
    ref_log_probs = old_log_probs + 0.3 * normal(rows, columns)
    old_values = 0.5 * normal(rows, columns)
    values = old_values + 0.3 * normal(rows, columns)
    logits = 1.5 * normal(rows, columns, classes)
    # A small penalty on every token and the outcome on the last one, as in training; row 1 has the wrong answer.
    rewards = 0.05 * normal(rows, columns) * mask
    rewards[0, ends[0] - 1] += 1.0
    rewards[2, ends[2] - 1] += 1.0

    advantages, returns = gae(rewards, old_values, starts, ends, gamma, lambda_)
    discounted = gae(rewards, old_values, starts, ends, 0.9, 0.8)
    whitened = whiten(advantages, mask, whiten_eps)
    policy = policy_loss(log_probs, old_log_probs, whitened, mask, epsilon)
    policy_raw = policy_loss(log_probs, old_log_probs, advantages, mask, epsilon)
    value = value_loss(values, old_values, returns, mask, value_clip)
    # A fixture in which a branch is never taken would prove nothing about it.
    assert 0.0 < policy["clip_fraction"] < policy["ratio_outside_fraction"] < 1.0
    assert 0.0 < value["clip_fraction"] < 1.0

    entropy = torch.distributions.Categorical(logits=logits).entropy() * mask
    return {
        "versions": VERSIONS,
        "parameters": {
            "epsilon": epsilon,
            "value_clip": value_clip,
            "gamma": gamma,
            "lambda": lambda_,
            "whiten_eps": whiten_eps,
        },
        "inputs": {
            "response_starts": starts,
            "response_ends": ends,
            "mask": numbers(mask),
            "log_probs": numbers(log_probs),
            "old_log_probs": numbers(old_log_probs),
            "ref_log_probs": numbers(ref_log_probs),
            "values": numbers(values),
            "old_values": numbers(old_values),
            "rewards": numbers(rewards),
            "advantages": numbers(advantages),
            "returns": numbers(returns),
            "logits": numbers(logits),
        },
        "gae": {
            "gamma": gamma,
            "lambda": lambda_,
            "advantages": numbers(advantages),
            "returns": numbers(returns),
        },
        "gae_discounted": {
            "gamma": 0.9,
            "lambda": 0.8,
            "advantages": numbers(discounted[0]),
            "returns": numbers(discounted[1]),
        },
        "whitened_advantages": numbers(whitened),
        "policy": policy,
        "policy_raw": policy_raw,
        "value": value,
        "kl_to_reference": kl(ref_log_probs - log_probs, mask),
        "kl_to_old": kl(log_probs - old_log_probs, mask),
        "entropy": {"per_token": numbers(entropy), "mean": numbers(masked_mean(entropy, mask))},
    }


def gae(rewards, values, starts, ends, gamma, lambda_):
    """The double sum itself, not the backward recursion that an implementation uses."""
    advantages, returns = torch.zeros_like(rewards), torch.zeros_like(rewards)
    for row, (start, end) in enumerate(zip(starts, ends)):
        for t in range(start, end):
            total = torch.tensor(0.0)
            for u in range(t, end):
                next_value = values[row, u + 1] if u + 1 < end else 0.0
                delta = rewards[row, u] + gamma * next_value - values[row, u]
                total = total + (gamma * lambda_) ** (u - t) * delta
            advantages[row, t] = total
            returns[row, t] = total + values[row, t]
    return advantages, returns


def masked_mean(x, mask):
    return (x * mask).sum() / mask.sum()


def whiten(x, mask, eps):
    mean = masked_mean(x, mask)
    variance = masked_mean((x - mean) ** 2, mask)
    return (x - mean) / (variance.sqrt() + eps) * mask


def policy_loss(log_probs, old_log_probs, advantages, mask, epsilon):
    log_probs = log_probs.clone().requires_grad_()
    ratio = torch.exp(log_probs - old_log_probs)
    plain = ratio * advantages
    clipped = ratio.clamp(1.0 - epsilon, 1.0 + epsilon) * advantages
    loss = masked_mean(-torch.minimum(plain, clipped), mask)
    loss.backward()
    return {
        "loss": numbers(loss),
        "clip_fraction": numbers(masked_mean((clipped < plain).float(), mask)),
        "ratio_outside_fraction": numbers(masked_mean(((ratio - 1.0).abs() > epsilon).float(), mask)),
        "ratio": numbers(ratio * mask),
        "grad_log_probs": numbers(log_probs.grad),
    }


def value_loss(values, old_values, returns, mask, value_clip):
    values = values.clone().requires_grad_()
    clipped = old_values + (values - old_values).clamp(-value_clip, value_clip)
    plain_square, clipped_square = (values - returns) ** 2, (clipped - returns) ** 2
    loss = 0.5 * masked_mean(torch.maximum(plain_square, clipped_square), mask)
    loss.backward()
    return {
        "loss": numbers(loss),
        "clip_fraction": numbers(masked_mean((clipped_square > plain_square).float(), mask)),
        "grad_values": numbers(values.grad),
    }


def kl(d, mask):
    """Schulman's estimators of KL(sampler || other) from d = log other - log sampler."""
    k1, k3 = -d, torch.exp(d) - 1.0 - d
    return {
        "k1": numbers(k1 * mask),
        "k3": numbers(k3 * mask),
        "k1_mean": numbers(masked_mean(k1, mask)),
        "k3_mean": numbers(masked_mean(k3, mask)),
    }


def adamw():
    generator = torch.Generator().manual_seed(4)
    shapes = {"a": (2, 3), "b": (4,)}
    parameters = {name: torch.randn(shape, generator=generator).requires_grad_() for name, shape in shapes.items()}
    settings = {"lr": 1e-2, "beta_1": 0.9, "beta_2": 0.95, "eps": 1e-8, "weight_decay": 0.1, "max_grad_norm": 1.0}
    optimizer = torch.optim.AdamW(
        parameters.values(),
        lr=settings["lr"],
        betas=(settings["beta_1"], settings["beta_2"]),
        eps=settings["eps"],
        weight_decay=settings["weight_decay"],
    )
    result = {
        "versions": VERSIONS,
        "parameters": {**settings, "clip_eps": 1e-6},
        "initial": {name: numbers(p) for name, p in parameters.items()},
        "steps": [],
    }
    norms = []
    for scale in [1.0, 0.1, 3.0, 0.2, 0.5]:
        gradients = {name: scale * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        for name, parameter in parameters.items():
            parameter.grad = gradients[name].clone()
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), settings["max_grad_norm"])
        optimizer.step()
        norms.append(norm.item())
        result["steps"].append(
            {
                "gradients": {name: numbers(g) for name, g in gradients.items()},
                "norm": numbers(norm),
                "values": {name: numbers(p) for name, p in parameters.items()},
            }
        )
    assert min(norms) < settings["max_grad_norm"] < max(norms), "both sides of the clip must occur"
    return result


# --- files ---


def numbers(tensor):
    """Nested lists of the shortest decimals that still name each float32 exactly."""

    def shorten(x):
        return [shorten(y) for y in x] if isinstance(x, list) else float(f"{x:.9g}")

    assert torch.isfinite(tensor).all()
    return shorten(tensor.detach().float().tolist())


def write_json(path, value):
    """One top-level key a line: small, and still readable in a diff."""
    lines = [f"  {json.dumps(key)}: {json.dumps(item)}" for key, item in value.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
