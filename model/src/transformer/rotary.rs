//! Rotary positions (Su et al. 2021, arXiv 2104.09864), in the half-split form of Hugging Face's weights.

use crate::config::ModelConfig;
use burn::tensor::{Device, Tensor, TensorData};

/// Cosines and sines of the rotary embedding for the positions of one call.
///
/// # Shapes
/// - `cos`, `sin`: `[1 or B, T, 1, E / 2]`
#[derive(Clone, Debug)]
pub struct Rotary {
    pub(super) cos: Tensor<4>,
    pub(super) sin: Tensor<4>,
}

impl Rotary {
    /// Outside of any graph.
    pub(crate) fn inner(&self) -> Self {
        let inner =
            |table: &Tensor<4>| if table.device().is_autodiff() { table.clone().inner() } else { table.clone() };
        Self { cos: inner(&self.cos), sin: inner(&self.sin) }
    }

    pub(super) fn new(positions: &[usize], shape: [usize; 2], config: &ModelConfig, device: &Device) -> Self {
        let half = config.head_width() / 2;
        // In f32 throughout, as Hugging Face computes it.
        let exponent = |pair: usize| (2 * pair) as f32 / config.head_width() as f32;
        let scaling = config.llama3_scaling();
        let period = |pair: usize| {
            let period = (config.rope_theta as f32).powf(exponent(pair));
            scaling.map_or(period, |scaling| period * scaling.stretch(f64::from(period)) as f32)
        };
        let periods: Vec<f32> = (0..half).map(period).collect();
        let mut cos: Vec<f32> = Vec::with_capacity(positions.len() * half);
        let mut sin: Vec<f32> = Vec::with_capacity(positions.len() * half);
        for (index, &position) in positions.iter().enumerate() {
            // Rows that decode samples of one prompt stand at one position.
            if index > 0 && positions[index - 1] == position {
                cos.extend_from_within((index - 1) * half..);
                sin.extend_from_within((index - 1) * half..);
                continue;
            }
            for &period in &periods {
                let angle = position as f32 / period;
                cos.push(angle.cos());
                sin.push(angle.sin());
            }
        }
        let shape = [shape[0], shape[1], 1, half];
        Self {
            cos: Tensor::from_data(TensorData::new(cos, shape), device),
            sin: Tensor::from_data(TensorData::new(sin, shape), device),
        }
    }

    /// Rotates `[B, T, heads, E]`, first half of a head against its second half, as Hugging Face's weights expect.
    pub(super) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, _, e] = x.dims();
        let (first, second) = (x.clone().narrow(3, 0, e / 2), x.narrow(3, e / 2, e / 2));
        let (cos, sin) = (self.cos.clone(), self.sin.clone());
        let rotated_first = first.clone() * cos.clone() - second.clone() * sin.clone();
        let rotated_second = second * cos + first * sin;
        Tensor::cat(vec![rotated_first, rotated_second], 3)
    }
}
