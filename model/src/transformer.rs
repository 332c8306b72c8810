//! A decoder of the Llama family: RMSNorm, rotary positions, grouped-query attention, SwiGLU. Independent of files and of text.
//!
//! Matrices are stored `[in, out]`, query/key/value and gate/up each fused into one product; `files/checkpoint.rs` alone knows
//! how Hugging Face lays them out. Models are kept without gradients; a training step works on a copy that
//! [`Trainable::replica`](recompute::Trainable::replica) makes.

mod block;
pub(crate) mod cache;
mod initial;
pub(crate) mod operations;
pub(crate) mod output;
pub(crate) mod recompute;
mod rotary;

pub use block::Block;
pub use cache::Cache;
pub use rotary::Rotary;

use crate::{config::ModelConfig, device::Device, dtype::Dtype};
use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{self, Int, Tensor},
};
use initial::{Initialiser, initial_deviation};
use operations::rms_norm;
use output::OutputMatrix;
use recompute::{Tape, Trainable};
use std::ops::Range;

/// A language model: tokens to next-token logits.
#[derive(Module, Debug)]
pub struct Transformer {
    /// `[V, D]`; also the output matrix where that is tied.
    pub embedding: Param<Tensor<2>>,
    /// The blocks, bottom first.
    pub blocks: Vec<Block>,
    /// Scale of the last RMSNorm, `[D]`.
    pub norm: Param<Tensor<1>>,
    /// `[D, V]`; absent where the embedding serves.
    pub output: Option<Param<Tensor<2>>>,
    /// The shape this model was built for.
    #[module(skip)]
    pub config: ModelConfig,
    /// Where a training step keeps what its forward pass leaves out of the graph; `None` outside of training.
    #[module(skip)]
    pub(crate) tape: Option<Tape>,
}

impl Transformer {
    /// A model with random weights: normal with deviation 1 / sqrt(D), so that narrow models start at the scale of their
    /// activations, the projections back into the residual stream scaled by 1 / sqrt(2 layers) (Radford et al. 2019,
    /// section 2.3), scales 1, biases 0.
    pub fn init(config: &ModelConfig, seed: u64, device: &Device) -> Self {
        let (d, v) = (config.hidden_size, config.vocab_size);
        let deviation = initial_deviation(config);
        let mut draw = Initialiser { seed, tensors: 0, device };
        Self {
            embedding: draw.normal([v, d], deviation),
            blocks: (0..config.num_hidden_layers).map(|_| Block::init(config, &mut draw)).collect(),
            norm: draw.constant(d, 1.0),
            output: (!config.tie_word_embeddings).then(|| draw.normal([d, v], deviation)),
            config: ModelConfig { compute_dtype: device.dtype(), ..config.clone() },
            tape: None,
        }
    }

    /// The device of the weights, and what products are computed in there.
    pub fn device(&self) -> Device {
        Device::new(self.embedding.val().device(), self.config.compute_dtype)
    }

    /// The same with an output matrix of its own, a copy of the embeddings where these are tied to it.
    pub fn untied(&self) -> Self {
        let output = self.output.clone().unwrap_or_else(|| {
            let embedding = self.embedding.val();
            let [rows, width] = embedding.dims();
            // A copy in memory, so that the two are saved and trained apart.
            let values = embedding.transpose().into_data();
            debug_assert_eq!(values.shape().as_slice(), [width, rows]);
            Param::from_data(values, &self.embedding.device())
        });
        let config = ModelConfig { tie_word_embeddings: false, ..self.config.clone() };
        Self { output: Some(output), config, ..self.clone() }
    }

    /// The same with its matrices in the type that products are computed in, so that a rollout does not convert them for every
    /// token. Not to be trained.
    pub(crate) fn for_decoding(&self) -> Self {
        struct Convert(Dtype);
        impl ModuleMapper for Convert {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                if D < 2 { param } else { param.map(|matrix| self.0.to_factor(matrix)) }
            }
        }
        match self.config.compute_dtype {
            Dtype::F32 => self.clone(),
            dtype => self.clone().map(&mut Convert(dtype)),
        }
    }

    /// Next-token logits of every position.
    ///
    /// # Shapes
    /// - `tokens`: `[B, T]`, padding on the right
    /// - output: `[B, T, V]`
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [_, time] = tokens.dims();
        let rotary = self.rotary_range(0..time, &tokens.device());
        let hidden = self.embed(tokens);
        let hidden = self.run_blocks(hidden, 0..self.blocks.len(), &rotary);
        self.logits(self.final_norm(hidden))
    }

    /// `[B, T]` ids to `[B, T, D]`.
    pub fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [batch, time] = tokens.dims();
        let rows = self.embedding.val().select(0, tokens.reshape([batch * time]));
        self.config.compute_dtype.to_f32(rows.reshape([batch, time, self.config.hidden_size]))
    }

    /// The residual stream `[B, T, D]` through the blocks of a range, each token seeing those before it.
    pub fn run_blocks(&self, mut hidden: Tensor<3>, range: Range<usize>, rotary: &Rotary) -> Tensor<3> {
        for block in &self.blocks[range] {
            hidden = recompute::through(block, hidden, rotary, &self.config, self.tape.as_ref());
        }
        hidden
    }

    /// One step with a cache: the residual stream of new tokens `[B, T, D]` through all blocks.
    pub fn run_cached(&self, mut hidden: Tensor<3>, rotary: &Rotary, cache: &mut Cache) -> Tensor<3> {
        cache.begin(hidden.dims()[1]);
        for (layer, block) in self.blocks.iter().enumerate() {
            hidden = block.forward_cached(hidden, rotary, &self.config, layer, cache);
        }
        cache.advance();
        hidden
    }

    /// The last RMSNorm, any leading shape folded into `[B, T, D]`.
    pub fn final_norm(&self, hidden: Tensor<3>) -> Tensor<3> {
        rms_norm(hidden, &self.norm, self.config.rms_norm_eps)
    }

    /// Normed residual stream to logits, `[B, T, D]` to `[B, T, V]`.
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [batch, time, width] = hidden.dims();
        let logits = self.logits_of_rows(hidden.reshape([batch * time, width]));
        logits.reshape([batch, time, self.config.vocab_size])
    }

    /// Normed residual stream of chosen positions to logits, `[M, D]` to `[M, V]`.
    pub fn logits_of_rows(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.output_matrix().logits(hidden)
    }

    /// What makes logits of the normed residual stream.
    pub(crate) fn output_matrix(&self) -> OutputMatrix {
        let (param, is_tied) = match &self.output {
            Some(output) => (output.clone(), false),
            None => (self.embedding.clone(), true),
        };
        OutputMatrix { param, is_tied, dtype: self.config.compute_dtype }
    }

    /// Rotary tables of consecutive positions that all rows share.
    pub fn rotary_range(&self, positions: Range<usize>, device: &tensor::Device) -> Rotary {
        let positions: Vec<usize> = positions.collect();
        let time = positions.len();
        Rotary::new(&positions, [1, time], &self.config, device)
    }

    /// Rotary tables of one position per row, for decoding.
    pub fn rotary_rows(&self, positions: &[usize], device: &tensor::Device) -> Rotary {
        Rotary::new(positions, [positions.len(), 1], &self.config, device)
    }
}

impl Trainable for Transformer {
    fn with_tape(self, tape: Tape) -> Self {
        Self { tape: Some(tape), ..self }
    }
}
