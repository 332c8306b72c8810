//! How this process uses memory and processor time. Independent of tensors. `libc` is needed for the allocator, and gives the processor
//! time with one more call, so there is no crate for that.

/// Makes the C library's allocator keep freed pages. A training step frees and takes the same large temporaries again
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

/// What the processor can do of that which kernels are chosen by, in words: processors that agree in it compute the same bits.
pub fn cpu_features() -> String {
    let mut features = vec![std::env::consts::ARCH];
    #[cfg(target_arch = "x86_64")]
    for (name, is_there) in [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512dq", is_x86_feature_detected!("avx512dq")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512vl", is_x86_feature_detected!("avx512vl")),
    ] {
        features.extend(is_there.then_some(name));
    }
    features.join(" ")
}

/// CPU time of this process so far, all threads together, in seconds; `None` where the system does not report it.
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

/// Largest resident size of this process so far, in bytes; `None` where the system does not report it.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
