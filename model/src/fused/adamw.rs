//! A step of AdamW in one pass over weights, gradient and moments, which a chain of small operations reads and writes a dozen
//! times.

use super::{backend::serves, operation::numbers};
use burn::{
    backend::{Backend, Dispatch, ExtensionType, Flex, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};
use pulp::{Arch, Simd, WithSimd};

/// Fewer numbers than this are not worth a thread.
const LEAST_OF_A_THREAD: usize = 1 << 17;

/// The numbers of one step of AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2).
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// What the gradient is multiplied with first.
    pub gradient_scale: f32,
    /// Decay of the mean of gradients, β₁.
    pub beta_1: f32,
    /// Decay of the mean of their squares, β₂.
    pub beta_2: f32,
    /// ε, beside the root.
    pub epsilon: f32,
    /// Learning rate.
    pub rate: f32,
    /// 1 - learning rate · weight decay.
    pub kept: f32,
    /// Steps of these weights so far, this one included: what the moments are corrected for.
    pub time: i32,
    /// Threads that share the numbers of a large tensor.
    pub threads: usize,
}

/// New weights and moments, in the memory of the old ones where nothing else holds it; `None` where the backend has no
/// such pass. Rounds as burn's `AdamW` does.
///
/// # Shapes
/// - all `[N]`
pub fn adamw(
    weights: &mut Tensor<1>,
    gradient: &Tensor<1>,
    moments: &mut [Tensor<1>; 2],
    step: AdamWStep,
) -> Option<()> {
    if !serves(weights) || weights.device().is_autodiff() {
        return None;
    }
    // Taken out, so that they are written in place.
    let take = |tensor: &mut Tensor<1>| std::mem::replace(tensor, Tensor::empty([0], &tensor.device())).into_dispatch();
    let [moment_1, moment_2] = moments;
    let state = WeightsAndMoments { weights: take(weights), moment_1: take(moment_1), moment_2: take(moment_2) };
    let (new, new_1, new_2) = Dispatch::fused_adamw(gradient.clone().into_dispatch(), state, step);
    (*weights, *moment_1, *moment_2) =
        (Tensor::from_dispatch(new), Tensor::from_dispatch(new_1), Tensor::from_dispatch(new_2));
    Some(())
}

/// What a step of the optimiser changes.
#[derive(ExtensionType)]
struct WeightsAndMoments<B: Backend> {
    weights: FloatTensor<B>,
    moment_1: FloatTensor<B>,
    moment_2: FloatTensor<B>,
}

/// What burn calls.
#[backend_extension(Flex)]
trait AdamWOps: Backend {
    fn fused_adamw(
        gradient: FloatTensor<Self>,
        #[extension_type] state: WeightsAndMoments<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl AdamWOps for Flex {
    fn fused_adamw(
        gradient: FloatTensor<Self>,
        state: WeightsAndMoments<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [mut weights, mut moment_1, mut moment_2] =
            [state.weights, state.moment_1, state.moment_2].map(|tensor| tensor.to_contiguous());
        advance_by_parts(&numbers(&gradient), place(&mut weights), place(&mut moment_1), place(&mut moment_2), step);
        (weights, moment_1, moment_2)
    }
}

/// The numbers of a contiguous tensor, to be written; copied first if something else holds the tensor.
fn place(tensor: &mut FloatTensor<Flex>) -> &mut [f32] {
    let (start, end) = tensor.layout().contiguous_offsets().expect("made contiguous");
    &mut tensor.storage_mut()[start..end]
}

/// [`advance`], a part of the slices on each thread: it waits for memory, of which one core alone takes half.
fn advance_by_parts(
    gradient: &[f32],
    weights: &mut [f32],
    moment_1: &mut [f32],
    moment_2: &mut [f32],
    step: AdamWStep,
) {
    let lengths = [weights.len(), moment_1.len(), moment_2.len()];
    assert!(
        lengths.iter().all(|&length| length == gradient.len()),
        "{lengths:?} numbers, {} gradients",
        gradient.len()
    );
    let part = gradient.len().div_ceil(step.threads.max(1)).max(LEAST_OF_A_THREAD);
    let moments = moment_1.chunks_mut(part).zip(moment_2.chunks_mut(part));
    let mut parts = gradient.chunks(part).zip(weights.chunks_mut(part)).zip(moments);
    let run = |((gradient, weights), (moment_1, moment_2))| advance(gradient, weights, moment_1, moment_2, step);
    std::thread::scope(|scope| {
        let first = parts.next();
        for part in parts {
            scope.spawn(move || run(part));
        }
        first.map(run);
    });
}

/// The arithmetic, on slices of one length.
fn advance(gradient: &[f32], weights: &mut [f32], moment_1: &mut [f32], moment_2: &mut [f32], step: AdamWStep) {
    struct Advance<'a> {
        gradient: &'a [f32],
        weights: &'a mut [f32],
        moment_1: &'a mut [f32],
        moment_2: &'a mut [f32],
        step: AdamWStep,
    }
    impl WithSimd for Advance<'_> {
        type Output = ();

        // Plain arithmetic, which the compiler turns into vectors of the machine's width.
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            let Self { gradient, weights, moment_1, moment_2, step } = self;
            let AdamWStep { gradient_scale, beta_1, beta_2, epsilon, rate, kept, time, .. } = step;
            let (correction_1, correction_2) = (1.0 - beta_1.powi(time), 1.0 - beta_2.powi(time));
            let elements = weights.iter_mut().zip(moment_1).zip(moment_2);
            for (((weight, moment_1), moment_2), gradient) in elements.zip(gradient) {
                let gradient = gradient * gradient_scale;
                *moment_1 = *moment_1 * beta_1 + gradient * (1.0 - beta_1);
                *moment_2 = *moment_2 * beta_2 + gradient * gradient * (1.0 - beta_2);
                let delta = (*moment_1 / correction_1) / ((*moment_2 / correction_2).sqrt() + epsilon);
                *weight = *weight * kept - delta * rate;
            }
        }
    }
    Arch::new().dispatch(Advance { gradient, weights, moment_1, moment_2, step });
}
