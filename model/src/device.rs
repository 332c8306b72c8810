//! The one place that knows which backends are compiled in, and how this process uses memory.

use crate::{
    compute::{Compute, compute_in},
    tensors::to_host,
};
use anyhow::{Result, anyhow, bail, ensure};
use burn::tensor::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};

/// Where tensors live, chosen once, where a command begins.
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

/// The device of a kind, and what products are computed in there: chosen once, where a command begins. A GPU is
/// given only after it has computed something.
///
/// # Errors
/// If its backend is not compiled in, naming the feature that brings it; if it is and computes nothing, for want of a driver or
/// of a device, or has not the numbers asked for.
pub fn choose_device(kind: DeviceKind, compute: Compute) -> Result<Device> {
    compute_in(compute);
    keep_kernels();
    let compiled = |device: fn() -> Option<Device>, name, feature| device().ok_or_else(|| missing(name, feature));
    let device = match kind {
        DeviceKind::Auto => best_device()?,
        DeviceKind::Cpu => compiled(cpu, "cpu", "flex")?,
        DeviceKind::Cuda => working(compiled(cuda, "cuda", "cuda")?, "cuda")?,
        DeviceKind::Wgpu => working(compiled(wgpu, "wgpu", "wgpu")?, "wgpu")?,
    };
    ensure!(
        compute == Compute::F32 || has_bf16(&device),
        "--dtype bf16: this device has none ({device:?}); leave it out"
    );
    Ok(device)
}

/// What a GPU's kernels were compiled to, and which was the fastest, is kept on disk: both take minutes, and the next process has
/// them. In `target/environment` under the workspace, or in the user's cache outside of one. Shapes are told apart at cubecl's
/// least level, for those of rollouts and batches are many, unless `CUBECL_AUTOTUNE_LEVEL` says otherwise.
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

/// Whether a device multiplies in bf16. WGSL, which wgpu speaks, has no such numbers.
pub fn has_bf16(device: &Device) -> bool {
    device.supports_dtype(DType::BF16)
}

/// Whether a device may multiply numbers of f32 with ten bits of each factor: TF32, which cubecl's kernels take on NVIDIA's matrix
/// units.
pub fn has_short_products(device: &Device) -> bool {
    is(device, cuda())
}

/// The first that works: CUDA, then wgpu, then the CPU. Said where there was a choice.
fn best_device() -> Result<Device> {
    let gpus = [(cuda(), "cuda"), (wgpu().filter(|_| wgpu_reaches_a_gpu()), "wgpu")];
    let had_choice = cuda().is_some() || wgpu().is_some();
    for (gpu, name) in gpus {
        let Some(gpu) = gpu else { continue };
        match working(gpu, name) {
            Ok(device) => {
                tracing::info!("computing on {name}");
                return Ok(device);
            }
            Err(error) => tracing::warn!("{error:#}; looking further"),
        }
    }
    if had_choice {
        tracing::info!("computing on the CPU");
    }
    cpu().ok_or_else(|| anyhow!("no backend that works is compiled in: build with --features flex, cuda or wgpu"))
}

/// The device, if it can compute: a backend without a driver panics at its first operation, on whatever thread.
fn working(device: Device, name: &str) -> Result<Device> {
    static SAID: Mutex<Option<String>> = Mutex::new(None);
    let hook = std::panic::take_hook();
    // The first panic names the cause; those that it brings about on other threads do not.
    std::panic::set_hook(Box::new(|panic| {
        let said = panic.payload_as_str().and_then(|said| said.lines().next()).unwrap_or("it does not say why");
        SAID.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| said.to_string());
    }));
    let one = std::panic::catch_unwind(|| to_host(Tensor::<1>::ones([1], &device).add_scalar(1.0)).values);
    std::panic::set_hook(hook);
    let said = SAID.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    let Ok(values) = one else { bail!("--device {name} cannot be used on this machine: {said}") };
    ensure!(values == [2.0], "--device {name}: 1 + 1 is {values:?} there");
    Ok(device)
}

/// Threads to use on a device: as asked, or all cores on the CPU and one on a GPU, whose work is parallel in itself.
pub fn threads(asked: Option<usize>, device: &Device) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    asked.unwrap_or(if is_cpu(device) { cores } else { 1 })
}

/// Rollouts that go on at the same time, a thread each: as [`threads`], but two on a GPU, which computes the tokens of one while the
/// host reads and sorts those of the other.
pub fn streams(asked: Option<usize>, device: &Device) -> usize {
    threads(asked.or((!is_cpu(device)).then_some(2)), device)
}

/// Whether a device is the CPU through `flex`, with or without gradients.
pub(crate) fn is_cpu(device: &Device) -> bool {
    is(device, cpu())
}

/// Whether a device is another, with or without gradients.
fn is(device: &Device, other: Option<Device>) -> bool {
    other.is_some_and(|other| other == *device || other.autodiff() == *device)
}

fn missing(device: &str, feature: &str) -> anyhow::Error {
    anyhow!("--device {device} is not compiled in: build with `cargo run --features {feature}`")
}

fn cpu() -> Option<Device> {
    #[cfg(feature = "flex")]
    return Some(Device::flex());
    #[cfg(not(feature = "flex"))]
    None
}

fn cuda() -> Option<Device> {
    #[cfg(feature = "cuda")]
    return Some(Device::cuda(0));
    #[cfg(not(feature = "cuda"))]
    None
}

fn wgpu() -> Option<Device> {
    #[cfg(feature = "wgpu")]
    return Some(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice));
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

/// Tells the C library's allocator to keep freed pages. A training step frees and takes the same large temporaries again
/// and again; by default each goes back to the kernel and is faulted in and zeroed anew. Call it first in `main`.
pub fn keep_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // Sound: `mallopt` only sets numbers of the allocator, and nothing else runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
        // Threads come and go with every step; without a bound their kept pages spread over eight arenas a core.
        let arenas = std::thread::available_parallelism().map_or(2, usize::from) + 1;
        libc::mallopt(libc::M_ARENA_MAX, arenas.min(64) as i32);
    }
}

/// Processor time of this process so far, all threads together, in seconds; `None` where the system does not tell.
pub fn cpu_seconds() -> Option<f64> {
    #[cfg(unix)]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // Sound: the call writes the place that it is given and nothing else.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
        (failed == 0).then_some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
    }
    #[cfg(not(unix))]
    None
}

/// Largest resident size of this process so far, in bytes; `None` where the system does not tell.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Memory that a GPU keeps for this process, in bytes: in use, or free to be used again; `None` of the CPU.
pub fn device_memory_bytes(device: &Device) -> Option<u64> {
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
