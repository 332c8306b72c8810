"""Reference numbers of preference optimisation, computed by TRL's own losses, and of model extrapolation, computed by numpy.

    python scripts/fixtures_trl.py        # rewrites rl/tests/fixtures/{preference,extrapolation}.json

It stands beside fixtures.py because only this script needs TRL. The files are committed, so the tests need neither Python nor this
script. No model takes part in the losses: TRL's trainers receive fixed log-probabilities of tokens in place of a model's outputs.
The files in the repository were made with the versions that they repeat under "versions".
"""

# Schema, of P = 5 pairs whose completions have different lengths.
#
# rl/tests/fixtures/preference.json
#     "versions"       {"python", "torch", "trl", ...}
#     "parameters"     {"beta", "label_smoothing", "simpo_beta", "simpo_margin", "desirable_weight", "undesirable_weight"}
#     "inputs"         "chosen", "rejected", "ref_chosen", "ref_rejected" [P]   sums of the tokens' log-probabilities
#                      "chosen_tokens", "rejected_tokens" [P]                   numbers of tokens
#                      "mismatched_gains" [2 P]   log π - log π_ref of other questions' completions, for KTO
#     "losses"         by name: {"loss": the mean over the pairs, "grad_chosen", "grad_rejected" [P]: its derivatives by the sums}
#         "sigmoid", "hinge"        DPOTrainer
#         "ipo"                     DPOTrainer, which divides a completion's log-ratio by its number of tokens
#         "ipo_sums"                eq. 17 of the paper on sums: CPOTrainer's "ipo", which takes log-probabilities as they are given
#         "smoothed"                CPOTrainer's "sigmoid" of the log-ratios: TRL's DPOTrainer has no cDPO. Its "robust" is another loss
#         "simpo", "simpo_smoothed" CPOTrainer
#         "kto"                     KTOTrainer: the chosen completions are desirable, the rejected ones not; also "reference_point"
#         "kto_clamped"             the same of the negated mismatched_gains, whose mean is below 0
#
# rl/tests/fixtures/extrapolation.json
#     θ₁ + α (θ₁ - θ₀) of model/tests/fixtures/{llama_tiny, mistral_tiny}, two models of one shape, by numpy in float64
#     "alpha"
#     "tensors"        by name: {"first": 6 values, "sum": of all, "absolute": sum of the absolute values}

import collections
import types

import numpy
import torch
import trl
from fixtures import MODEL_FIXTURES, RL_FIXTURES, VERSIONS, numbers, write_json
from safetensors.torch import load_file
from trl.experimental.cpo import CPOTrainer

VERSIONS = {**{name: VERSIONS[name] for name in ["python", "torch", "transformers", "numpy"]}, "trl": trl.__version__}

BETA, LABEL_SMOOTHING, SIMPO_BETA, SIMPO_MARGIN = 0.3, 0.15, 2.0, 0.7
DESIRABLE_WEIGHT, UNDESIRABLE_WEIGHT = 1.0, 1.25
CHOSEN_TOKENS, REJECTED_TOKENS, PROMPT = [7, 3, 5, 9, 4], [4, 6, 5, 2, 8], 2


def main():
    torch.set_num_threads(1)
    write_json(RL_FIXTURES / "preference.json", preference())
    write_json(RL_FIXTURES / "extrapolation.json", extrapolation(0.5))


def preference():
    generator = torch.Generator().manual_seed(5)
    lengths = CHOSEN_TOKENS + REJECTED_TOKENS
    # Column t speaks of token t + 1, as in TRL; a completion begins after the prompt.
    mask = torch.zeros(len(lengths), PROMPT + max(lengths))
    for row, length in enumerate(lengths):
        mask[row, PROMPT : PROMPT + length] = 1
    shape = (len(lengths), mask.shape[1] - 1)
    tokens = -torch.rand(shape, generator=generator).mul(1.5) * mask[:, 1:]
    reference = (tokens + 2.0 * torch.randn(shape, generator=generator) * mask[:, 1:]).sum(1)
    mismatched = torch.randn(len(lengths), generator=generator) + 0.4
    assert mismatched.mean() > 0, "the clamp must be idle in one case"
    half = len(CHOSEN_TOKENS)
    sums = tokens.sum(1)
    margins = (sums - reference)[:half] - (sums - reference)[half:]
    assert margins.min() < 0 and margins.max() > 1 / BETA, "both sides of the hinge must occur"
    averages = torch.tensor(lengths, dtype=torch.float32)
    ratios = lambda leaf: leaf - reference
    means = lambda leaf: leaf / averages
    losses = {
        "sigmoid": dpo("sigmoid", tokens, reference, mask),
        "hinge": dpo("hinge", tokens, reference, mask),
        "ipo": dpo("ipo", tokens, reference, mask),
        "ipo_sums": cpo("ipo", sums, ratios, BETA, 0.0),
        "smoothed": cpo("sigmoid", sums, ratios, BETA, LABEL_SMOOTHING),
        "simpo": cpo("simpo", sums, means, SIMPO_BETA, 0.0),
        "simpo_smoothed": cpo("simpo", sums, means, SIMPO_BETA, LABEL_SMOOTHING),
        "kto": kto(tokens, reference, mask, mismatched),
        "kto_clamped": kto(tokens, reference, mask, -mismatched),
    }
    return {
        "versions": VERSIONS,
        "parameters": {
            "beta": BETA,
            "label_smoothing": LABEL_SMOOTHING,
            "simpo_beta": SIMPO_BETA,
            "simpo_margin": SIMPO_MARGIN,
            "desirable_weight": DESIRABLE_WEIGHT,
            "undesirable_weight": UNDESIRABLE_WEIGHT,
        },
        "inputs": {
            "chosen": numbers(sums[:half]),
            "rejected": numbers(sums[half:]),
            "ref_chosen": numbers(reference[:half]),
            "ref_rejected": numbers(reference[half:]),
            "chosen_tokens": CHOSEN_TOKENS,
            "rejected_tokens": REJECTED_TOKENS,
            "mismatched_gains": numbers(mismatched),
        },
        "losses": losses,
    }


def result(loss, gradient, **more):
    half = len(gradient) // 2
    return {
        "loss": numbers(loss),
        "grad_chosen": numbers(gradient[:half]),
        "grad_rejected": numbers(gradient[half:]),
        **more,
    }


def by_the_sum(gradient, mask):
    """The derivative by a sum is that by each of its terms, which are all the same."""
    first = torch.stack([row[kept.bool()][0] for row, kept in zip(gradient, mask[:, 1:])])
    assert torch.equal(gradient * mask[:, 1:], first[:, None] * mask[:, 1:])
    return first


def trainer(**more):
    """What a trainer's `_compute_loss` reads of the trainer itself."""
    accelerator = types.SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x)
    return types.SimpleNamespace(
        accelerator=accelerator,
        model=types.SimpleNamespace(training=True),
        beta=BETA,
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        label_smoothing=0.0,
        _metrics=collections.defaultdict(lambda: collections.defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        **more,
    )


def outputs(log_probs):
    other = torch.zeros_like(log_probs)
    return types.SimpleNamespace(log_probs=log_probs, entropy=other, mean_logits=other, is_top1=other.bool())


def dpo(loss_type, tokens, reference, mask):
    leaf = tokens.clone().requires_grad_()
    half = len(tokens) // 2
    stub = trainer(
        loss_types=[loss_type], loss_weights=[1.0], ld_alpha=None, f_divergence_type="reverse_kl", use_weighting=False
    )
    inputs = {
        "input_ids": torch.zeros(mask.shape, dtype=torch.long),
        "attention_mask": torch.ones(mask.shape, dtype=torch.long),
        "completion_mask": mask.long(),
        "ref_chosen_logps": reference[:half],
        "ref_rejected_logps": reference[half:],
    }
    loss = trl.DPOTrainer._compute_loss(stub, lambda **_: outputs(leaf * mask[:, 1:]), inputs, False)
    loss.backward()
    return result(loss, by_the_sum(leaf.grad, mask))


def cpo(loss_type, sums, of_sums, beta, label_smoothing):
    leaf = sums.clone().requires_grad_()
    chosen, rejected = of_sums(leaf).chunk(2)
    stub = types.SimpleNamespace(
        alpha=0.0,
        accelerator=types.SimpleNamespace(device="cpu"),
        loss_type=loss_type,
        beta=beta,
        simpo_gamma=SIMPO_MARGIN,
        label_smoothing=label_smoothing,
    )
    loss = CPOTrainer.cpo_loss(stub, chosen, rejected)[0].mean()
    loss.backward()
    return result(loss, leaf.grad)


def kto(tokens, reference, mask, mismatched):
    leaf = tokens.clone().requires_grad_()
    half = len(tokens) // 2
    stub = trainer(
        loss_type="kto",
        calculate_KL=True,
        desirable_weight=DESIRABLE_WEIGHT,
        undesirable_weight=UNDESIRABLE_WEIGHT,
        # The log-probabilities under the policy; those under the reference are 0.
        _compute_kl_logps=lambda model, batch: mismatched,
    )
    inputs = {
        "input_ids": torch.zeros(mask.shape, dtype=torch.long),
        "attention_mask": torch.ones(mask.shape, dtype=torch.long),
        "completion_mask": mask.long(),
        "label": torch.tensor([True] * half + [False] * half),
        "ref_logps": reference,
        "ref_KL_logps": torch.zeros(len(tokens)),
    }
    loss = trl.KTOTrainer._compute_loss(stub, lambda **_: outputs(leaf * mask[:, 1:]), inputs, False)
    loss.backward()
    return result(loss, by_the_sum(leaf.grad, mask), reference_point=numbers(torch.tensor(stub._metrics["train"]["kl"][0])))


def extrapolation(alpha):
    def tensors(name):
        parts = sorted((MODEL_FIXTURES / name).glob("*.safetensors"))
        merged = {key: tensor for part in parts for key, tensor in load_file(part).items()}
        return {key: tensor.float().numpy().astype(numpy.float64) for key, tensor in merged.items()}

    before, after = tensors("llama_tiny"), tensors("mistral_tiny")
    assert before.keys() == after.keys()
    summaries = {}
    for name in sorted(after):
        # What is written is float32.
        values = (after[name] + alpha * (after[name] - before[name])).astype(numpy.float32).astype(numpy.float64).ravel()
        summaries[name] = {
            "first": [float(f"{value:.9g}") for value in values[:6]],
            "sum": float(f"{values.sum():.9g}"),
            "absolute": float(f"{numpy.abs(values).sum():.9g}"),
        }
    return {"versions": VERSIONS, "alpha": alpha, "tensors": summaries}


if __name__ == "__main__":
    main()
