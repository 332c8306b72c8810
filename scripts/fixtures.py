"""Reference numbers for the tests, computed with PyTorch and Hugging Face transformers.

    python scripts/fixtures.py        # rewrites model/tests/fixtures/ and rl/tests/fixtures/

The files are committed, so the tests need neither Python nor this script. Everything is seeded and runs on one
CPU thread; the files in the repository were made with Python 3.11.7, torch 2.15.0, transformers 5.23.0,
safetensors 0.8.0, numpy 2.4.6 (each JSON file repeats them under "versions"). All arithmetic is float32,
and numbers are printed with 9 significant digits, which name a float32 exactly.
"""

# Schema. Notation: [2][len] is a list of 2 lists whose lengths vary, [3, 7] a rectangular nested list.
#
# model/tests/fixtures/llama_tiny/   config.json, model.safetensors   LlamaForCausalLM, output matrix of its own
# model/tests/fixtures/qwen2_tiny/   config.json, model.safetensors   Qwen2ForCausalLM, tied embeddings, QKV biases
#     Vocabulary 61, width 32, feed-forward 48, 2 layers, 4 heads over 2 key-value heads, head dimension 8, float32.
#     Norm weights are not 1 and biases not 0. The two configs differ on purpose: llama_tiny has the rotary base
#     10000 as {"rope_parameters": {"rope_theta", "rope_type"}} (transformers 5) and eps 1e-5; qwen2_tiny has
#     1000000 as a top-level "rope_theta" (transformers 4) and eps 1e-6, and names no "head_dim".
#
# model/tests/fixtures/{llama,qwen2}_tiny.json
#     "versions"       {"python", "torch", ...}
#     "lengths"        [2]        9 and 6: tokens of each row before the padding
#     "prompt_lens"    [2]        4 and 2
#     "input_ids"      [2, 9]     right padded with 0, which is also the last real token of both rows
#     "logits"         [2][len][61]   row b, position t < lengths[b]; position t speaks of token t + 1
#     "response_nll"   [2][len - prompt_len]   -log p(tokens[t] | tokens[..t]) for t in prompt_len..len
#     "response_tokens" 9         how many of them there are in the batch
#     "loss"           number     sum of response_nll / response_tokens
# model/tests/fixtures/{llama,qwen2}_tiny_grads.safetensors
#     d loss / d parameter for every parameter of model.safetensors, under the same names (f32). With tied
#     embeddings the gradient of model.embed_tokens.weight is the sum of both of its uses.
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

import json
import platform
import shutil
from pathlib import Path

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
    language_model("llama_tiny", transformers.LlamaForCausalLM(llama), seed=1)
    language_model("qwen2_tiny", transformers.Qwen2ForCausalLM(qwen2), seed=2)
    rope_theta_at_the_top(MODEL_FIXTURES / "qwen2_tiny" / "config.json")
    for name in ["llama_tiny", "qwen2_tiny"]:
        assert_reloads_to_the_same_logits(name)
    write_json(RL_FIXTURES / "ppo.json", ppo())
    write_json(RL_FIXTURES / "adamw.json", adamw())
    for path in MODEL_FIXTURES.rglob("*.safetensors"):
        # safetensors makes files that only their owner can read.
        path.chmod(0o644)


# --- language models ---


def language_model(name, model, seed):
    """Writes the folder `name/`, `name.json` and `name_grads.safetensors`."""
    generator = torch.Generator().manual_seed(seed)
    model.float().eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            # Large enough that logits are far from uniform; norms away from 1 so that a forgotten one shows.
            noise = 0.2 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1.0 + noise if "norm" in key else noise)

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

    folder = MODEL_FIXTURES / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    gradients = {key: parameter.grad.contiguous() for key, parameter in model.named_parameters()}
    assert gradients.keys() == load_file(folder / "model.safetensors").keys()
    save_file(gradients, MODEL_FIXTURES / f"{name}_grads.safetensors")
    write_json(
        MODEL_FIXTURES / f"{name}.json",
        {
            "versions": VERSIONS,
            "lengths": lengths,
            "prompt_lens": prompt_lens,
            "input_ids": input_ids.tolist(),
            "logits": [numbers(logits[row, :length]) for row, length in enumerate(lengths)],
            "response_nll": [numbers(row) for row in nll],
            "response_tokens": response_tokens,
            "loss": numbers(loss),
        },
    )


def rope_theta_at_the_top(config_path):
    """Rewrites the rotary base into the form that most published checkpoints carry."""
    config = json.loads(config_path.read_text())
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def assert_reloads_to_the_same_logits(name):
    """The folder alone must give the numbers that were written beside it."""
    expected = json.loads((MODEL_FIXTURES / f"{name}.json").read_text())
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL_FIXTURES / name, attn_implementation="eager")
    for row, length in enumerate(expected["lengths"]):
        ids = torch.tensor([expected["input_ids"][row][:length]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0]
        difference = (logits - torch.tensor(expected["logits"][row])).abs().max().item()
        assert difference < 1e-5, f"{name}: the reloaded model differs by {difference}"


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
