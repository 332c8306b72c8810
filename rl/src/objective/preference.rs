//! The losses of preference optimisation: of two completions of a question, the chosen one is to become likelier than the rejected one; with
//! KTO, completions without a partner, of which each is desirable or not. Pure functions of log-probabilities of whole completions, and their
//! flags.
//!
//! [`margin`] is the same for all losses of pairs but SimPO's, which knows no reference. Every loss is a sum over its pairs or completions
//! divided by `total`, their number in the *whole* batch.

use crate::cli::effect::FlagEffect;
use burn::tensor::{
    Tensor,
    activation::{log_sigmoid, relu, sigmoid},
};
use clap::{Args, ValueEnum};
use serde::Serialize;

/// A loss of preference optimisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PreferenceLoss {
    /// DPO (Rafailov et al. 2023), with --label-smoothing cDPO (Mitchell 2023)
    #[default]
    Sigmoid,
    /// IPO (Azar et al. 2023): the margin approaches 1 / (2 β), and no further
    Ipo,
    /// The hinge loss of SLiC (Zhao et al. 2023) on DPO's margin
    Hinge,
    /// SimPO (Meng et al. 2024): mean log-probabilities, a target margin, no reference
    Simpo,
    /// KTO (Ethayarajh et al. 2024): correct and wrong completions one by one, without pairs
    Kto,
}

/// Flags of the loss.
#[derive(Args, Clone, Debug, PartialEq, Serialize)]
#[command(next_help_heading = "Objective")]
pub struct PreferenceArgs {
    /// Loss of a pair, or of a completion
    #[arg(long, value_enum, default_value_t)]
    pub loss: PreferenceLoss,
    /// β: how strongly the reference holds the policy; usually 0.1 to 0.5 for sigmoid, 2 to 10 for simpo
    #[arg(long, default_value_t = 0.1, value_parser = crate::cli::args::above_0::<f64>)]
    pub beta: f64,
    /// ε: probability that a pair is the wrong way round
    #[arg(long, add = FlagEffect::with("loss", &["sigmoid", "simpo"]), value_name = "SHARE", default_value_t = 0.0, value_parser = below_half)]
    pub label_smoothing: f64,
    /// γ: by how much SimPO's chosen completion is to lead
    #[arg(long, add = FlagEffect::with("loss", &["simpo"]), default_value_t = 1.0, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub simpo_margin: f64,
    /// λ_D: weight of a correct completion in KTO [default: 1, or so much more that correct ones weigh in all as much as wrong ones]
    #[arg(long, add = FlagEffect::with("loss", &["kto"]), value_name = "WEIGHT", value_parser = crate::cli::args::at_least_0::<f64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desirable_weight: Option<f64>,
    /// λ_U: weight of a wrong completion in KTO [default: 1, or so much more that wrong ones weigh in all 3/4 of correct ones]
    #[arg(long, add = FlagEffect::with("loss", &["kto"]), value_name = "WEIGHT", value_parser = crate::cli::args::at_least_0::<f64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undesirable_weight: Option<f64>,
    /// Weight of the chosen completion's negative log-likelihood per token, which keeps it from falling
    #[arg(long, add = FlagEffect::unless("loss", &["kto"]), value_name = "WEIGHT", default_value_t = 0.0, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub nll_weight: f64,
}

impl PreferenceLoss {
    /// Whether log-probabilities of completions are means over their tokens: for SimPO by its paper, and for IPO as its authors' experiments
    /// and TRL have it, while eq. 17 of the paper is of sums. Those of the others are sums.
    pub fn takes_means(self) -> bool {
        matches!(self, Self::Ipo | Self::Simpo)
    }

    /// Whether log-probabilities of the reference take part.
    pub fn has_reference(self) -> bool {
        self != Self::Simpo
    }

    /// Whether a training example is a pair; else it is one completion.
    pub fn is_of_pairs(self) -> bool {
        self != Self::Kto
    }
}

/// The weights λ of desirable and of undesirable completions in KTO.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KtoWeights {
    /// λ_D.
    pub desirable: f64,
    /// λ_U.
    pub undesirable: f64,
}

impl KtoWeights {
    /// Those of the flags. Where neither is given, by the numbers n of the two kinds: λ_D n_D / (λ_U n_U) is in [1, 4/3] (Ethayarajh et al.
    /// 2024, arXiv 2402.01306, section 4) with one of them 1 and the other no larger than that needs. Where one is given, the other is 1.
    pub fn of(args: &PreferenceArgs, desirable: usize, undesirable: usize) -> Self {
        let share = desirable as f64 / undesirable as f64;
        let by_counts = match (args.desirable_weight, args.undesirable_weight) {
            (None, None) => Self { desirable: (1.0 / share).max(1.0), undesirable: (0.75 * share).max(1.0) },
            _ => Self { desirable: 1.0, undesirable: 1.0 },
        };
        Self {
            desirable: args.desirable_weight.unwrap_or(by_counts.desirable),
            undesirable: args.undesirable_weight.unwrap_or(by_counts.undesirable),
        }
    }
}

/// By how much the chosen completion leads, beyond the reference:
///
/// h = (log π(y_w) - log π_ref(y_w)) - (log π(y_l) - log π_ref(y_l)).
///
/// # Shapes
/// - all `[P]`
pub fn margin(chosen: Tensor<1>, rejected: Tensor<1>, ref_chosen: Tensor<1>, ref_rejected: Tensor<1>) -> Tensor<1> {
    (chosen - ref_chosen) - (rejected - ref_rejected)
}

/// The loss of pairs with these margins h:
///
/// - sigmoid: -1/total Σ (1 - ε) log σ(β h) + ε log σ(-β h) (Rafailov et al. 2023, arXiv 2305.18290, eq. 7; ε: Mitchell 2023, eq. 3)
/// - IPO: 1/total Σ (h - 1 / (2 β))² (Azar et al. 2023, arXiv 2310.12036, eq. 17)
/// - hinge: 1/total Σ max(0, 1 - β h) (Zhao et al. 2023, arXiv 2305.10425, with DPO's margin)
/// - SimPO: as sigmoid with β h - γ, h without a reference (Meng et al. 2024, arXiv 2405.14734, eq. 6)
///
/// # Shapes
/// - `margins`: `[P]`; output: `[1]`
pub fn preference(margins: Tensor<1>, args: &PreferenceArgs, total: usize) -> Tensor<1> {
    let &PreferenceArgs { loss, beta, label_smoothing, simpo_margin, .. } = args;
    let smoothed = |logits: Tensor<1>| {
        let right = log_sigmoid(logits.clone()).mul_scalar(label_smoothing - 1.0);
        match label_smoothing {
            0.0 => right,
            share => right - log_sigmoid(logits.neg()).mul_scalar(share),
        }
    };
    let terms = match loss {
        PreferenceLoss::Sigmoid => smoothed(margins.mul_scalar(beta)),
        PreferenceLoss::Ipo => margins.sub_scalar(0.5 / beta).square(),
        PreferenceLoss::Hinge => relu(margins.mul_scalar(-beta).add_scalar(1.0)),
        PreferenceLoss::Simpo => smoothed(margins.mul_scalar(beta).sub_scalar(simpo_margin)),
        PreferenceLoss::Kto => unreachable!("KTO is a loss of completions"),
    };
    terms.sum().div_scalar(total as f64)
}

/// The reference point z₀ of KTO, an estimate of KL(π ‖ π_ref) in nats of a completion: the mean gain log π(y'|x) - log π_ref(y'|x) of
/// completions y' of other questions, at least 0 (Ethayarajh et al. 2024, arXiv 2402.01306, section 4). It has no gradient; 0 of none.
pub fn reference_point(mismatched_gains: &[f32]) -> f64 {
    let sum: f64 = mismatched_gains.iter().map(|&gain| f64::from(gain)).sum();
    (sum / mismatched_gains.len().max(1) as f64).max(0.0)
}

/// The loss of completions with these gains r = log π(y|x) - log π_ref(y|x):
///
/// KTO: 1/total Σ λ (1 - σ(β s (r - z₀))), s and λ being 1 and λ_D of a desirable completion, -1 and λ_U of an undesirable one (Ethayarajh et
/// al. 2024, arXiv 2402.01306, section 4).
///
/// # Shapes
/// - `gains`, `signs` (s), `weights` (λ), `reference_points` (z₀): `[P]`; output: `[1]`
pub fn kto(
    gains: Tensor<1>,
    signs: Tensor<1>,
    weights: Tensor<1>,
    reference_points: Tensor<1>,
    beta: f64,
    total: usize,
) -> Tensor<1> {
    // 1 - σ(x) is σ(-x).
    let terms = weights * sigmoid(((reference_points - gains) * signs).mul_scalar(beta));
    terms.sum().div_scalar(total as f64)
}

fn below_half(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..0.5).contains(&share) => Ok(share),
        Ok(_) => Err("give a share of at least 0 and below 0.5".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Device;

    fn tensor(values: &[f32]) -> Tensor<1> {
        Tensor::from_floats(values, &Device::default())
    }

    fn args(loss: PreferenceLoss) -> PreferenceArgs {
        PreferenceArgs {
            loss,
            beta: 0.5,
            label_smoothing: 0.0,
            simpo_margin: 1.0,
            desirable_weight: None,
            undesirable_weight: None,
            nll_weight: 0.0,
        }
    }

    /// The loss of one pair with this margin, and its derivative by the margin.
    fn of(args: &PreferenceArgs, margin: f32) -> (f32, f32) {
        let margins = tensor(&[margin]).autodiff().require_grad();
        let loss = preference(margins.clone(), args, 1);
        let gradient = margins.grad(&loss.backward()).unwrap();
        (loss.inner().into_scalar::<f32>(), gradient.into_scalar::<f32>())
    }

    #[track_caller]
    fn assert_close((loss, gradient): (f32, f32), expected: (f32, f32)) {
        let close = (loss - expected.0).abs() < 1e-5 && (gradient - expected.1).abs() < 1e-5;
        assert!(close, "loss {loss}, gradient {gradient}; expected {expected:?}");
    }

    #[test]
    fn a_pair_that_is_ordered_wrongly_weighs_more() {
        let sigmoid = args(PreferenceLoss::Sigmoid);
        assert_close(of(&sigmoid, 0.0), (2f32.ln(), -0.25));
        // σ(1) = 0.731059.
        assert_close(of(&sigmoid, 2.0), (0.313262, -0.5 * 0.268941));
        assert_close(of(&sigmoid, -2.0), (1.313262, -0.5 * 0.731059));
        assert_close(of(&sigmoid, -400.0), (200.0, -0.5));
    }

    #[test]
    fn label_smoothing_turns_the_gradient_where_a_margin_is_too_sure() {
        let smoothed = PreferenceArgs { label_smoothing: 0.25, ..args(PreferenceLoss::Sigmoid) };
        assert_close(of(&smoothed, 2.0), (0.75 * 0.313262 + 0.25 * 1.313262, 0.5 * (0.731059 - 0.75)));
        let sure = 2.0 * 3f32.ln();
        assert!(of(&smoothed, sure).1.abs() < 1e-6, "σ(log 3) = 0.75");
        assert!(of(&smoothed, sure + 1.0).1 > 0.0);
    }

    #[test]
    fn ipo_pulls_the_margin_to_its_target_from_both_sides() {
        let ipo = args(PreferenceLoss::Ipo);
        assert_close(of(&ipo, 1.0), (0.0, 0.0));
        assert_close(of(&ipo, 0.0), (1.0, -2.0));
        assert_close(of(&ipo, 3.0), (4.0, 4.0));
    }

    #[test]
    fn the_hinge_leaves_a_pair_alone_that_leads_enough() {
        let hinge = args(PreferenceLoss::Hinge);
        assert_close(of(&hinge, 1.0), (0.5, -0.5));
        assert_close(of(&hinge, 3.0), (0.0, 0.0));
    }

    #[test]
    fn simpo_wants_a_lead_of_its_margin() {
        assert_close(of(&args(PreferenceLoss::Simpo), 2.0), (2f32.ln(), -0.25));
        assert_close(of(&args(PreferenceLoss::Simpo), 4.0), (0.313262, -0.5 * 0.268941));
    }

    #[test]
    fn a_margin_is_the_lead_beyond_the_reference() {
        let margin = margin(tensor(&[-1.0]), tensor(&[-4.0]), tensor(&[-2.0]), tensor(&[-3.0]));
        assert_eq!(margin.into_scalar::<f32>(), 2.0);
    }

    #[test]
    fn losses_of_parts_add_up_to_the_loss_of_the_whole() {
        for loss in [PreferenceLoss::Sigmoid, PreferenceLoss::Ipo, PreferenceLoss::Hinge, PreferenceLoss::Simpo] {
            let of = |margins: &[f32]| preference(tensor(margins), &args(loss), 3).into_scalar::<f32>();
            assert!((of(&[-1.0, 0.5, 2.0]) - of(&[-1.0]) - of(&[0.5, 2.0])).abs() < 1e-6);
        }
    }

    /// KTO's loss of a completion with this sign and weight at β = 0.5, and its derivative by the gain.
    fn kto_of(gain: f32, sign: f32, weight: f32, point: f32) -> (f32, f32) {
        let gains = tensor(&[gain]).autodiff().require_grad();
        let [sign, weight, point] = [sign, weight, point].map(|value| tensor(&[value]).autodiff());
        let loss = kto(gains.clone(), sign, weight, point, 0.5, 1);
        let gradient = gains.grad(&loss.backward()).unwrap();
        (loss.inner().into_scalar::<f32>(), gradient.into_scalar::<f32>())
    }

    #[test]
    fn a_desirable_completion_is_to_gain_more_than_the_reference_point_and_an_undesirable_one_less() {
        // σ(1) = 0.731059, and its derivative 0.196612.
        assert_close(kto_of(1.0, 1.0, 1.0, 1.0), (0.5, -0.125));
        assert_close(kto_of(3.0, 1.0, 2.0, 1.0), (2.0 * 0.268941, -2.0 * 0.5 * 0.196612));
        assert_close(kto_of(3.0, -1.0, 1.0, 1.0), (0.731059, 0.5 * 0.196612));
        assert_close(kto_of(-1.0, -1.0, 1.5, 1.0), (1.5 * 0.268941, 1.5 * 0.5 * 0.196612));
    }

    #[test]
    fn the_reference_point_is_the_mean_gain_of_mismatched_completions_and_never_negative() {
        assert_eq!(reference_point(&[1.0, -0.5, 1.0]), 0.5);
        assert_eq!(reference_point(&[-1.0, 0.5]), 0.0);
        assert_eq!(reference_point(&[]), 0.0);
    }

    #[test]
    fn the_rarer_kind_weighs_more_until_the_ratio_of_both_is_between_1_and_4_thirds() {
        let kto = args(PreferenceLoss::Kto);
        for (desirable, undesirable, expected, ratio) in
            [(30, 120, (4.0, 1.0), 1.0), (120, 30, (1.0, 3.0), 4.0 / 3.0), (50, 40, (1.0, 1.0), 1.25)]
        {
            let weights = KtoWeights::of(&kto, desirable, undesirable);
            assert_eq!((weights.desirable, weights.undesirable), expected);
            let found = weights.desirable * desirable as f64 / (weights.undesirable * undesirable as f64);
            assert!((found - ratio).abs() < 1e-12, "{found}");
        }
        let given = PreferenceArgs { undesirable_weight: Some(0.5), ..kto };
        assert_eq!(KtoWeights::of(&given, 30, 120), KtoWeights { desirable: 1.0, undesirable: 0.5 });
    }
}
