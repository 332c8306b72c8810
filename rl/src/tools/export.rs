//! `rl export`: a checkpoint as a Hugging Face folder, in a number format of choice, for transformers and llama.cpp's converter.

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use eval::{CONDITIONING, Policy};
use model::{Device, NumberFormat, save_model_as};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Flags of `rl export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// Checkpoint, run directory (its best checkpoint), Hugging Face folder, GGUF file or hf:OWNER/NAME; adapters are
    /// already merged into its weights
    #[arg(long, value_name = "PATH")]
    pub checkpoint: PathBuf,
    /// Folder to write; must not exist yet
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Number format of the weights
    #[arg(long, value_enum, default_value = "f32")]
    pub dtype: Dtype,
}

/// Number format of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    /// Full precision, as in checkpoints
    F32,
    /// Half as large, with the range of f32
    Bf16,
    /// Half as large, with more digits and less range
    F16,
}

/// Writes the folder, whole or not at all.
///
/// # Errors
/// A checkpoint that cannot be read, a folder that exists, a full disk.
pub fn run(args: &ExportArgs) -> Result<()> {
    check_new(&args.out)?;
    write(&Policy::load(&args.checkpoint, &Device::default())?, &args.out, args.dtype)
}

/// Refuses a folder that exists.
///
/// # Errors
/// If it does.
pub(super) fn check_new(out: &Path) -> Result<()> {
    ensure!(!out.exists(), "{} exists already: give another --out", out.display());
    Ok(())
}

/// Writes a policy as a Hugging Face folder, whole or not at all.
///
/// # Errors
/// Errors of the file system.
pub(super) fn write(policy: &Policy, out: &Path, dtype: Dtype) -> Result<()> {
    let format = match dtype {
        Dtype::F32 => NumberFormat::F32,
        Dtype::Bf16 => NumberFormat::Bf16,
        Dtype::F16 => NumberFormat::F16,
    };
    let unfinished = unfinished(out);
    let write = || -> Result<()> {
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
        save_model_as(&unfinished, &policy.model, format)?;
        policy.tokenizer.save(&unfinished)?;
        if let Some(conditioning) = policy.conditioning {
            fs::write(unfinished.join(CONDITIONING), serde_json::to_vec(&conditioning)?)?;
        }
        eval::rename_synced(&unfinished, out).with_context(|| format!("cannot make {}", out.display()))
    };
    write().inspect_err(|_| {
        let _ = fs::remove_dir_all(&unfinished);
    })?;
    crate::view::progress::print_line(&format!("wrote {}", out.display()))
}

/// The temporary name beside the folder.
fn unfinished(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!(".{name}.unfinished"))
}
