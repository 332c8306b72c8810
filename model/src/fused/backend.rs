//! Which tensors the fused operations serve.

use burn::tensor::{DType, Tensor};

/// Whether a tensor lives on the backend that the fused operations are for.
pub(crate) fn serves<const D: usize>(tensor: &Tensor<D>) -> bool {
    #[cfg(test)]
    if PLAIN.get() {
        return false;
    }
    tensor.dtype() == DType::F32 && crate::device::is_cpu(&tensor.device())
}

#[cfg(test)]
thread_local! {
    // Of tests alone: the plain forms are those of other backends, which a test on the CPU does not reach otherwise.
    static PLAIN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `work` with the plain forms that other backends have.
#[cfg(test)]
pub(crate) fn plainly<R>(work: impl FnOnce() -> R) -> R {
    PLAIN.set(true);
    let result = work();
    PLAIN.set(false);
    result
}
