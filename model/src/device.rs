//! The device: where tensors live, and what matrix products are computed in there. The one place that knows which backends are
//! compiled in. Independent of models.

use crate::{dtype::Dtype, host::to_host};
use anyhow::{Result, anyhow, bail, ensure};
use burn::tensor::{self, DType, Tensor, TensorCreationOptions};
use serde::{Deserialize, Serialize};
use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

/// burn's device, and the number type of the matrix products of models that are made or loaded there. Chosen once, where a command
/// begins, and passed down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Device {
    place: tensor::Device,
    dtype: Dtype,
}

impl Device {
    /// A device of burn with a number type for products.
    pub fn new(place: tensor::Device, dtype: Dtype) -> Self {
        Self { place, dtype }
    }

    /// The number type of products.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The same device with another number type for products.
    #[must_use]
    pub fn with_dtype(&self, dtype: Dtype) -> Self {
        Self { place: self.place.clone(), dtype }
    }
}

/// Tensors are made on burn's device.
impl Deref for Device {
    type Target = tensor::Device;

    fn deref(&self) -> &tensor::Device {
        &self.place
    }
}

impl From<&Device> for TensorCreationOptions {
    fn from(device: &Device) -> Self {
        (&device.place).into()
    }
}

/// The kinds of devices, by the names of `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// The best that is compiled in: CUDA, then wgpu, then the CPU.
    #[default]
    Auto,
    /// The CPU, through burn's pure-Rust backend `flex`.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// Any GPU that wgpu reaches.
    Wgpu,
}

/// The device of a kind, with the number type of products. Of several ranks on a machine, each takes a CUDA GPU of its own. A GPU is returned only after it has computed something.
///
/// # Errors
/// If its backend is not compiled in, naming the feature that brings it; if it is and computes nothing, for want of a driver or
/// of a device; if it does not have the number type.
pub fn choose_device(kind: DeviceKind, dtype: Dtype) -> Result<Device> {
    keep_kernels();
    let compiled =
        |device: fn() -> Option<tensor::Device>, name, feature| device().ok_or_else(|| missing(name, feature));
    let place = match kind {
        DeviceKind::Auto => best_device()?,
        DeviceKind::Cpu => compiled(cpu, "cpu", "flex")?,
        DeviceKind::Cuda => working(compiled(cuda, "cuda", "cuda")?, "cuda")?,
        DeviceKind::Wgpu => working(compiled(wgpu, "wgpu", "wgpu")?, "wgpu")?,
    };
    ensure!(dtype == Dtype::F32 || has_bf16(&place), "--dtype bf16: this device has none ({place:?}); leave it out");
    Ok(Device { place, dtype })
}

/// What a GPU's kernels were compiled to, and which was the fastest, is kept on disk: both take minutes, and the next process has
/// them. In `target/environment` under the workspace, or in the user's cache outside of one. Kernels are tuned at cubecl's
/// coarsest level of shapes, because rollouts and batches have many, unless `CUBECL_AUTOTUNE_LEVEL` is set.
fn keep_kernels() {
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    {
        use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig, autotune::AutotuneLevel};
        let mut config = CubeClRuntimeConfig::from_current_dir();
        config.autotune.level = AutotuneLevel::Minimal;
        config = config.override_from_env();
        config.compilation.cache = true;
        // The first choice of a device decides; a later one finds it done.
        CubeClRuntimeConfig::try_set(config);
    }
}

/// Whether a device multiplies in bf16. WGSL, the language of wgpu's kernels, has no such numbers.
pub fn has_bf16(device: &tensor::Device) -> bool {
    device.supports_dtype(DType::BF16)
}

/// Whether products of f32 on a device may be computed in TF32, with ten bits of each factor: cubecl's kernels do so on NVIDIA's
/// matrix units.
pub fn uses_tf32(device: &tensor::Device) -> bool {
    is(device, cuda())
}

/// The first that works: CUDA, then wgpu, then the CPU. Logged where there was a choice.
fn best_device() -> Result<tensor::Device> {
    let gpus = [(cuda(), "cuda"), (wgpu().filter(|_| wgpu_reaches_a_gpu()), "wgpu")];
    let had_choice = cuda().is_some() || wgpu().is_some();
    for (gpu, name) in gpus {
        let Some(gpu) = gpu else { continue };
        match working(gpu, name) {
            Ok(device) => {
                tracing::info!("computing on {name}");
                return Ok(device);
            }
            Err(error) => tracing::warn!("{error:#}; trying the next device"),
        }
    }
    if had_choice {
        tracing::info!("computing on the CPU");
    }
    cpu().ok_or_else(|| anyhow!("no working backend is compiled in: build with --features flex, cuda or wgpu"))
}

/// The device, if it can compute. A backend without a driver panics at its first operation, on whatever thread.
fn working(device: tensor::Device, name: &str) -> Result<tensor::Device> {
    let message = Arc::new(Mutex::new(None));
    let hook = std::panic::take_hook();
    // The first panic names the cause; those that it brings about on other threads do not.
    std::panic::set_hook(Box::new({
        let message = message.clone();
        move |panic| {
            let text = panic.payload_as_str().and_then(|text| text.lines().next()).unwrap_or("without a message");
            message.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| text.to_string());
        }
    }));
    let one = std::panic::catch_unwind(|| to_host(Tensor::<1>::ones([1], &device).add_scalar(1.0)).values);
    std::panic::set_hook(hook);
    let message = message.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    let Ok(values) = one else { bail!("--device {name} cannot be used on this machine: {message}") };
    ensure!(values == [2.0], "--device {name}: 1 + 1 is {values:?} there");
    Ok(device)
}

/// Threads to use on a device: as requested, or all cores on the CPU and one on a GPU, whose work is parallel in itself.
pub fn threads(requested: Option<usize>, device: &tensor::Device) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    requested.unwrap_or(if is_cpu(device) { cores } else { 1 })
}

/// Rollouts that run at the same time, one thread each: as [`threads`], but two on a GPU, which computes the tokens of
/// one while the host reads and sorts those of the other.
pub fn streams(requested: Option<usize>, device: &tensor::Device) -> usize {
    threads(requested.or((!is_cpu(device)).then_some(2)), device)
}

/// Whether a device is the CPU through `flex`, with or without gradients.
pub(crate) fn is_cpu(device: &tensor::Device) -> bool {
    is(device, cpu())
}

/// Whether a device is another, with or without gradients.
fn is(device: &tensor::Device, other: Option<tensor::Device>) -> bool {
    other.is_some_and(|other| other == *device || other.autodiff() == *device)
}

fn missing(device: &str, feature: &str) -> anyhow::Error {
    anyhow!("--device {device} is not compiled in: build with `cargo run --features {feature}`")
}

fn cpu() -> Option<tensor::Device> {
    #[cfg(feature = "flex")]
    return Some(tensor::Device::flex());
    #[cfg(not(feature = "flex"))]
    None
}

fn cuda() -> Option<tensor::Device> {
    #[cfg(feature = "cuda")]
    return Some(tensor::Device::cuda(crate::ranks::local_rank()));
    #[cfg(not(feature = "cuda"))]
    None
}

fn wgpu() -> Option<tensor::Device> {
    #[cfg(feature = "wgpu")]
    return Some(tensor::Device::wgpu(tensor::DeviceKind::DefaultDevice));
    #[cfg(not(feature = "wgpu"))]
    None
}

/// Whether wgpu finds more than a CPU that plays the GPU, which `flex` is the better choice for.
fn wgpu_reaches_a_gpu() -> bool {
    #[cfg(feature = "wgpu")]
    return cubecl::Device::enumerate_all().iter().any(
        |device| matches!(device, cubecl::Device::Wgpu(found) if found.kind != cubecl::device::WgpuDeviceKind::Cpu),
    );
    #[cfg(not(feature = "wgpu"))]
    false
}

/// Memory that a GPU keeps for this process, in bytes: in use, or free to be used again; `None` of the CPU.
pub fn device_memory_bytes(device: &tensor::Device) -> Option<u64> {
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    {
        let gpu = if is(device, cuda()) {
            cubecl::Device::Cuda(Default::default())
        } else if is(device, wgpu()) {
            cubecl::Device::Wgpu(Default::default())
        } else {
            return None;
        };
        Some(gpu.client().memory_report(cubecl::MemoryScope::Device).usage().bytes_reserved)
    }
    #[cfg(not(any(feature = "cuda", feature = "wgpu")))]
    {
        let _ = device;
        None
    }
}

impl std::str::FromStr for DeviceKind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "cuda" => Self::Cuda,
            "wgpu" => Self::Wgpu,
            _ => bail!("unknown device {text}; known are auto, cpu, cuda, wgpu"),
        })
    }
}
